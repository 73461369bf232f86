// Normalisations of feature maps with their activations, forward and backward.

#pragma once

#include <ATen/core/Tensor.h>

#include "activation.h"

namespace gen_native::norm {

// The statistics of a batch normalisation.
enum class Statistics : int { kBatch = 0, kBatchMovingRunning = 1, kRunning = 2 };

// activation(normalised x * weight + bias) over all dimensions but the second; `running_mean` and `running_var` may be
// undefined if they are not used. The loops take single precision on a CPU in four dimensions if the batch fills a
// vector, and return a batch-innermost map. libtorch computes all other cases.
at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                      Activation activation);

// activation((normalised x * weight + bias) * (1 + scale) + shift), where `modulation` [batch, 2 * channels] has the
// scales and, after them, the shifts of each image; it may be undefined. The loops take the same cases as above.
at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& modulation, Activation activation);

}  // namespace gen_native::norm
