#include "conv.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/relu.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>

#include "../gradients.h"
#include "../instructions.h"
#include "../layout.h"
#include "passes.h"

namespace gen_native::conv {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Convolution : torch::autograd::Function<Convolution> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding, bool transposed,
                            bool pairs) {
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["transposed"] = transposed;
    context->saved_data["pairs"] = pairs;
    context->saved_data["bias"] = bias.has_value();
    return gathered(x, weight, bias.value_or(at::Tensor()), geometry(x, weight, stride, padding, transposed), !transposed, pairs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const bool transposed = context->saved_data["transposed"].toBool();
    const bool pairs = context->saved_data["pairs"].toBool();
    const std::array<bool, 3> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                    context->saved_data["bias"].toBool() && context->needs_input_grad(2)};
    variable_list results(7);
    if (!gradients[0].defined()) return results;
    if (c10::GradMode::is_enabled()) {
      // Somebody will differentiate the gradient, which libtorch knows how to do.
      const int64_t outputs = weight.size(transposed ? 1 : 0);
      auto [dx, dw, db] = at::convolution_backward(
          gradients[0], x, weight, at::IntArrayRef{outputs}, {stride, stride}, {padding, padding},
          std::vector<int64_t>{1, 1}, transposed, std::vector<int64_t>{0, 0}, 1, needs);
      results[0] = dx;
      results[1] = dw;
      results[2] = db;
      return results;
    }
    const Geometry g = geometry(x, weight, stride, padding, transposed);
    const at::Tensor gradient = readable(gradients[0]);
    if (needs[0]) results[0] = gathered(gradient, weight, at::Tensor(), g, transposed, pairs);
    if (needs[1]) {
      results[1] = transposed ? correlated(x, gradient, weight, g, pairs) : correlated(gradient, x, weight, g, pairs);
    }
    if (needs[2]) results[2] = summed(gradient, pairs);
    return results;
  }
};

bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding) {
  if (!prefers_batch_innermost(x) || x.dim() != 4 || weight.dim() != 4 || padding < 0) return false;
  const auto single = [](const at::Tensor& t) { return t.scalar_type() == at::kFloat && t.is_cpu(); };
  if (!single(weight) || (bias.defined() && !(single(bias) && bias.is_contiguous()))) return false;
  // The positions of a kernel must follow each other.
  const bool dense = weight.size(2) == 1 || weight.stride(2) == weight.size(3) * weight.stride(3);
  return dense;
}

// Layers of a stack: weights and biases in turn. Their kernels are squares with a middle.
int64_t padding_of(const at::Tensor& weight) { return weight.size(2) / 2; }

at::Tensor composed(const at::Tensor& x, at::TensorList layers, bool rounded) {
  at::Tensor h = x;
  for (size_t i = 0; i < layers.size(); i += 2) {
    if (i > 0) h = at::relu(h);
    h = conv2d(h, layers[i], layers[i + 1], 1, padding_of(layers[i]), false, rounded);
  }
  return h;
}

