// The loops of likelihoods, compiled once for each set of instructions.

#pragma once

#include <cstdint>

namespace gen_native::likelihood {

// ln of the logistic mass of the bin [x - half, x + half], and its slopes in the mean and in the logarithm of the
// scale. The bins beyond `lowest` and `highest` reach to infinity.
struct Bins {
  float precision;  // 1 / scale
  float width;      // ln(1 - exp(-2 half precision))
  float half;
  float lowest, highest;
};

struct Kernels {
  // `count` values; `log_prob`, `by_mean` and `by_scale` take one result each, the last without what comes from the
  // width, which is counted by `inner`: 1 for a bin between the outermost ones, 0 for those.
  void (*logistic)(const Bins&, const float* mean, const float* x, int64_t count, float* log_prob, float* by_mean,
                   float* by_scale, float* inner);
};

const Kernels* portable();
const Kernels* avx2();
const Kernels* avx512();

}  // namespace gen_native::likelihood
