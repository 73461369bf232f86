// Steps of optimizers over many tensors at once.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace gen_native {

struct AdamStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
};

// One step of AdamW (Adam if the weight decay is 0) on all parameters with a defined gradient. `step` is the number of
// this step, from 1; gradients are divided by `scale`. Tensors have any strides, but changed tensors share no memory
// with others.
void adam(const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& gradients,
          const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second, const at::Tensor& step,
          const std::optional<at::Tensor>& scale, const AdamStep& settings);

// start += weight * (end - start), for all pairs.
void lerp(const std::vector<at::Tensor>& start, const std::vector<at::Tensor>& end, double weight);

}  // namespace gen_native
