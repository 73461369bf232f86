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

// The weight of layer i, with its mask if there are masks.
at::Tensor weight_of(at::TensorList layers, at::TensorList masks, size_t i) {
  return masks.empty() ? layers[2 * i] : layers[2 * i] * masks[i];
}

at::Tensor composed(at::Tensor x, at::TensorList layers, at::TensorList masks) {
  for (size_t i = 0; 2 * i < layers.size(); ++i) {
    x = at::linear(i == 0 ? x : at::relu(x), weight_of(layers, masks, i), layers[2 * i + 1]);
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
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers,
                            at::TensorList masks) {
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    saved.insert(saved.end(), masks.begin(), masks.end());
    at::Tensor h = x;
    for (size_t i = 0; 2 * i < layers.size(); ++i) {
      if (i > 0) saved.push_back(h.relu_());
      h = product(h, weight_of(layers, masks, i), layers[2 * i + 1], rows_innermost(x));
    }
    context->save_for_backward(std::move(saved));
    context->saved_data["layers"] = static_cast<int64_t>(layers.size());
    context->saved_data["masks"] = static_cast<int64_t>(masks.size());
    return h;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // x, weights and biases, masks, hidden layers.
    const variable_list saved = context->get_saved_variables();
    const size_t n_layers = context->saved_data["layers"].toInt(), n_masks = context->saved_data["masks"].toInt();
    const at::TensorList all(saved), layers = all.slice(1, n_layers), masks = all.slice(1 + n_layers, n_masks);
    const at::TensorList hidden = all.slice(1 + n_layers + n_masks);
    if (c10::GradMode::is_enabled()) {
      return differentiable_gradients({saved.begin(), saved.begin() + 1 + n_layers + n_masks}, gradients,
                                      [&](const variable_list& inputs) {
                                        const at::TensorList list(inputs);
                                        return variable_list{composed(list[0], list.slice(1, n_layers),
                                                                      list.slice(1 + n_layers))};
                                      });
    }
    variable_list results(1 + n_layers + n_masks);
    at::Tensor gradient = gradients[0];
    for (size_t i = n_layers / 2; i-- > 0;) {
      const at::Tensor& input = i == 0 ? saved[0] : hidden[i - 1];
      // Those of a network that another one learns by are not asked for.
      if (context->needs_input_grad(2 * i + 1)) {
        results[2 * i + 1] = at::mm(gradient.t(), input);
        if (!masks.empty()) results[2 * i + 1].mul_(masks[i]);
      }
      if (context->needs_input_grad(2 * i + 2)) results[2 * i + 2] = gradient.sum(0);
      if (i == 0 && !context->needs_input_grad(0)) break;
      gradient = product(gradient, weight_of(layers, masks, i), at::Tensor(), rows_innermost(saved[0]));
      if (i > 0) gradient = at::threshold_backward(gradient, input, 0);
    }
    if (context->needs_input_grad(0)) results[0] = gradient;
    return results;
  }
};

at::Tensor apply(const at::Tensor& x, at::TensorList layers, at::TensorList masks) {
  TORCH_CHECK(!layers.empty() && layers.size() % 2 == 0, "layers have a weight and a bias each");
  const bool plain = x.dim() == 2 && !at::autocast::is_autocast_enabled(x.device().type());
  return plain ? Perceptron::apply(x, layers, masks) : composed(x, layers, masks);
}

}  // namespace

at::Tensor perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers) {
  return apply(x, at::TensorList(layers), {});
}

at::Tensor masked_perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers,
                             const std::vector<at::Tensor>& masks) {
  TORCH_CHECK(2 * masks.size() == layers.size(), masks.size(), " masks for ", layers.size() / 2, " layers");
  std::vector<at::Tensor> alike;
  for (size_t i = 0; i < masks.size(); ++i) {
    TORCH_CHECK(masks[i].sizes() == layers[2 * i].sizes(), "a mask ", masks[i].sizes(), " for a weight ",
                layers[2 * i].sizes());
    alike.push_back(masks[i].detach().to(layers[2 * i].options()));
  }
  return apply(x, at::TensorList(layers), at::TensorList(alike));
}

}  // namespace gen_native::flow
