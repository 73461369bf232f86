// The memory layout of feature maps.
//
// A tensor of shape [batch, channels, height, width] is *batch-innermost* if its memory is [height][width][channels]
// [batch]: its strides are 1 for the batch, `batch` for the channels, and so on outwards. The layout does not change
// the shape, as with libtorch's channels-last, and elementwise operations keep it.

#pragma once

#include <ATen/core/Tensor.h>

namespace gen_native {

// The stride from one pixel to the next if `x` is batch-innermost or a range of channels of such a tensor; otherwise 0.
// A pixel of `x` itself has channels * batch values.
int64_t pixel_stride(const at::Tensor& x);

// Whether `x` is batch-innermost and not a range of channels of a larger tensor.
bool is_batch_innermost(const at::Tensor& x);

// A new batch-innermost tensor.
at::Tensor empty_batch_innermost(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                 const at::TensorOptions& options);

// `x` itself if it is batch-innermost, otherwise a copy that is. Differentiable.
at::Tensor batch_innermost(const at::Tensor& x);

// As batch_innermost, but without a copy if `x` is a range of channels of a batch-innermost tensor, which loops over
// pixels read in place.
at::Tensor readable(const at::Tensor& x);

// As readable, for any gradient that autograd may pass.
at::Tensor readable_gradient(const at::Tensor& x);

}  // namespace gen_native
