#include "kernels.h"

#include <algorithm>
#include <type_traits>

namespace gen_native::flow {
namespace {

constexpr int64_t kBytes = 16;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels<float>* portable(float) { return kernels<float>(); }
const Kernels<double>* portable(double) { return kernels<double>(); }

}  // namespace gen_native::flow
