#include "kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace gen_native::conv {
namespace {

constexpr int64_t kLanes = 8;

struct Unit {
  static constexpr int64_t kValues = 1;
  using Vector = __m256;
  static Vector load(const uint32_t* at) { return _mm256_loadu_ps(reinterpret_cast<const float*>(at)); }
  static Vector load_tail(const uint32_t* at, int64_t valid) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(valid)), lane);
    return _mm256_maskload_ps(reinterpret_cast<const float*>(at), mask);
  }
  static Vector of_values(const float* at, int64_t valid) {
    const auto* const units = reinterpret_cast<const uint32_t*>(at);
    return valid >= kLanes ? load(units) : load_tail(units, valid);
  }
  static Vector broadcast(const uint32_t* at) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return _mm256_set1_ps(value);
  }
  static __m256 multiply_add(Vector a, Vector b, __m256 sum) { return _mm256_fmadd_ps(a, b, sum); }
};

#include "kernels.inc"

}  // namespace

const Kernels* avx2() {
  static const Kernels kernels{kLanes, gather, correlate, outer_block, outer, sums, nullptr, nullptr};
  return &kernels;
}

}  // namespace gen_native::conv
