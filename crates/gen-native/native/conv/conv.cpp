#include "conv.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <vector>

#include "../forward.h"
#include "../gradients.h"
#include "../layout.h"
#include "../operands.h"
#include "passes.h"

namespace gen_native::conv {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A geometry as the context of a node keeps it.
std::vector<int64_t> numbers_of(const Geometry& g) {
  return {g.batch,       g.small_channels, g.small_height, g.small_width, g.large_channels, g.large_height,
          g.large_width, g.kernel_height,  g.kernel_width, g.stride,      g.padding};
}

Geometry geometry_of(const std::vector<int64_t>& n) {
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10]};
}

// Whether the rows of a kernel follow each other in memory, as the loops need it.
bool has_rows_in_order(const at::Tensor& weight) {
  return weight.size(2) == 1 || weight.stride(2) == weight.size(3) * weight.stride(3);
}

// The gradient of weights as weights.
at::Tensor as_weights(const at::Tensor& x) {
  const at::Tensor plain = as_memory(x);
  return has_rows_in_order(plain) ? plain : plain.contiguous();
}

// A convolution is one of the derivatives of <small, convolution of the large map by the weights>, which is linear in
// all three. So are its gradients, whose gradients are convolutions again: loops compute derivatives of any order.
at::Tensor convolution(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                       bool to_small, const Loops& loops);
at::Tensor correlation(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                       const Loops& loops);

// From one map to the other.
struct Convolution : torch::autograd::Function<Convolution> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& from, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const Geometry& g, bool to_small,
                            const Loops& loops) {
    keep(*context, {from, weight}, loops.which);
    context->saved_data["geometry"] = numbers_of(g);
    context->saved_data["to_small"] = to_small;
    context->saved_data["pairs"] = loops.pairs;
    context->saved_data["bias"] = bias.has_value();
    return gathered(from, weight, bias.value_or(at::Tensor()), g, to_small, loops);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const at::Tensor &from = saved[0], &weight = saved[1];
    const Geometry g = geometry_of(context->saved_data["geometry"].toIntVector());
    const bool to_small = context->saved_data["to_small"].toBool();
    const Instructions which = recalled_instructions(*context);
    const std::array<bool, 3> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                    context->saved_data["bias"].toBool() && context->needs_input_grad(2)};
    variable_list results(6);
    if (!gradients[0].defined()) return results;
    if (is_differentiated(gradients)) {
      // By exact operands, also if the forward pass rounded them.
      const Loops exact = loops(which, false);
      const at::Tensor gradient = as_memory(gradients[0]);
      if (needs[0]) results[0] = convolution(gradient, weight, at::Tensor(), g, !to_small, exact);
      if (needs[1]) {
        results[1] =
            to_small ? correlation(gradient, from, weight, g, exact) : correlation(from, gradient, weight, g, exact);
      }
      if (needs[2]) results[2] = gradient.sum({0, 2, 3});
      return results;
    }
    const Loops of_forward = loops(which, context->saved_data["pairs"].toBool());
    const at::Tensor gradient = readable_gradient(gradients[0]);
    if (needs[0]) results[0] = gathered(gradient, weight, at::Tensor(), g, !to_small, of_forward);
    if (needs[1]) {
      results[1] = to_small ? correlated(gradient, from, weight, g, of_forward)
                            : correlated(from, gradient, weight, g, of_forward);
    }
    if (needs[2]) results[2] = summed(gradient, of_forward);
    return results;
  }
};

// The gradient of the weights, in the layout of `weight`.
struct Correlation : torch::autograd::Function<Correlation> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& small, const at::Tensor& large,
                            const at::Tensor& weight, const Geometry& g, const Loops& loops) {
    keep(*context, {small, large}, loops.which);
    context->saved_data["geometry"] = numbers_of(g);
    return correlated(small, large, weight, g, loops);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const Geometry g = geometry_of(context->saved_data["geometry"].toIntVector());
    const Loops exact = loops(recalled_instructions(*context), false);
    variable_list results(5);
    if (!gradients[0].defined()) return results;
    if (context->needs_input_grad(0)) results[0] = convolution(saved[1], gradients[0], at::Tensor(), g, true, exact);
    if (context->needs_input_grad(1)) results[1] = convolution(saved[0], gradients[0], at::Tensor(), g, false, exact);
    return results;
  }
};

at::Tensor convolution(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                       bool to_small, const Loops& loops) {
  if (have_tangents(from, weight, bias)) {
    const at::Tensor product = bilinear_with_tangent(from, weight, [&](const at::Tensor& x, const at::Tensor& w) {
      return convolution(x, w, at::Tensor(), g, to_small, loops);
    });
    return bias.defined() ? product + bias.reshape({1, -1, 1, 1}) : product;
  }
  return Convolution::apply(readable(from), as_weights(weight),
                            bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, g, to_small, loops);
}

at::Tensor correlation(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                       const Loops& loops) {
  if (have_tangents(small, large)) {
    return bilinear_with_tangent(
        small, large, [&](const at::Tensor& a, const at::Tensor& b) { return correlation(a, b, weight, g, loops); });
  }
  return Correlation::apply(readable(small), readable(large), weight.detach(), g, loops);
}

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
  return has_rows_in_order(weight);
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
  if (!done_here(x, weight, bias, padding, which)) return by_libtorch();
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
  return convolution(x, weight, bias, g, !transposed, loops(which, rounded));
}

}  // namespace gen_native::conv
