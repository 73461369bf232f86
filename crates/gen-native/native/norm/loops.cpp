// Compiled once for each instruction set, which build.rs gives by name and the bytes of a vector.

#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::norm {
namespace {

constexpr int64_t kBytes = GEN_VECTOR_BYTES;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels* GEN_INSTRUCTION_SET() {
  static const Kernels kernels{kLanes, statistics, apply, sums, gradient};
  return &kernels;
}

}  // namespace gen_native::norm
