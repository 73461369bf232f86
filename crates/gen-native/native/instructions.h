// The choice among loops that are compiled for several instruction sets.

#pragma once

namespace gen_native {

// kBest: the best that the processor has. kAvx512: vectors of 16 floats. kAvx2: vectors of 8 floats. kPortable: loops
// for any processor, which convolutions and normalisations do not have. kLibtorch: libtorch's operations instead of
// loops. The environment variable GEN_INSTRUCTIONS (libtorch, portable, avx2, avx512 or avx512-bf16) may allow less
// than the processor has. The functions below throw if it has another value.
enum class Instructions : int { kBest = 0, kAvx512 = 1, kAvx2 = 2, kPortable = 3, kLibtorch = 4 };

// Chooses for the whole process. Returns false, and changes nothing, if the processor does not have the instructions.
bool use_instructions(Instructions which);

// The instructions in use, never kBest. They may change at any time, so a call asks once, and its backward pass uses
// the same ones.
Instructions instructions();

// Whether the processor multiplies bfloat16 with these instructions.
bool has_bfloat16(Instructions which = instructions());

}  // namespace gen_native
