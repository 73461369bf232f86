#include "gradients.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>

namespace gen_native {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// A hash of shapes, strides, kinds and devices (FNV-1a by Fowler, Noll and Vo).
int64_t form_of(const variable_list& tensors) {
  uint64_t form = 14695981039346656037u;
  const auto add = [&](int64_t number) { form = (form ^ static_cast<uint64_t>(number)) * 1099511628211u; };
  for (const at::Tensor& x : tensors) {
    add(x.defined() ? x.dim() : -1);
    if (!x.defined()) continue;
    add(static_cast<int64_t>(x.scalar_type()));
    add(static_cast<int64_t>(x.device().type()));
    add(x.is_neg());
    for (const int64_t size : x.sizes()) add(size);
    for (const int64_t stride : x.strides()) add(stride);
  }
  return static_cast<int64_t>(form);
}

}  // namespace

bool is_differentiated(const variable_list& gradients) { return c10::GradMode::is_enabled() || has_tangent(gradients); }

variable_list differentiable_gradients(const variable_list& inputs, const variable_list& gradients,
                                       const std::function<variable_list(const variable_list&)>& function) {
  const bool creates_graph = c10::GradMode::is_enabled();
  const c10::AutoGradMode records(true);
  const auto needs = [&](size_t i) { return inputs[i].defined() && inputs[i].requires_grad(); };
  // Aliases, since one input may be computed from another, and gradients along that path do not belong here.
  variable_list aliases, wanted;
  for (size_t i = 0; i < inputs.size(); ++i) {
    aliases.push_back(inputs[i].defined() ? inputs[i].view_as(inputs[i]) : at::Tensor());
    if (needs(i)) wanted.push_back(aliases[i]);
  }
  variable_list outputs, of_outputs;
  const variable_list all = function(aliases);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].requires_grad() || !gradients[i].defined()) continue;
    outputs.push_back(all[i]);
    of_outputs.push_back(gradients[i]);
  }
  variable_list results(inputs.size());
  if (outputs.empty() || wanted.empty()) return results;
  const variable_list found = torch::autograd::grad(outputs, wanted, of_outputs, /*retain_graph=*/true,
                                                    /*create_graph=*/creates_graph, /*allow_unused=*/true);
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (needs(i)) results[i] = found[next++];
  }
  return results;
}

void keep(AutogradContext& context, variable_list tensors, Instructions which) {
  context.saved_data["form"] = form_of(tensors);
  context.saved_data["instructions"] = static_cast<int64_t>(which);
  context.save_for_backward(std::move(tensors));
}

variable_list recalled(const AutogradContext& context) {
  variable_list tensors = context.get_saved_variables();
  TORCH_CHECK(form_of(tensors) == context.saved_data.at("form").toInt(),
              "a tensor that is needed for a gradient was given another shape or other memory since the forward pass");
  return tensors;
}

Instructions recalled_instructions(const AutogradContext& context) {
  return static_cast<Instructions>(context.saved_data.at("instructions").toInt());
}

}  // namespace gen_native
