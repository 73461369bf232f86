#include "kernels.h"

#include <algorithm>

namespace gen_native::norm {
namespace {

constexpr int64_t kLanes = 16;

#include "kernels.inc"

}  // namespace

const Kernels* avx512() {
  static const Kernels kernels{kLanes, statistics, apply, sums, gradient};
  return &kernels;
}

}  // namespace gen_native::norm
