// Helpers of backward passes.

#pragma once

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>

#include "forward.h"
#include "instructions.h"

namespace gen_native {

// Whether something will be differentiated that a backward pass computes from these gradients: if it creates a graph,
// or a gradient has a tangent.
bool is_differentiated(const torch::autograd::variable_list& gradients);

// The gradients of `function` in the `inputs` that need one (undefined for the others), from the `gradients` of its
// results. They are as differentiable as the operations of `function`, by whatever is_differentiated found.
torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const torch::autograd::variable_list& gradients,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>& function);

// Saves `tensors` for the backward pass, with their layouts and the instructions of this call.
void keep(torch::autograd::AutogradContext& context, torch::autograd::variable_list tensors, Instructions which);

// The saved tensors. Throws if one was changed since, or was given other memory: loops that use the shapes of the
// forward pass would read out of bounds.
torch::autograd::variable_list recalled(const torch::autograd::AutogradContext& context);

// The instructions of the forward pass.
Instructions recalled_instructions(const torch::autograd::AutogradContext& context);

}  // namespace gen_native
