// What backward passes have in common.

#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>

#include "instructions.h"

namespace gen_native {

// The gradients of `function` at those of `inputs` that need one, undefined for the others, from the gradients of its
// results. They are differentiable themselves if `function` is made of operations that are.
torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const torch::autograd::variable_list& gradients,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>& function);

// Saves `tensors` for the backward pass, with how they lie and the instructions of this call.
void keep(torch::autograd::AutogradContext& context, torch::autograd::variable_list tensors, Instructions which);

// What was saved. An error if it was changed since, or if a tensor was given other memory, which loops that go by
// the shapes of the forward pass would not survive.
torch::autograd::variable_list recalled(const torch::autograd::AutogradContext& context);

// The instructions that the forward pass had.
Instructions recalled_instructions(const torch::autograd::AutogradContext& context);

}  // namespace gen_native
