#include "norm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "../conv/conv.h"
#include "../forward.h"
#include "../gradients.h"
#include "../operands.h"
#include "composed.h"
#include "passes.h"

namespace gen_native::norm {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool single(const at::Tensor& x) { return in_memory(x) && x.scalar_type() == at::kFloat; }

// Whether `x` has one contiguous number for each channel.
bool plain(const at::Tensor& x, int64_t channels) {
  return single(x) && x.is_contiguous() && x.dim() == 1 && x.numel() == channels;
}

bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, Instructions which) {
  return x.dim() == 4 && conv::prefers_batch_innermost(x, which) && single(x) && x.numel() > 0 &&
         plain(weight, x.size(1)) && plain(bias, x.size(1));
}

// The sum of terms 0 to n, several at a time.
template <typename F>
double summed(int64_t n, F&& term) {
  constexpr int64_t kTogether = 8;
  double sums[kTogether] = {}, rest = 0;
  int64_t i = 0;
  for (; i + kTogether <= n; i += kTogether) {
    for (int64_t j = 0; j < kTogether; ++j) sums[j] += term(i + j);
  }
  for (; i < n; ++i) rest += term(i);
  for (const double sum : sums) rest += sum;
  return rest;
}

struct BatchNorm : torch::autograd::Function<BatchNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& running_mean,
                            const std::optional<at::Tensor>& running_var, int64_t statistics, int64_t activation,
                            Instructions which) {
    const Kernels& kernel = kernels(which);
    const Shape shape(x);
    const Known known(shape);
    const bool running = static_cast<Statistics>(statistics) == Statistics::kRunning;
    const bool moves = static_cast<Statistics>(statistics) == Statistics::kBatchMovingRunning;
    // Moments of each image.
    const auto [of_images, holder] = running ? std::pair<Moments, at::Tensor>() : moments_of(kernel, x, shape.channels);
    for (int64_t c = 0; c < shape.channels; ++c) {
      double mean, variance;
      if (running) {
        mean = running_mean->const_data_ptr<float>()[c];
        variance = running_var->const_data_ptr<float>()[c];
      } else {
        const float* const squares = of_images.squares + c * shape.batch;
        const auto own = [means = of_images.mean + c * shape.batch, rests = of_images.rest + c * shape.batch](
                             int64_t n) { return static_cast<double>(means[n]) + rests[n]; };
        mean = summed(shape.batch, own) / shape.batch;
        const double square = summed(
            shape.batch, [&](int64_t n) { return squares[n] + shape.pixels * (own(n) - mean) * (own(n) - mean); });
        const double count = static_cast<double>(shape.pixels * shape.batch);
        variance = square / count;
        if (moves) {
          float& old_mean = running_mean->mutable_data_ptr<float>()[c];
          float& old_var = running_var->mutable_data_ptr<float>()[c];
          old_mean = static_cast<float>(old_mean * (1 - kMomentum) + mean * kMomentum);
          old_var = static_cast<float>(old_var * (1 - kMomentum) + square / (count - 1) * kMomentum);
        }
      }
      const double rstd = 1 / std::sqrt(variance + kEpsilon);
      const double slope = rstd * weight.const_data_ptr<float>()[c];
      const auto rounded = static_cast<float>(mean);
      const auto fill = [&](float* of, double value) {
        std::fill_n(of + c * shape.batch, shape.batch, static_cast<float>(value));
      };
      fill(known.mean, rounded);
      fill(known.rest, mean - rounded);
      fill(known.rstd, rstd);
      fill(known.slope, slope);
      fill(known.offset, bias.const_data_ptr<float>()[c] - (mean - rounded) * slope);
    }
    const at::Tensor none;
    if (moves) {
      // An in-place change, which autograd must see.
      for (const auto* const moved : {&*running_mean, &*running_var}) {
        if (!moved->is_inference()) moved->unsafeGetTensorImpl()->bump_version();
      }
    }
    // Copies, since a later batch may move the statistics.
    const auto copy = [&](const std::optional<at::Tensor>& of) { return running ? of->detach().clone() : none; };
    keep(*context, {x, weight, bias, known.all, copy(running_mean), copy(running_var)}, which);
    context->saved_data["running"] = running;
    context->saved_data["activation"] = activation;
    return applied(kernel, x, known, static_cast<Activation>(activation));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list results(8);
    if (!gradients[0].defined()) return results;
    const variable_list saved = recalled(*context);
    const at::Tensor &x = saved[0], &weight = saved[1];
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const bool running = context->saved_data["running"].toBool();
    const std::vector<bool> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                  context->needs_input_grad(2)};
    if (is_differentiated(gradients)) {
      const auto compose = [&](const variable_list& inputs) {
        // The running statistics have moved already.
        return variable_list{composed_batch_norm(inputs[0], inputs[1], inputs[2], saved[4], saved[5],
                                                 running ? Statistics::kRunning : Statistics::kBatch, activation)};
      };
      variable_list found = differentiable_gradients({x, weight, saved[2]}, gradients, compose);
      std::move(found.begin(), found.end(), results.begin());
      return results;
    }
    const Shape shape(x);
    const Known known(saved[3], shape.row);
    const at::Tensor dy = readable_gradient(gradients[0]);
    const Kernels& kernel = kernels(recalled_instructions(*context));
    const Sums sums(kernel, x, known, activation, dy);
    const at::Tensor dw = at::empty_like(weight), db = at::empty_like(weight);
    const at::Tensor terms = at::empty({2, shape.row}, at::kFloat);
    float* const constant = terms.mutable_data_ptr<float>();
    const double count = static_cast<double>(shape.pixels * shape.batch);
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = c * shape.batch;
      const double plain = summed(shape.batch, [&](int64_t n) { return sums.plain[start + n]; });
      const double product = summed(shape.batch, [&](int64_t n) { return sums.product[start + n]; });
      dw.mutable_data_ptr<float>()[c] = static_cast<float>(product);
      db.mutable_data_ptr<float>()[c] = static_cast<float>(plain);
      // The statistics of the batch depend on x; the running statistics do not.
      const double share = running ? 0 : known.slope[start] / count;
      const double linear = share * product * known.rstd[start];
      std::fill_n(constant + start, shape.batch, static_cast<float>(share * plain - linear * known.rest[start]));
      std::fill_n(constant + shape.row + start, shape.batch, static_cast<float>(linear));
    }
    if (needs[0]) results[0] = input_gradient(kernel, x, known, activation, dy, terms);
    if (needs[1]) results[1] = dw;
    if (needs[2]) results[2] = db;
    return results;
  }
};

