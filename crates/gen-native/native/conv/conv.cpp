#include "conv.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <limits>

#include "../forward.h"
#include "../gradients.h"
#include "../layout.h"
#include "../operands.h"
#include "passes.h"

namespace gen_native::conv {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Convolution : torch::autograd::Function<Convolution> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding, bool transposed,
                            const Loops& loops) {
    keep(*context, {x, weight}, loops.which);
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["transposed"] = transposed;
    context->saved_data["pairs"] = loops.pairs;
    context->saved_data["bias"] = bias.has_value();
    return gathered(x, weight, bias.value_or(at::Tensor()), geometry(x, weight, stride, padding, transposed),
                    !transposed, loops);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const bool transposed = context->saved_data["transposed"].toBool();
    const Loops of_forward = loops(recalled_instructions(*context), context->saved_data["pairs"].toBool());
    const std::array<bool, 3> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                    context->saved_data["bias"].toBool() && context->needs_input_grad(2)};
    variable_list results(7);
    if (!gradients[0].defined()) return results;
    if (is_differentiated(gradients)) {
      // The gradient will be differentiated: libtorch's operations can do that.
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
    const at::Tensor gradient = readable_gradient(gradients[0]);
    if (needs[0]) results[0] = gathered(gradient, weight, at::Tensor(), g, transposed, of_forward);
    if (needs[1]) {
      results[1] =
          transposed ? correlated(x, gradient, weight, g, of_forward) : correlated(gradient, x, weight, g, of_forward);
    }
    if (needs[2]) results[2] = summed(gradient, of_forward);
    return results;
  }
};

}  // namespace

bool prefers_batch_innermost(const at::Tensor& x, Instructions which) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.layout() != at::kStrided || x.dim() == 0) return false;
  const Kernels* const kernel = loops(which, false).kernels;
  return kernel != nullptr && x.size(0) >= kernel->lanes;
}

bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding,
               Instructions which) {
  if (!prefers_batch_innermost(x, which) || x.dim() != 4 || weight.dim() != 4 || padding < 0) return false;
  const auto single = [](const at::Tensor& t) { return in_memory(t) && t.scalar_type() == at::kFloat; };
  if (!single(x) || !single(weight)) return false;
  if (bias.defined() && !(single(bias) && bias.is_contiguous())) return false;
  // The rows of a kernel must follow each other in memory.
  const bool dense = weight.size(2) == 1 || weight.stride(2) == weight.size(3) * weight.stride(3);
  return dense;
}

namespace {

// Whether pixels, positions and taps can be counted in 32 bits.
bool is_countable(const Geometry& g) {
  const auto count = [](int64_t a, int64_t b) { return static_cast<double>(a) * static_cast<double>(b); };
  const double pixels = std::max(count(g.small_height, g.small_width), count(g.large_height, g.large_width));
  return pixels * std::max(1.0, count(g.kernel_height, g.kernel_width)) < std::numeric_limits<int32_t>::max();
}

}  // namespace

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                  int64_t padding, bool transposed, bool rounded) {
  const std::optional<at::Tensor> b = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  check_operands(x, weight, b);
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  TORCH_CHECK(stride >= 1 && stride <= kMost, "the stride of a convolution is at least 1, found ", stride);
  TORCH_CHECK(padding <= kMost, "the padding of a convolution is ", padding);
  TORCH_CHECK(weight.dim() != 4 || weight.size(transposed ? 0 : 1) > 0, "a convolution of no channels");
  // libtorch checks this in f64 only.
  if (transposed && x.dim() == 4 && weight.dim() == 4 && padding >= 0 && x.numel() > 0 && weight.numel() > 0) {
    const auto is_positive = [&](int d) { return (x.size(d) - 1) * stride - 2 * padding + weight.size(d) > 0; };
    TORCH_CHECK(is_positive(2) && is_positive(3), "a kernel of ", weight.size(2), " x ", weight.size(3),
                " leaves nothing of a feature map of ", x.size(2), " x ", x.size(3), " without its padding");
  }
  const Instructions which = instructions();
  const auto by_libtorch = [&] {
    // libtorch's backward pass in f64 takes contiguous weights only.
    const at::Tensor w = weight.is_cpu() ? weight.contiguous() : weight;
    return transposed ? at::conv_transpose2d(x, w, b, stride, padding) : at::conv2d(x, w, b, stride, padding);
  };
  if (!done_here(x, weight, bias, padding, which) || have_tangents(x, weight, b)) return by_libtorch();
  const int64_t inputs = weight.size(transposed ? 0 : 1), outputs = weight.size(transposed ? 1 : 0);
  TORCH_CHECK(x.size(1) == inputs, "weights of ", inputs, " input channels, a feature map of ", x.size(1));
  TORCH_CHECK(!b || (b->dim() == 1 && b->numel() == outputs), "a bias ", bias.sizes(), " for ", outputs, " channels");
  // libtorch decides which sides and channels may be 0.
  if (x.numel() == 0 || weight.numel() == 0) return by_libtorch();
  const Geometry g = geometry(x, weight, stride, padding, transposed);
  TORCH_CHECK(
      g.small_height > 0 && g.small_width > 0 && g.large_height > 0 && g.large_width > 0 &&
          (transposed || (x.size(2) + 2 * padding >= g.kernel_height && x.size(3) + 2 * padding >= g.kernel_width)),
      "a kernel of ", g.kernel_height, " x ", g.kernel_width, " does not fit a feature map of ", x.size(2), " x ",
      x.size(3));
  if (!is_countable(g)) return by_libtorch();
  return Convolution::apply(readable(x), weight, b, stride, padding, transposed, loops(which, rounded));
}

}  // namespace gen_native::conv
