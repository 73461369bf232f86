#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::likelihood {
namespace {

constexpr int64_t kLanes = 8;

#include "kernels.inc"

}  // namespace

const Kernels* avx2() {
  static const Kernels kernels{logistic};
  return &kernels;
}

}  // namespace gen_native::likelihood