struct GroupNorm : torch::autograd::Function<GroupNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const std::optional<at::Tensor>& modulation, int64_t groups,
                            int64_t activation, Instructions which) {
    const Kernels& kernel = kernels(which);
    const Shape shape(x);
    const Known known(shape);
    const auto [moments, holder] = moments_of(kernel, x, groups);
    const int64_t channels = shape.channels / groups;
    const auto count = static_cast<float>(channels * shape.pixels);
    const at::Tensor beside = modulation.has_value() ? modulation->t().contiguous() : at::Tensor();
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = c * shape.batch, group = c / channels * shape.batch;
      const float w = weight.const_data_ptr<float>()[c], b = bias.const_data_ptr<float>()[c];
      for (int64_t n = 0; n < shape.batch; ++n) {
        const float rstd = 1 / std::sqrt(moments.squares[group + n] / count + static_cast<float>(kEpsilon));
        known.mean[start + n] = moments.mean[group + n];
        known.rest[start + n] = moments.rest[group + n];
        known.rstd[start + n] = rstd;
        known.slope[start + n] = rstd * w;
        known.offset[start + n] = b - moments.rest[group + n] * rstd * w;
      }
      if (!beside.defined()) continue;
      const float* const scale = beside.const_data_ptr<float>() + start;
      const float* const shift = scale + shape.row;
      for (int64_t n = 0; n < shape.batch; ++n) {
        known.slope[start + n] *= 1 + scale[n];
        known.offset[start + n] = known.offset[start + n] * (1 + scale[n]) + shift[n];
      }
    }
    keep(*context, {x, weight, bias, known.all, modulation.value_or(at::Tensor()), beside}, which);
    context->saved_data["groups"] = groups;
    context->saved_data["activation"] = activation;
    return applied(kernel, x, known, static_cast<Activation>(activation));
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list results(7);
    if (!gradients[0].defined()) return results;
    const variable_list saved = recalled(*context);
    const at::Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &modulation = saved[4], &beside = saved[5];
    const int64_t groups = context->saved_data["groups"].toInt();
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const std::vector<bool> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                  context->needs_input_grad(2), modulation.defined() && context->needs_input_grad(3)};
    if (is_differentiated(gradients)) {
      const auto compose = [&](const variable_list& inputs) {
        return variable_list{composed_group_norm(inputs[0], groups, inputs[1], inputs[2], inputs[3], activation)};
      };
      variable_list found = differentiable_gradients({x, weight, bias, modulation}, gradients, compose);
      std::move(found.begin(), found.end(), results.begin());
      return results;
    }
    const Shape shape(x);
    const Known known(saved[3], shape.row);
    const at::Tensor dy = readable_gradient(gradients[0]);
    const Kernels& kernel = kernels(recalled_instructions(*context));
    const Sums sums(kernel, x, known, activation, dy);
    if (needs[0]) results[0] = input_gradient(kernel, x, known, activation, dy, terms(shape, known, sums, groups));
    const float* const scale = beside.defined() ? beside.const_data_ptr<float>() : nullptr;
    const at::Tensor dw = at::empty_like(weight), db = at::empty_like(weight);
    for (int64_t c = 0; c < shape.channels; ++c) {
      const int64_t start = c * shape.batch;
      const auto factor = [&](int64_t n) { return scale == nullptr ? 1.0f : 1.0f + scale[start + n]; };
      const auto of = [&](const float* sum) {
        return static_cast<float>(summed(shape.batch, [&](int64_t n) { return factor(n) * sum[start + n]; }));
      };
      dw.mutable_data_ptr<float>()[c] = of(sums.product);
      db.mutable_data_ptr<float>()[c] = of(sums.plain);
    }
    if (needs[1]) results[1] = dw;
    if (needs[2]) results[2] = db;
    if (needs[3]) {
      const at::Tensor dm = at::empty_like(beside);
      float* const dscale = dm.mutable_data_ptr<float>();
      for (int64_t c = 0; c < shape.channels; ++c) {
        const int64_t start = c * shape.batch;
        const float w = weight.const_data_ptr<float>()[c], b = bias.const_data_ptr<float>()[c];
        for (int64_t i = start; i < start + shape.batch; ++i) dscale[i] = w * sums.product[i] + b * sums.plain[i];
      }
      std::copy_n(sums.plain, shape.row, dscale + shape.row);
      results[3] = dm.t();
    }
    return results;
  }

  // The terms of input_gradient that come from the statistics.
  static at::Tensor terms(const Shape& shape, const Known& known, const Sums& sums, int64_t groups) {
    const at::Tensor all = at::empty({2, shape.row}, at::kFloat);
    float* const constant = all.mutable_data_ptr<float>();
    float* const linear = constant + shape.row;
    const int64_t channels = shape.channels / groups;
    const auto count = static_cast<float>(channels * shape.pixels);
    for (int64_t g = 0; g < groups; ++g) {
      // The place of the first channel collects the sums over the channels, and the others get copies.
      const int64_t first = g * channels * shape.batch;
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t start = first + c * shape.batch;
        for (int64_t n = 0; n < shape.batch; ++n) {
          const float plain = known.slope[start + n] * sums.plain[start + n];
          const float product = known.slope[start + n] * sums.product[start + n];
          constant[first + n] = c == 0 ? plain : constant[first + n] + plain;
          linear[first + n] = c == 0 ? product : linear[first + n] + product;
        }
      }
      for (int64_t n = 0; n < shape.batch; ++n) {
        linear[first + n] *= known.rstd[first + n] / count;
        constant[first + n] = constant[first + n] / count - linear[first + n] * known.rest[first + n];
      }
      for (int64_t c = 1; c < channels; ++c) {
        std::copy_n(constant + first, shape.batch, constant + first + c * shape.batch);
        std::copy_n(linear + first, shape.batch, linear + first + c * shape.batch);
      }
    }
    return all;
  }
};

}  // namespace

