// What a normalisation of a batch-innermost feature map consists of.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "../instructions.h"
#include "../layout.h"
#include "kernels.h"

namespace gen_native::norm {

// How a feature map is divided.
struct Shape {
  int64_t batch, channels, pixels, row;

  explicit Shape(const at::Tensor& x)
      : batch(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), row(channels * batch) {}
};

// What is known of each channel of each image, [channels][batch] each: z = (x - mean) * slope + offset. `rest` is what
// rounding took from the mean; the offset has it already.
struct Known {
  explicit Known(const Shape& shape) : Known(at::empty({5, shape.row}, at::kFloat), shape.row) {}

  Known(const at::Tensor& all, int64_t row) : all(all) {
    // Who asks for one that was saved changes nothing.
    float* const data = all.data_ptr<float>();
    mean = data;
    rest = data + row;
    rstd = data + 2 * row;
    slope = data + 3 * row;
    offset = data + 4 * row;
  }

  at::Tensor all;
  float *mean, *rest, *rstd, *slope, *offset;
};

// The loops of these instructions, which have some.
const Kernels& kernels(Instructions which);

// The moments of each group of each image, and what holds them.
std::pair<Moments, at::Tensor> moments_of(const Kernels& kernel, const at::Tensor& x, int64_t groups);

// y = activation(z).
at::Tensor applied(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation);

// The sums over the pixels of dz and of dz * xhat, [channels][batch] each, from which all gradients but that of x come.
struct Sums {
  Sums(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation, const at::Tensor& dy);

  at::Tensor all;
  float *plain, *product;
};

// dx = dz * slope - constant - (x - mean) * linear, with [2][channels][batch] of the last two.
at::Tensor input_gradient(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation,
                          const at::Tensor& dy, const at::Tensor& terms);

}  // namespace gen_native::norm
