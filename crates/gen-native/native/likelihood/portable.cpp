#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace gen_native::likelihood {
namespace {

constexpr int64_t kLanes = 4;

#include "kernels.inc"

}  // namespace

const Kernels* portable() {
  static const Kernels kernels{logistic};
  return &kernels;
}

}  // namespace gen_native::likelihood
