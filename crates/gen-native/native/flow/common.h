// What the functions of flows share.

#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <initializer_list>

#include "../forward.h"
#include "../gradients.h"
#include "../instructions.h"
#include "../operands.h"
#include "flow.h"
#include "kernels.h"

namespace gen_native::flow {

// The loops of these instructions.
template <typename T>
const Kernels<T>& kernels(Instructions which);

// Whether the loops can be used: there are some, and all tensors are in the memory of a processor, of the same single
// or double precision.
bool done_here(Instructions which, std::initializer_list<at::Tensor> tensors);

// `x: [rows, channels, ...]` itself, or a copy, such that the dimensions from the third on are one after another.
at::Tensor with_pixels(const at::Tensor& x);

// The same of a gradient, which may be anything that autograd hands on.
at::Tensor gradient_with_pixels(const at::Tensor& x);

// Where the values of what `with_pixels` gave lie.
template <typename T>
Map<T> map_of(const at::Tensor& x);

// Refuses shapes that do not fit: `parameters` has `count` blocks for the channels of `rest`, and what stays the `same`
// differs from it in the number of channels only.
void check_coupled(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
                   int64_t count);

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
