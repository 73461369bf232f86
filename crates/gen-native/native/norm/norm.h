// Normalisations of feature maps with what follows them, forward and backward.

#pragma once

#include <ATen/core/Tensor.h>

#include "activation.h"

namespace gen_native::norm {

// Whose statistics a batch normalisation uses.
enum class Statistics : int { kBatch = 0, kBatchMovingRunning = 1, kRunning = 2 };

// activation(normalised x * weight + bias) over all dimensions but the second; `running_mean` and `running_var` may be
// undefined if they are not used. Single precision on a processor, in four dimensions, is done here if the batch fills
// a vector, and is batch-innermost then; anything else is left to libtorch.
at::Tensor batch_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& running_mean, const at::Tensor& running_var, Statistics statistics,
                      Activation activation);

// activation((normalised x * weight + bias) * (1 + scale) + shift), where `modulation` [batch, 2 * channels] has the
// scales and, after them, the shifts of each image; it may be undefined. By whom it is done is as above.
at::Tensor group_norm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& modulation, Activation activation);

}  // namespace gen_native::norm
