#include "kernels.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace gen_native::conv {
namespace {

constexpr int64_t kLanes = 16;

struct Unit {
  static constexpr int64_t kValues = 2;
  using Vector = __m512i;
  static Vector load(const uint32_t* at) { return _mm512_loadu_si512(at); }
  static Vector load_tail(const uint32_t* at, int64_t valid) {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << valid) - 1), at);
  }
  static Vector of_values(const float* at, int64_t valid) {
    const auto mask = [](int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0); };
    return reinterpret_cast<__m512i>(
        _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(mask(valid - 16), at + 16), _mm512_maskz_loadu_ps(mask(valid), at)));
  }
  static Vector broadcast(const uint32_t* at) {
    int value;
    std::memcpy(&value, at, sizeof value);
    return _mm512_set1_epi32(value);
  }
  static __m512 multiply_add(Vector a, Vector b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

#include "kernels.inc"

// All lanes are wanted, but GCC 12 warns about an uninitialised vector in its own header for the forms without a mask.
// The instructions are the same.
constexpr __mmask16 kAll = 0xffff;

__m512i rounded(const float* at, __mmask16 mask) {
  const __m256bh halves = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, at));
  return _mm512_maskz_cvtepu16_epi32(kAll, reinterpret_cast<__m256i>(halves));
}

void pair_rows(const float* in, uint32_t* out, int64_t rows, int64_t batch) {
  for (int64_t k = 0; k < rows; k += 2, out += batch) {
    const float* const low = in + k * batch;
    for (int64_t n = 0; n < batch; n += kLanes) {
      const auto mask = static_cast<__mmask16>((1u << std::min(kLanes, batch - n)) - 1);
      const __m512i high = k + 1 < rows ? rounded(low + batch + n, mask) : _mm512_setzero_si512();
      const __m512i upper = _mm512_maskz_slli_epi32(kAll, high, 16);
      _mm512_mask_storeu_epi32(out + n, mask, _mm512_or_si512(rounded(low + n, mask), upper));
    }
  }
}

void pair_columns(const float* in, uint32_t* out, int64_t rows, int64_t batch) {
  const int64_t pairs = (batch + 1) / 2;
  for (int64_t k = 0; k < rows; ++k, in += batch, out += pairs) {
    for (int64_t n = 0; n < batch; n += kLanes) {
      const int64_t valid = std::min(kLanes, batch - n);
      const __m256bh halves =
          _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << valid) - 1), in + n));
      const auto mask = static_cast<__mmask8>((1u << ((valid + 1) / 2)) - 1);
      _mm256_mask_storeu_epi32(out + n / 2, mask, reinterpret_cast<__m256i>(halves));
    }
  }
}

}  // namespace

const Kernels* avx512_bf16() {
  static const Kernels kernels{kLanes, gather, correlate, outer_block, outer, sums, pair_rows, pair_columns};
  return &kernels;
}

}  // namespace gen_native::conv
