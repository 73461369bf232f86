// How feature maps lie in memory.
//
// A tensor of shape [batch, channels, height, width] is *batch-innermost* when it lies as [height][width][channels]
// [batch]: its strides are 1 for the batch, `batch` for the channels, and so on outwards. Its shape says nothing of
// it, as with libtorch's channels-last, and operations on single values keep it.

#pragma once

#include <ATen/core/Tensor.h>

namespace gen_native {

// How far it is from one pixel to the next if `x` is batch-innermost, or is some of the channels of a tensor that is;
// 0 if it is neither. A pixel of `x` alone has channels * batch values.
int64_t pixel_stride(const at::Tensor& x);

// Whether it is batch-innermost and has all its channels to itself.
bool is_batch_innermost(const at::Tensor& x);

// A new tensor that lies so.
at::Tensor empty_batch_innermost(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                 const at::TensorOptions& options);

// `x` itself if it lies so, otherwise a copy that does. Differentiable.
at::Tensor batch_innermost(const at::Tensor& x);

// `x` itself also if it is some of the channels of a batch-innermost tensor, which loops over pixels read as well.
at::Tensor readable(const at::Tensor& x);

// The same of a gradient, which may be anything that autograd hands on.
at::Tensor readable_gradient(const at::Tensor& x);

}  // namespace gen_native
