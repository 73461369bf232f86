#include "composed.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <vector>

namespace gen_native::norm {

namespace {

at::Tensor activated(const at::Tensor& z, Activation activation) {
  switch (activation) {
    case Activation::kRelu: return at::relu(z);
    case Activation::kLeakyRelu: return at::leaky_relu(z, 0.2);
    case Activation::kSilu: return at::silu(z);
    default: return z;
  }
}

// A contiguous tensor for libtorch 2.13 on a CPU. It mistakes strides for channels-last if they nearly are, and those
// of contiguous tensors with a side of 1. Gradients are wrong then, or, if the feature map needs none, are written out
// of bounds.
at::Tensor as_plain(const at::Tensor& x) {
  const bool is_plain = x.is_contiguous() && x.suggest_memory_format() == at::MemoryFormat::Contiguous;
  return is_plain || !x.is_cpu() ? x : x.clone(at::MemoryFormat::Contiguous);
}

// x * weight + bias, for each channel.
at::Tensor scaled(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  std::vector<int64_t> shape(x.dim(), 1);
  shape[1] = x.size(1);
  return at::addcmul(bias.reshape(shape), x, weight.reshape(shape));
}

// Makes the gradient of `z` plain too, which may have any strides.
at::Tensor with_plain_gradient(const at::Tensor& z) {
  if (z.is_cpu() && z.requires_grad()) z.register_hook([](const at::Tensor& g) { return as_plain(g.resolve_neg()); });
  return z;
}

}  // namespace

at::Tensor composed_batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                               Activation activation) {
  // libtorch reads given statistics as if they were contiguous.
  const auto of = [&](const at::Tensor& running) {
    if (statistics == Statistics::kBatch) return std::optional<at::Tensor>();
    return std::optional(statistics == Statistics::kRunning ? as_plain(running) : running);
  };
  const at::Tensor z = at::batch_norm(as_plain(x), as_plain(weight), as_plain(bias), of(running_mean), of(running_var),
                                      statistics != Statistics::kRunning, kMomentum, kEpsilon, /*cudnn_enabled=*/false);
  return activated(with_plain_gradient(z), activation);
}

at::Tensor written_out_batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                  const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                                  Activation activation) {
  if (statistics == Statistics::kBatchMovingRunning) {
    const c10::NoGradGuard no_grad;
    composed_batch_norm(x.detach(), weight.detach(), bias.detach(), running_mean, running_var, statistics,
                        Activation::kNone);
  }
  std::vector<int64_t> shape(x.dim(), 1), others{0};
  shape[1] = x.size(1);
  for (int64_t d = 2; d < x.dim(); ++d) others.push_back(d);
  const bool running = statistics == Statistics::kRunning;
  const at::Tensor centred = x - (running ? running_mean.reshape(shape) : x.mean(others, /*keepdim=*/true));
  const at::Tensor variance = running ? running_var.reshape(shape) : centred.square().mean(others, /*keepdim=*/true);
  return activated(scaled(centred * (variance + kEpsilon).rsqrt(), weight, bias), activation);
}

at::Tensor composed_group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& modulation, Activation activation) {
  // For an empty map, libtorch's gradients of gradients are NaN.
  at::Tensor z = x.numel() == 0
                     ? scaled(x, weight, bias)
                     : with_plain_gradient(at::group_norm(as_plain(x), groups, as_plain(weight), as_plain(bias),
                                                          kEpsilon, /*cudnn_enabled=*/false));
  if (modulation.defined()) {
    std::vector<int64_t> shape(x.dim(), 1);
    shape[0] = x.size(0);
    shape[1] = x.size(1);
    const std::vector<at::Tensor> parts = modulation.chunk(2, 1);
    z = at::addcmul(parts[1].reshape(shape), z, parts[0].reshape(shape).add(1));
  }
  return activated(z, activation);
}

}  // namespace gen_native::norm