namespace {

// Parameters have one number for each channel.
void check_channels(const at::Tensor& x, const std::vector<at::Tensor>& parameters) {
  TORCH_CHECK(x.dim() >= 2, "a feature map ", x.sizes(), "; it is [batch, channels, ...]");
  for (const at::Tensor& of : parameters) {
    TORCH_CHECK(of.dim() == 1 && of.size(0) == x.size(1), "a parameter ", of.sizes(), " for a feature map ", x.sizes(),
                "; it is [", x.size(1), "]");
    TORCH_CHECK(of.scalar_type() == parameters[0].scalar_type(), "parameters are of kinds ", of.scalar_type(), " and ",
                parameters[0].scalar_type(), ", they must be of one");
  }
}

}  // namespace

at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                      Activation activation) {
  const bool uses_running = statistics != Statistics::kBatch;
  TORCH_CHECK(!uses_running || (running_mean.defined() && running_var.defined()), "no running statistics");
  std::vector<at::Tensor> others{weight, bias};
  if (uses_running) others.insert(others.end(), {running_mean, running_var});
  check_operands(x, others);
  check_channels(x, others);
  // libtorch refuses this; our loops would not.
  TORCH_CHECK(
      !uses_running || !c10::GradMode::is_enabled() || !(running_mean.requires_grad() || running_var.requires_grad()),
      "running statistics require a gradient, which they do not have");
  if (uses_running) check_no_tangents("a running statistic", running_mean, running_var);
  if (statistics == Statistics::kBatchMovingRunning) {
    check_exclusive({running_mean, running_var}, {x, weight, bias});
    if (running_mean.is_neg() || running_var.is_neg()) {
      // libtorch would change a copy.
      const at::Tensor mean = running_mean.resolve_neg(), var = running_var.resolve_neg();
      const at::Tensor normed = batch_norm(x, weight, bias, mean, var, statistics, activation);
      const c10::NoGradGuard no_grad;
      if (running_mean.is_neg()) running_mean.copy_(mean);
      if (running_var.is_neg()) running_var.copy_(var);
      return normed;
    }
  }
  const Instructions which = instructions();
  if (have_tangents(x, weight, bias)) {
    return written_out_batch_norm(x, weight, bias, running_mean, running_var, statistics, activation);
  }
  const bool here = done_here(x, weight, bias, which) &&
                    (!uses_running || (plain(running_mean, x.size(1)) && plain(running_var, x.size(1))));
  if (!here) return composed_batch_norm(x, weight, bias, running_mean, running_var, statistics, activation);
  const at::Tensor none;
  return BatchNorm::apply(readable(x), weight, bias, optional(uses_running ? running_mean : none),
                          optional(uses_running ? running_var : none), static_cast<int64_t>(statistics),
                          static_cast<int64_t>(activation), which);
}

at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& modulation, Activation activation) {
  check_operands(x, weight, bias, optional(modulation));
  check_channels(x, {weight, bias});
  TORCH_CHECK(groups > 0 && x.size(1) % groups == 0, groups, " groups of ", x.size(1), " channels");
  TORCH_CHECK(!modulation.defined() ||
                  (modulation.dim() == 2 && modulation.size(0) == x.size(0) && modulation.size(1) == 2 * x.size(1)),
              "a modulation ", modulation.sizes(), " of a feature map ", x.sizes(), "; it is [", x.size(0), ", ",
              2 * x.size(1), "]");
  const Instructions which = instructions();
  if (!done_here(x, weight, bias, which) || (modulation.defined() && !single(modulation)) ||
      have_tangents(x, weight, bias, modulation)) {
    return composed_group_norm(x, groups, weight, bias, modulation, activation);
  }
  return GroupNorm::apply(readable(x), weight, bias, optional(modulation), groups, static_cast<int64_t>(activation),
                          which);
}

}  // namespace gen_native::norm
