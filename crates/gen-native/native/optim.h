// Steps of optimizers over many tensors at once.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace gen_native {

struct AdamStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
};

// One step of AdamW, without weight decay of Adam, on all parameters; those whose gradient is undefined stay. `step`
// counts from 1 and is already that of this step; gradients are divided by the `scale`. Tensors lie in any way, but
// nothing that is changed shares memory with anything else.
void adam(const std::vector<at::Tensor>& parameters, const std::vector<at::Tensor>& gradients,
          const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second, const at::Tensor& step,
          const std::optional<at::Tensor>& scale, const AdamStep& settings);

// start += weight * (end - start), for all pairs.
void lerp(const std::vector<at::Tensor>& start, const std::vector<at::Tensor>& end, double weight);

}  // namespace gen_native
