// Convolutions of batch-innermost feature maps, forward and backward.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../instructions.h"

namespace gen_native::conv {

// Whether the loops take convolutions of `x: [batch, ...]`, so that a map should be batch-innermost from the start.
bool prefers_batch_innermost(const at::Tensor& x, Instructions which = instructions());

// Whether the loops take this convolution.
bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding,
               Instructions which);

// A convolution, or a transposed one, as libtorch's conv2d and conv_transpose2d without groups, dilation and output
// padding; `bias` may be undefined. The loops take single precision on a CPU if the batch fills a vector, and return a
// batch-innermost map. libtorch computes all other cases. With `rounded`, the loops round weights, feature maps and
// gradients to bfloat16 before they multiply, if has_bfloat16().
at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                  int64_t padding, bool transposed, bool rounded);

// Convolutions with max(0, x) between them, whose kernels have odd sides and keep the size of the map. `layers`
// alternates weights and biases.
at::Tensor conv_stack(const at::Tensor& x, const std::vector<at::Tensor>& layers, bool rounded);

}  // namespace gen_native::conv
