#include <ATen/autocast_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/threshold_backward.h>
#include <c10/core/GradMode.h>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor composed(at::Tensor x, at::TensorList layers) {
  for (size_t i = 0; i < layers.size(); i += 2) {
    x = at::linear(i == 0 ? x : at::relu(x), layers[i], layers[i + 1]);
  }
  return x;
}

// h Wᵀ + b, or h W without a bias, as rows or, if `columns`, as the transpose of a contiguous matrix.
at::Tensor product(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias, bool columns) {
  if (!bias.defined()) return columns ? at::mm(weight.t(), h.t()).t() : at::mm(h, weight);
  return columns ? at::addmm(bias.unsqueeze(1), weight, h.t()).t() : at::addmm(bias, h, weight.t());
}

// One node of autograd's graph instead of two for each layer, which for layers of a few units is most of the time.
struct Perceptron : torch::autograd::Function<Perceptron> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers) {
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    at::Tensor h = x;
    for (size_t i = 0; i < layers.size(); i += 2) {
      if (i > 0) saved.push_back(h.relu_());
      h = product(h, layers[i], layers[i + 1], rows_innermost(x));
    }
    context->save_for_backward(std::move(saved));
    return h;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    // x, 2 n weights and biases, n - 1 hidden layers.
    const size_t n = saved.size() / 3;
    if (c10::GradMode::is_enabled()) {
      return differentiable_gradients({saved.begin(), saved.begin() + 2 * n + 1}, gradients,
                                      [](const variable_list& inputs) {
                                        return variable_list{composed(inputs[0], at::TensorList(inputs).slice(1))};
                                      });
    }
    variable_list results(2 * n + 1);
    at::Tensor gradient = gradients[0];
    for (size_t i = n; i-- > 0;) {
      const at::Tensor& input = i == 0 ? saved[0] : saved[2 * n + i];
      // Those of a network that another one learns by are not asked for.
      if (context->needs_input_grad(2 * i + 1)) results[2 * i + 1] = at::mm(gradient.t(), input);
      if (context->needs_input_grad(2 * i + 2)) results[2 * i + 2] = gradient.sum(0);
      if (i == 0 && !context->needs_input_grad(0)) break;
      gradient = product(gradient, saved[2 * i + 1], at::Tensor(), rows_innermost(saved[0]));
      if (i > 0) gradient = at::threshold_backward(gradient, input, 0);
    }
    if (context->needs_input_grad(0)) results[0] = gradient;
    return results;
  }
};

}  // namespace

at::Tensor perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers) {
  TORCH_CHECK(!layers.empty() && layers.size() % 2 == 0, "layers have a weight and a bias each");
  const bool plain = x.dim() == 2 && !at::autocast::is_autocast_enabled(x.device().type());
  return plain ? Perceptron::apply(x, at::TensorList(layers)) : composed(x, layers);
}

}  // namespace gen_native::flow
