// Normalisations by libtorch's operations, on any device and with gradients of any order.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "norm.h"

namespace gen_native::norm {

// An optional tensor as libtorch takes it.
inline std::optional<at::Tensor> optional(const at::Tensor& x) {
  return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
}

constexpr double kEpsilon = 1e-5, kMomentum = 0.1;

at::Tensor composed_batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                               Activation activation);

// The same, written out: libtorch's own has wrong gradients of tangents, since it takes the statistics for constants.
at::Tensor written_out_batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                  const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                                  Activation activation);

at::Tensor composed_group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& modulation, Activation activation);

}  // namespace gen_native::norm
