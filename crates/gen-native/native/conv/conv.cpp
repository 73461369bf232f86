#include "conv.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>

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
    return gathered(x, weight, bias.value_or(at::Tensor()), geometry(x, weight, stride, padding, transposed),
                    !transposed, pairs);
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
      auto [dx, dw, db] = at::convolution_backward(gradients[0], x, weight, at::IntArrayRef{outputs}, {stride, stride},
                                                   {padding, padding}, std::vector<int64_t>{1, 1}, transposed,
                                                   std::vector<int64_t>{0, 0}, 1, needs);
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

}  // namespace

bool prefers_batch_innermost(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() == 0) return false;
  const Kernels* const kernel = kernels(false);
  return kernel != nullptr && x.size(0) >= kernel->lanes;
}

bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding) {
  if (!prefers_batch_innermost(x) || x.dim() != 4 || weight.dim() != 4 || padding < 0) return false;
  const auto single = [](const at::Tensor& t) { return t.scalar_type() == at::kFloat && t.is_cpu(); };
  if (!single(weight) || (bias.defined() && !(single(bias) && bias.is_contiguous()))) return false;
  // The positions of a kernel must follow each other.
  const bool dense = weight.size(2) == 1 || weight.stride(2) == weight.size(3) * weight.stride(3);
  return dense;
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
  TORCH_CHECK(
      g.small_height > 0 && g.small_width > 0 && g.large_height > 0 && g.large_width > 0 &&
          (transposed || (x.size(2) + 2 * padding >= g.kernel_height && x.size(3) + 2 * padding >= g.kernel_width)),
      "a kernel of ", g.kernel_height, " x ", g.kernel_width, " does not fit a feature map of ", x.size(2), " x ",
      x.size(3));
  return Convolution::apply(readable(x), weight, b, stride, padding, transposed, rounded && has_bfloat16());
}

}  // namespace gen_native::conv
