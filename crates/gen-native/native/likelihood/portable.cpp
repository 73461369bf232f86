#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::likelihood {
namespace {

constexpr int64_t kBytes = 16;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels* portable() {
  static const Kernels kernels{logistic};
  return &kernels;
}

}  // namespace gen_native::likelihood
