#include "gradients.h"

#include <torch/csrc/autograd/autograd.h>

namespace gen_native {

using torch::autograd::variable_list;

variable_list differentiable_gradients(const variable_list& inputs, const variable_list& gradients,
                                       const std::function<variable_list(const variable_list&)>& function) {
  const auto needs = [&](size_t i) { return inputs[i].defined() && inputs[i].requires_grad(); };
  // Under other names: an input may be computed from another one, and what it gets by that way is not meant.
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
                                                    /*create_graph=*/true, /*allow_unused=*/true);
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (needs(i)) results[i] = found[next++];
  }
  return results;
}

}  // namespace gen_native
