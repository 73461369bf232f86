#include "likelihood.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "../forward.h"
#include "../gradients.h"
#include "../instructions.h"
#include "../layout.h"
#include "../operands.h"
#include "kernels.h"

namespace gen_native::likelihood {

namespace {

const Kernels& kernels(Instructions which) {
  switch (which) {
#if defined(__x86_64__)
    case Instructions::kAvx512: return *avx512();
    case Instructions::kAvx2: return *avx2();
#endif
    default: return *portable();
  }
}

// Values whose results are kept at a time, few enough for the L1 cache.
constexpr int64_t kChunk = 512;

struct Sums {
  at::Tensor log_prob;  // [batch]
  at::Tensor by_mean;   // as the mean
  at::Tensor by_scale;  // [batch]
};

Sums summed(const at::Tensor& mean, const at::Tensor& log_scale, const at::Tensor& x, double half, Instructions which) {
  const int64_t batch = x.size(0), values = x.numel() / batch;
  const double scale = std::exp(static_cast<double>(log_scale.item<float>()));
  const double span = 2 * half / scale;
  const double width = std::log(-std::expm1(-span));
  // d width / d ln scale
  const double width_slope = -span / std::expm1(span);
  const Bins bins{static_cast<float>(1 / scale), static_cast<float>(width), static_cast<float>(half),
                  static_cast<float>(half - 1), static_cast<float>(1 - half)};
  Sums sums{at::empty({batch}, x.options()), at::empty_like(mean), at::empty({batch}, x.options())};
  const float *const m = mean.const_data_ptr<float>(), *const y = x.const_data_ptr<float>();
  float *const total = sums.log_prob.mutable_data_ptr<float>(), *const slope = sums.by_mean.mutable_data_ptr<float>(),
               *const by_scale = sums.by_scale.mutable_data_ptr<float>();
  const Kernels& kernel = kernels(which);
  const bool innermost = is_batch_innermost(x);
  // An item is a row of values, or, if the batch is innermost, some columns of the batch.
  constexpr int64_t kColumns = 64;
  const int64_t items = innermost ? (batch + kColumns - 1) / kColumns : batch;
  const auto sum_items = [&](int64_t begin, int64_t end) {
    float log_prob[kChunk], scaled[kChunk], inner[kChunk];
    for (int64_t item = begin; item < end; ++item) {
      if (innermost) {
        const int64_t n = item * kColumns, columns = std::min(kColumns, batch - n);
        double sum[kColumns]{}, slopes[kColumns]{};
        for (int64_t k = 0; k < values; ++k) {
          const int64_t at = k * batch + n;
          kernel.logistic(bins, m + at, y + at, columns, log_prob, slope + at, scaled, inner);
          for (int64_t i = 0; i < columns; ++i) {
            sum[i] += log_prob[i];
            slopes[i] += scaled[i] + inner[i] * width_slope;
          }
        }
        std::copy(sum, sum + columns, total + n);
        std::copy(slopes, slopes + columns, by_scale + n);
      } else {
        double sum = 0, slopes = 0;
        for (int64_t k = 0; k < values; k += kChunk) {
          const int64_t at = item * values + k, count = std::min(kChunk, values - k);
          kernel.logistic(bins, m + at, y + at, count, log_prob, slope + at, scaled, inner);
          for (int64_t i = 0; i < count; ++i) {
            sum += log_prob[i];
            slopes += scaled[i] + inner[i] * width_slope;
          }
        }
        total[item] = static_cast<float>(sum);
        by_scale[item] = static_cast<float>(slopes);
      }
    }
  };
  at::parallel_for(0, items, std::max<int64_t>(1, 4096 / (values * (innermost ? kColumns : 1))), sum_items);
  return sums;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The logarithm of the sigmoid. libtorch computes its second derivative as (z - 1) z with z = sigmoid(a), which loses
// all digits for z near 1. Softplus keeps them there.
at::Tensor log_of_sigmoid(const at::Tensor& a) {
  return at::where(a.gt(0), at::softplus(a.neg()).neg(), at::log_sigmoid(a));
}

// The same by libtorch's operations.
at::Tensor composed(const at::Tensor& mean, const at::Tensor& log_scale, const at::Tensor& x, double half) {
  const at::Tensor precision = log_scale.reshape({}).neg().exp();
  const at::Tensor lowest = x.lt(half - 1), highest = x.gt(1 - half);
  const at::Tensor upper = log_of_sigmoid(x.sub(mean).add(half).mul(precision)).masked_fill(highest, 0);
  const at::Tensor lower = log_of_sigmoid(mean.sub(x).add(half).mul(precision)).masked_fill(lowest, 0);
  const at::Tensor width = precision.mul(-2 * half).expm1().neg().log();
  const at::Tensor inner = width.expand_as(x).masked_fill(lowest.logical_or(highest), 0);
  return upper.add(lower).add(inner).reshape({x.size(0), -1}).sum(1);
}

struct DiscretisedLogistic : torch::autograd::Function<DiscretisedLogistic> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& mean, const at::Tensor& log_scale,
                            const at::Tensor& x, double half, Instructions which) {
    Sums sums = summed(mean, log_scale, x, half, which);
    keep(*context, {mean, log_scale, x, sums.by_mean, sums.by_scale}, which);
    context->saved_data["half"] = half;
    return sums.log_prob;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    variable_list results(5);
    const at::Tensor& gradient = gradients[0];
    if (!gradient.defined()) return results;
    const variable_list saved = recalled(*context);
    if (is_differentiated(gradients)) {
      const double half = context->saved_data["half"].toDouble();
      const variable_list found =
          differentiable_gradients({saved[0], saved[1], saved[2]}, gradients, [half](const variable_list& inputs) {
            return variable_list{composed(inputs[0], inputs[1], inputs[2], half)};
          });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    const at::Tensor &by_mean = saved[3], &by_scale = saved[4];
    if (context->needs_input_grad(0)) {
      std::vector<int64_t> column(by_mean.dim(), 1);
      column[0] = -1;
      results[0] = by_mean.mul(gradient.reshape(column));
    }
    if (context->needs_input_grad(1)) results[1] = by_scale.dot(gradient).reshape(saved[1].sizes());
    return results;
  }
};

}  // namespace

std::optional<at::Tensor> discretised_logistic(const at::Tensor& mean, const at::Tensor& log_scale, const at::Tensor& x,
                                               double half) {
  const Instructions which = instructions();
  const auto single = [](const at::Tensor& t) { return in_memory(t) && t.scalar_type() == at::kFloat; };
  if (which == Instructions::kLibtorch || !single(mean) || !single(log_scale) || !single(x)) return std::nullopt;
  const auto together = [&] {
    return (mean.is_contiguous() && x.is_contiguous()) || (is_batch_innermost(mean) && is_batch_innermost(x));
  };
  const bool fits = log_scale.numel() == 1 && !x.requires_grad() && mean.dim() >= 1 && mean.sizes() == x.sizes() &&
                    x.numel() > 0 && together() && !have_tangents(mean, log_scale, x);
  if (!fits) return std::nullopt;
  return DiscretisedLogistic::apply(mean, log_scale, x, half, which);
}

}  // namespace gen_native::likelihood
