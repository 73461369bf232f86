#include "custom.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "forward.h"

namespace gen_native {

namespace {

using torch::autograd::variable_list;

struct Custom : torch::autograd::Node {
  Custom(Backward backward, std::shared_ptr<void> data, size_t inputs)
      : backward(backward), data(std::move(data)), inputs(inputs) {}

  // Runs under the lock of the node, as libtorch's nodes for functions of callers do: one thread at a time runs the
  // closure.
  variable_list apply(variable_list&& gradients) override {
    TORCH_CHECK(!c10::GradMode::is_enabled(), "this operation has a first derivative only");
    check_no_tangents("the gradient of an operation with the caller's gradient", gradients);
    TORCH_CHECK(busy.load() != std::this_thread::get_id(), "the gradient of this operation asks for itself");
    const std::lock_guard<std::mutex> lock(mutex_);
    const Busy mine(busy);
    TORCH_CHECK(data, "the graph has been freed: keep it for a second pass");
    std::vector<at::Tensor*> given;
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = input_metadata(i).zeros_like();
      given.push_back(&gradients[i]);
    }
    std::vector<at::Tensor*> found(inputs, nullptr);
    std::array<char, 1024> message{};
    const bool done = backward(data.get(), given.data(), given.size(), found.data(), found.size(), message.data(),
                               message.size() - 1);
    variable_list results(inputs);
    for (size_t i = 0; i < inputs; ++i) {
      const std::unique_ptr<at::Tensor> owned(found[i]);
      if (owned && task_should_compute_output(i)) results[i] = *owned;
    }
    TORCH_CHECK(done, "the gradient of this operation cannot be computed: ", message.data());
    return results;
  }

  void release_variables() override { release(); }

  void release_resources() override {
    Node::release_resources();
    release();
  }

  std::string name() const override { return "Custom"; }

  Backward backward;
  std::shared_ptr<void> data;
  size_t inputs;
  // The thread that runs the closure.
  std::atomic<std::thread::id> busy{};

 private:
  struct Busy {
    std::atomic<std::thread::id>& of;
    explicit Busy(std::atomic<std::thread::id>& of) : of(of) { of = std::this_thread::get_id(); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() { of = std::thread::id(); }
  };

  // Dropping the closure may run any code, so the lock is released first.
  void release() {
    if (busy.load() == std::this_thread::get_id()) return;
    std::shared_ptr<void> freed;
    const std::lock_guard<std::mutex> lock(mutex_);
    freed.swap(data);
  }
};

}  // namespace

std::vector<at::Tensor> with_gradient(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor> results,
                                      Backward backward, Drop drop, void* data) {
  std::shared_ptr<void> owned(data, drop);
  for (const at::Tensor& input : inputs) {
    TORCH_CHECK(input.defined(), "an input is undefined");
    TORCH_CHECK(input.layout() == at::kStrided, "an input has the layout ", input.layout(), ", it must be Strided");
  }
  for (at::Tensor& result : results) {
    TORCH_CHECK(result.defined(), "a result is undefined");
    TORCH_CHECK(result.layout() == at::kStrided, "a result has the layout ", result.layout(), ", it must be Strided");
    TORCH_CHECK(torch::autograd::isDifferentiableType(result.scalar_type()), "a result is of kind ",
                result.scalar_type(), ", it must have floating-point numbers");
  }
  check_no_tangents("an operation with the caller's gradient", inputs, results);
  if (!c10::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(inputs)) return results;
  // New tensors, since others may hold the caller's tensors.
  for (at::Tensor& result : results) result = result.detach();
  const auto node = c10::make_intrusive<Custom>(backward, std::move(owned), inputs.size());
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(results, node);
  return results;
}

}  // namespace gen_native
