#include "kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace gen_native::conv {
namespace {

constexpr int64_t kLanes = 16;

struct Unit {
  static constexpr int64_t kValues = 1;
  using Vector = __m512;
  static Vector load(const uint32_t* at) { return _mm512_loadu_ps(at); }
  static Vector load_tail(const uint32_t* at, int64_t valid) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << valid) - 1), at);
  }
  static Vector of_values(const float* at, int64_t valid) {
    const auto* const units = reinterpret_cast<const uint32_t*>(at);
    return valid >= kLanes ? load(units) : load_tail(units, valid);
  }
  static Vector broadcast(const uint32_t* at) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return _mm512_set1_ps(value);
  }
  static __m512 multiply_add(Vector a, Vector b, __m512 sum) { return _mm512_fmadd_ps(a, b, sum); }
};

#include "kernels.inc"

}  // namespace

const Kernels* avx512() {
  static const Kernels kernels{kLanes, gather, correlate, outer_block, outer, sums, nullptr, nullptr};
  return &kernels;
}

}  // namespace gen_native::conv
