// The passes over feature maps of a convolution and its gradients.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../instructions.h"
#include "kernels.h"

namespace gen_native::conv {

// The loops of one call and its backward pass: their instructions, whether operands are pairs of bfloat16, and the
// kernels, which are null if libtorch computes convolutions.
struct Loops {
  Instructions which;
  bool pairs;
  const Kernels* kernels;
};

Loops loops(Instructions which, bool rounded);

// The geometry of a convolution: position (i, j) of the kernel joins pixel (y, x) of the small map with pixel
// (y * stride - padding + i, x * stride - padding + j) of the large map. A convolution goes from the large to the small
// map, a transposed one from the small to the large, and gradients go back.
struct Geometry {
  int64_t batch;
  int64_t small_channels, small_height, small_width;
  int64_t large_channels, large_height, large_width;
  int64_t kernel_height, kernel_width;
  int64_t stride, padding;

  int64_t small_pixels() const { return small_height * small_width; }
  int64_t large_pixels() const { return large_height * large_width; }
  int64_t positions() const { return kernel_height * kernel_width; }
};

Geometry geometry(const at::Tensor& x, const at::Tensor& weight, int64_t stride, int64_t padding, bool transposed);

// The padding with which a square kernel with an odd side keeps the size of a map.
inline int64_t padding_of(const at::Tensor& weight) { return weight.size(2) / 2; }

// The taps of every pixel of one map, into the other map.
struct Taps {
  std::vector<Tap> taps;
  std::vector<int32_t> first{0};

  void next_pixel() { first.push_back(static_cast<int32_t>(taps.size())); }
};

// The taps of the small map. Only `held` rows of the large map are in memory: row r is at r % `held`.
Taps taps_of_small(const Geometry& g, int64_t held);

// Weights in the layout of `Gather`.
at::Tensor packed(const at::Tensor& weight, bool to_small, bool pairs);

// A map in the layout of `Gather`: its data, the stride of its pixels, and the units that a pixel has of each image.
struct Units {
  const void* data;
  int64_t pixel, depth;
  at::Tensor kept;
};

Units units_to_gather(const at::Tensor& map, const Loops& loops);

// The last operations on a value before it is stored.
struct Ending {
  bool relu = false;
  // The result is 0 where this map is not above 0. It has the layout of the result, or is undefined.
  at::Tensor mask = {};
};

// Computes one map from the other; `bias` may be undefined.
at::Tensor gathered(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                    bool to_small, const Loops& loops, const Ending& ending = {});

// The gradient of the weights, with their strides if they are dense, otherwise contiguous.
at::Tensor correlated(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                      const Loops& loops);

// The sum of a map over its pixels and its batch.
at::Tensor summed(const at::Tensor& map, const Loops& loops);

}  // namespace gen_native::conv
