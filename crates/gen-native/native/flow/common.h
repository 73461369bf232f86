// What the functions of flows share.

#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <initializer_list>

#include "../gradients.h"
#include "../instructions.h"
#include "flow.h"
#include "kernels.h"

namespace gen_native::flow {

// The loops for this processor, or those of instructions that it has.
template <typename T>
const Kernels<T>& kernels(Instructions which = instructions());

// Whether the loops can be used: all on a processor, and of the same single or double precision.
bool done_here(std::initializer_list<at::Tensor> tensors);

// `x: [rows, channels, ...]` itself, or a copy, such that the dimensions from the third on are one after another.
at::Tensor with_pixels(const at::Tensor& x);

// Where the values of what `with_pixels` gave lie.
template <typename T>
Map<T> map_of(const at::Tensor& x);

// A spline as the loops take it.
Knots<double> knots_of(const SplineShape& shape);

// How many values each channel of a row has.
int64_t pixels_of(const at::Tensor& x);

// Whether the rows of a batch are innermost, whatever is further out.
bool rows_innermost(const at::Tensor& x);

// A new tensor with the rows innermost and the channels next to them (for feature maps: batch-innermost), or a
// contiguous one.
at::Tensor empty_map(at::IntArrayRef sizes, bool rows_innermost, const at::TensorOptions& options);

}  // namespace gen_native::flow
