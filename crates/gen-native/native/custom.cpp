#include "custom.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

namespace gen_native {

namespace {

using torch::autograd::variable_list;

struct Custom : torch::autograd::Node {
  Custom(Backward backward, std::shared_ptr<void> data, size_t inputs)
      : backward(backward), data(std::move(data)), inputs(inputs) {}

  variable_list apply(variable_list&& gradients) override {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "this operation has a first derivative only");
    TORCH_CHECK(data, "the graph has been freed: keep it for a second pass");
    std::vector<at::Tensor*> given;
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = input_metadata(i).zeros_like();
      given.push_back(&gradients[i]);
    }
    std::vector<at::Tensor*> found(inputs, nullptr);
    const bool done = backward(data.get(), given.data(), given.size(), found.data(), found.size());
    variable_list results(inputs);
    for (size_t i = 0; i < inputs; ++i) {
      const std::unique_ptr<at::Tensor> owned(found[i]);
      if (owned && task_should_compute_output(i)) results[i] = *owned;
    }
    TORCH_CHECK(done, "the gradient of this operation cannot be computed");
    return results;
  }

  void release_variables() override { data.reset(); }

  std::string name() const override { return "Custom"; }

  Backward backward;
  std::shared_ptr<void> data;
  size_t inputs;
};

}  // namespace

std::vector<at::Tensor> with_gradient(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor> results,
                                      Backward backward, Drop drop, void* data) {
  std::shared_ptr<void> owned(data, drop);
  if (!c10::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(inputs)) return results;
  const auto node = c10::make_intrusive<Custom>(backward, std::move(owned), inputs.size());
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(results, node);
  return results;
}

}  // namespace gen_native
