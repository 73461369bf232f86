// The loops of likelihoods, compiled once for each instruction set.

#pragma once

#include <cstdint>

namespace gen_native::likelihood {

// The log-mass of the bin [x - half, x + half] under a logistic distribution, and its derivatives in the mean and in
// the logarithm of the scale. Bins below `lowest` and above `highest` extend to infinity.
struct Bins {
  float precision;  // 1 / scale
  float width;      // ln(1 - exp(-2 half precision))
  float half;
  float lowest, highest;
};

struct Kernels {
  // Results of `count` values. `by_scale` is without the term of the width, which counts `inner` times: 1 for inner
  // bins, 0 for the two outermost ones.
  void (*logistic)(const Bins&, const float* mean, const float* x, int64_t count, float* log_prob, float* by_mean,
                   float* by_scale, float* inner);
};

const Kernels* portable();
const Kernels* avx2();
const Kernels* avx512();

}  // namespace gen_native::likelihood
