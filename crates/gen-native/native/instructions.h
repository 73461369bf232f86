// Which of the loops that are compiled several times are used.

#pragma once

namespace gen_native {

// The best that the processor has; vectors of 16 floats; of 8; loops for any processor, which convolutions and
// normalisations are not worth; or none, and libtorch's operations in their place. The environment variable
// GEN_INSTRUCTIONS (libtorch, portable, avx2, avx512 or avx512-bf16) may allow less than the processor has; what asks
// throws if it is something else.
enum class Instructions : int { kBest = 0, kAvx512 = 1, kAvx2 = 2, kPortable = 3, kLibtorch = 4 };

// For the whole process; false, and nothing is changed, where the processor has no such instructions.
bool use_instructions(Instructions which);

// Those in use: any but kBest. They may change at any time, so that a call asks once, and its backward pass has the
// same.
Instructions instructions();

// Whether the processor multiplies bfloat16 with these.
bool has_bfloat16(Instructions which = instructions());

}  // namespace gen_native
