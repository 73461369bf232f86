#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::likelihood {
namespace {

constexpr int64_t kBytes = 32;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels* avx2() {
  static const Kernels kernels{logistic};
  return &kernels;
}

}  // namespace gen_native::likelihood
