// Gradients that somebody will differentiate once more.

#pragma once

#include <torch/csrc/autograd/variable.h>

#include <functional>

namespace gen_native {

// The gradients of `function` at those of `inputs` that need one, undefined for the others, from the gradients of its
// results. They are differentiable themselves if `function` is made of operations that are.
torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const torch::autograd::variable_list& gradients,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>& function);

}  // namespace gen_native
