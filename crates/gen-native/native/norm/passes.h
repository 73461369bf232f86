// The passes of a normalisation over a batch-innermost feature map.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <utility>

#include "../instructions.h"
#include "../layout.h"
#include "kernels.h"

namespace gen_native::norm {

// The sizes of a feature map.
struct Shape {
  int64_t batch, channels, pixels, row;

  explicit Shape(const at::Tensor& x)
      : batch(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), row(channels * batch) {}
};

// The statistics of each channel of each image, [channels][batch] each: z = (x - mean) * slope + offset. `rest` is the
// rounding error of the mean; the offset includes it.
struct Known {
  explicit Known(const Shape& shape) : Known(at::empty({5, shape.row}, at::kFloat), shape.row) {}

  Known(const at::Tensor& all, int64_t row) : all(all) {
    // Saved statistics are only read.
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

// The loops of these instructions: AVX2 or AVX-512, otherwise an error.
const Kernels& kernels(Instructions which);

// The moments of each group of each image, and the tensor that owns them.
std::pair<Moments, at::Tensor> moments_of(const Kernels& kernel, const at::Tensor& x, int64_t groups);

// y = activation(z).
at::Tensor applied(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation);

// The sums of dz and of dz * xhat over the pixels, [channels][batch] each. All gradients but that of x follow from
// them.
struct Sums {
  Sums(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation, const at::Tensor& dy);

  at::Tensor all;
  float *plain, *product;
};

// dx = dz * slope - constant - (x - mean) * linear; `terms` [2][channels][batch] has `constant` and `linear`.
at::Tensor input_gradient(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation,
                          const at::Tensor& dy, const at::Tensor& terms);

}  // namespace gen_native::norm
