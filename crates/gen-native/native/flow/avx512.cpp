#include "kernels.h"

#include <algorithm>
#include <type_traits>

namespace gen_native::flow {
namespace {

constexpr int64_t kBytes = 64;

#include "../math.inc"

#include "kernels.inc"

}  // namespace

const Kernels<float>* avx512(float) { return kernels<float>(); }
const Kernels<double>* avx512(double) { return kernels<double>(); }

}  // namespace gen_native::flow
