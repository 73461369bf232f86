// Convolutions of batch-innermost feature maps, forward and backward.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../instructions.h"

namespace gen_native::conv {

// Whether convolutions of `x: [batch, ...]` are done here, so that a map is best made batch-innermost from the start.
bool prefers_batch_innermost(const at::Tensor& x, Instructions which = instructions());

// Whether the convolution of `x` is.
bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding,
               Instructions which);

// A convolution, or a transposed one, as libtorch's conv2d and conv_transpose2d without groups, dilation and output
// padding; `bias` may be undefined. Single precision on a processor is done here if the batch fills a vector, and is
// batch-innermost then; anything else is left to libtorch. With `rounded`, weights, feature maps and gradients are
// rounded to bfloat16 before they are multiplied, where it is done here and has_bfloat16().
at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                  int64_t padding, bool transposed, bool rounded);

// Convolutions with max(0, x) between them, whose kernels have odd sides and keep the size of the map; `layers` are
// their weights and biases in turn.
at::Tensor conv_stack(const at::Tensor& x, const std::vector<at::Tensor>& layers, bool rounded);

}  // namespace gen_native::conv
