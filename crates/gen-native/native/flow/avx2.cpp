#include "kernels.h"

#include <algorithm>
#include <type_traits>

namespace gen_native::flow {
namespace {

constexpr int64_t kBytes = 32;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels<float>* avx2(float) { return kernels<float>(); }
const Kernels<double>* avx2(double) { return kernels<double>(); }

}  // namespace gen_native::flow