// A hidden map is stored when it is above 0 already, and so is its gradient where the map is: nothing goes over them
// for the sake of max(0, x).
struct Stack : torch::autograd::Function<Stack> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers, bool pairs) {
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    at::Tensor h = x;
    for (size_t i = 0; i < layers.size(); i += 2) {
      const Geometry g = geometry(h, layers[i], 1, padding_of(layers[i]), false);
      const bool last = i + 2 == layers.size();
      h = gathered(h, layers[i], layers[i + 1], g, true, pairs, {.relu = !last});
      if (!last) saved.push_back(h);
    }
    context->save_for_backward(std::move(saved));
    context->saved_data["layers"] = static_cast<int64_t>(layers.size());
    context->saved_data["pairs"] = pairs;
    return h;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // x, weights and biases, hidden maps.
    const variable_list saved = context->get_saved_variables();
    const size_t n_layers = context->saved_data["layers"].toInt();
    const bool pairs = context->saved_data["pairs"].toBool();
    const at::TensorList all(saved), layers = all.slice(1, n_layers), hidden = all.slice(1 + n_layers);
    variable_list results(1 + n_layers + 1);
    if (!gradients[0].defined()) return results;
    if (c10::GradMode::is_enabled()) {
      const variable_list inputs(saved.begin(), saved.begin() + 1 + n_layers);
      const variable_list found = differentiable_gradients(inputs, gradients, [&](const variable_list& aliases) {
        return variable_list{composed(aliases[0], at::TensorList(aliases).slice(1), pairs)};
      });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    at::Tensor gradient = readable(gradients[0]);
    for (size_t i = n_layers / 2; i-- > 0;) {
      const at::Tensor &input = i == 0 ? saved[0] : hidden[i - 1], &weight = layers[2 * i];
      const Geometry g = geometry(input, weight, 1, padding_of(weight), false);
      if (context->needs_input_grad(2 * i + 1)) results[2 * i + 1] = correlated(gradient, input, weight, g, pairs);
      if (context->needs_input_grad(2 * i + 2)) results[2 * i + 2] = summed(gradient, pairs);
      if (i == 0 && !context->needs_input_grad(0)) return results;
      gradient = gathered(gradient, weight, at::Tensor(), g, false, pairs, {.mask = i == 0 ? at::Tensor() : input});
    }
    results[0] = gradient;
    return results;
  }
};

}  // namespace

bool prefers_batch_innermost(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() == 0) return false;
  const Kernels* const kernel = kernels(false);
  return kernel != nullptr && x.size(0) >= kernel->lanes;
}

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                  int64_t padding, bool transposed, bool rounded) {
  TORCH_CHECK(stride >= 1, "the stride of a convolution is at least 1, found ", stride);
  const std::optional<at::Tensor> b = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  if (!done_here(x, weight, bias, padding)) {
    return transposed ? at::conv_transpose2d(x, weight, b, stride, padding) : at::conv2d(x, weight, b, stride, padding);
  }
  const int64_t inputs = weight.size(transposed ? 0 : 1), outputs = weight.size(transposed ? 1 : 0);
  TORCH_CHECK(x.size(1) == inputs, "weights of ", inputs, " input channels, a feature map of ", x.size(1));
  TORCH_CHECK(!bias.defined() || bias.numel() == outputs, "a bias of ", bias.numel(), " for ", outputs, " channels");
  const Geometry g = geometry(x, weight, stride, padding, transposed);
  TORCH_CHECK(g.small_height > 0 && g.small_width > 0 && g.large_height > 0 && g.large_width > 0 &&
                  (transposed || (x.size(2) + 2 * padding >= g.kernel_height && x.size(3) + 2 * padding >= g.kernel_width)),
              "a kernel of ", g.kernel_height, " x ", g.kernel_width, " does not fit a feature map of ", x.size(2),
              " x ", x.size(3));
  return Convolution::apply(readable(x), weight, b, stride, padding, transposed, rounded && has_bfloat16());
}

at::Tensor conv_stack(const at::Tensor& x, const std::vector<at::Tensor>& layers, bool rounded) {
  TORCH_CHECK(!layers.empty() && layers.size() % 2 == 0, "layers have a weight and a bias each");
  bool here = true;
  int64_t channels = x.dim() == 4 ? x.size(1) : -1;
  for (size_t i = 0; i < layers.size(); i += 2) {
    const at::Tensor &weight = layers[i], &bias = layers[i + 1];
    TORCH_CHECK(weight.dim() == 4 && weight.size(2) == weight.size(3) && weight.size(2) % 2 == 1,
                "a kernel that keeps the size is a square with an odd side, found weights of ", weight.sizes());
    here = here && done_here(x, weight, bias, padding_of(weight)) && weight.size(1) == channels && bias.defined() &&
           bias.numel() == weight.size(0);
    channels = weight.size(0);
  }
  // What does not fit says so there.
  if (!here || x.size(2) * x.size(3) == 0) return composed(x, layers, rounded);
  return Stack::apply(readable(x), at::TensorList(layers), rounded && has_bfloat16());
}

}  // namespace gen_native::conv
