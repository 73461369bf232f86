#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::norm {
namespace {

constexpr int64_t kBytes = 64;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels* avx512() {
  static const Kernels kernels{kLanes, statistics, apply, sums, gradient};
  return &kernels;
}

}  // namespace gen_native::norm
