// Likelihoods of bytes.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace gen_native::likelihood {

// Sum over all dimensions but the first of the ln of the logistic mass of the bins of `x`, each of which reaches
// `half` to both sides, the lowest and the highest of those in [-1, 1] to infinity. `mean` and `x` have one shape and
// lie in one way, `log_scale` is a single number, all in single precision on a processor, and `x` needs no gradient;
// without that, nothing.
std::optional<at::Tensor> discretised_logistic(const at::Tensor& mean, const at::Tensor& log_scale, const at::Tensor& x,
                                               double half);

}  // namespace gen_native::likelihood
