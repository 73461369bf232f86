#include <ATen/ops/relu.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "../forward.h"
#include "../gradients.h"
#include "../instructions.h"
#include "../layout.h"
#include "../operands.h"
#include "conv.h"
#include "passes.h"
#include "rolling.h"

namespace gen_native::conv {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor composed(const at::Tensor& x, at::TensorList layers, bool rounded) {
  at::Tensor h = x;
  for (size_t i = 0; i < layers.size(); i += 2) {
    if (i > 0) h = at::relu(h);
    h = conv2d(h, layers[i], layers[i + 1], 1, padding_of(layers[i]), false, rounded);
  }
  return h;
}

// Convolutions apply max(0, x) while they store a hidden map, and its derivative while they store the gradient, so the
// activation needs no pass of its own.
struct Stack : torch::autograd::Function<Stack> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers, const Loops& loops) {
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    at::Tensor h = x;
    for (size_t i = 0; i < layers.size(); i += 2) {
      const Geometry g = geometry(h, layers[i], 1, padding_of(layers[i]), false);
      const bool last = i + 2 == layers.size();
      h = gathered(h, layers[i], layers[i + 1], g, true, loops, {.relu = !last});
      if (!last) saved.push_back(h);
    }
    keep(*context, std::move(saved), loops.which);
    context->saved_data["layers"] = static_cast<int64_t>(layers.size());
    context->saved_data["pairs"] = loops.pairs;
    return h;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // x; weights and biases; hidden maps.
    const variable_list saved = recalled(*context);
    const size_t n_layers = context->saved_data["layers"].toInt();
    const Loops of_forward = loops(recalled_instructions(*context), context->saved_data["pairs"].toBool());
    const at::TensorList all(saved), layers = all.slice(1, n_layers), hidden = all.slice(1 + n_layers);
    variable_list results(1 + n_layers + 1);
    if (!gradients[0].defined()) return results;
    if (is_differentiated(gradients)) {
      const variable_list inputs(saved.begin(), saved.begin() + 1 + n_layers);
      const variable_list found = differentiable_gradients(inputs, gradients, [&](const variable_list& aliases) {
        return variable_list{composed(aliases[0], at::TensorList(aliases).slice(1), of_forward.pairs)};
      });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    at::Tensor gradient = readable_gradient(gradients[0]);
    for (size_t i = n_layers / 2; i-- > 0;) {
      const at::Tensor &input = i == 0 ? saved[0] : hidden[i - 1], &weight = layers[2 * i];
      const Geometry g = geometry(input, weight, 1, padding_of(weight), false);
      if (context->needs_input_grad(2 * i + 1)) results[2 * i + 1] = correlated(gradient, input, weight, g, of_forward);
      if (context->needs_input_grad(2 * i + 2)) results[2 * i + 2] = summed(gradient, of_forward);
      if (i == 0 && !context->needs_input_grad(0)) return results;
      gradient =
          gathered(gradient, weight, at::Tensor(), g, false, of_forward, {.mask = i == 0 ? at::Tensor() : input});
    }
    results[0] = gradient;
    return results;
  }
};

}  // namespace

at::Tensor conv_stack(const at::Tensor& x, const std::vector<at::Tensor>& layers, bool rounded) {
  TORCH_CHECK(!layers.empty() && layers.size() % 2 == 0, "layers have a weight and a bias each");
  check_operands(x, layers);
  const Instructions which = instructions();
  bool here = true;
  int64_t channels = x.dim() == 4 ? x.size(1) : -1;
  for (size_t i = 0; i < layers.size(); i += 2) {
    const at::Tensor &weight = layers[i], &bias = layers[i + 1];
    TORCH_CHECK(weight.dim() == 4 && weight.size(2) == weight.size(3) && weight.size(2) % 2 == 1,
                "a kernel that keeps the size is a square with an odd side, found weights of ", weight.sizes());
    TORCH_CHECK(weight.size(1) > 0, "a convolution of no channels");
    here = here && done_here(x, weight, bias, padding_of(weight), which) && weight.numel() > 0 &&
           weight.size(1) == channels && bias.dim() == 1 && bias.numel() == weight.size(0);
    channels = weight.size(0);
  }
  // `composed` reports shapes that do not fit. Taps are counted in 32 bits.
  constexpr double kMostPixels = 1 << 20;
  if (!here || have_tangents(x, layers) || x.numel() == 0 ||
      static_cast<double>(x.size(2)) * static_cast<double>(x.size(3)) > kMostPixels) {
    return composed(x, layers, rounded);
  }
  const Loops with = loops(which, rounded);
  const bool learns = c10::GradMode::is_enabled() &&
                      (x.requires_grad() || std::any_of(layers.begin(), layers.end(),
                                                        [](const at::Tensor& t) { return t.requires_grad(); }));
  if (!learns && can_roll(x, with)) return rolled(readable(x), layers, with);
  return Stack::apply(readable(x), at::TensorList(layers), with);
}

}  // namespace gen_native::conv
