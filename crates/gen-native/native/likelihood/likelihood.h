// Likelihoods of bytes.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace gen_native::likelihood {

// The log-mass of the bins of `x` under logistic distributions, summed over all dimensions but the first. A bin extends
// by `half` to both sides; the lowest and the highest bin in [-1, 1] extend to infinity. Returns nothing unless `mean`
// and `x` have one shape and layout, `log_scale` is a single number, all are in single precision on a CPU, and `x`
// needs no gradient.
std::optional<at::Tensor> discretised_logistic(const at::Tensor& mean, const at::Tensor& log_scale, const at::Tensor& x,
                                               double half);

}  // namespace gen_native::likelihood
