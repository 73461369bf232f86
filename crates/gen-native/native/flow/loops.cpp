// Compiled once for each instruction set, which build.rs gives by name and the bytes of a vector.

#include "kernels.h"

#include <algorithm>
#include <type_traits>

namespace gen_native::flow {
namespace {

constexpr int64_t kBytes = GEN_VECTOR_BYTES;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels<float>* GEN_INSTRUCTION_SET(float) { return kernels<float>(); }
const Kernels<double>* GEN_INSTRUCTION_SET(double) { return kernels<double>(); }

}  // namespace gen_native::flow
