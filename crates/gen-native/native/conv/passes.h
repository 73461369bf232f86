// The passes over feature maps that a convolution and its gradients are made of.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "../instructions.h"
#include "kernels.h"

namespace gen_native::conv {

// The loops of one call and its backward pass: the instructions that they are of, whether operands are pairs of
// bfloat16, and null where convolutions are left to libtorch.
struct Loops {
  Instructions which;
  bool pairs;
  const Kernels* kernels;
};

Loops loops(Instructions which, bool rounded);

// A convolution seen from its two feature maps: position (i, j) of the kernel joins pixel (y, x) of the small one with
// pixel (y * stride - padding + i, x * stride - padding + j) of the large one. A convolution goes from the large to
// the small map, a transposed one from the small to the large, and their gradients go back.
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

// The padding of a square kernel with a middle that keeps the size of a map.
inline int64_t padding_of(const at::Tensor& weight) { return weight.size(2) / 2; }

// The taps of every pixel of one map, which come from the other.
struct Taps {
  std::vector<Tap> taps;
  std::vector<int32_t> first{0};

  void next_pixel() { first.push_back(static_cast<int32_t>(taps.size())); }
};

// Those of the small map. Of the large one only so many rows are held: row r where row r % `held` was before.
Taps taps_of_small(const Geometry& g, int64_t held);

// Weights as `Gather` takes them.
at::Tensor packed(const at::Tensor& weight, bool to_small, bool pairs);

// A map as `Gather` takes it: its data, the way from one pixel to the next, and how many units a pixel has of each
// image.
struct Units {
  const void* data;
  int64_t pixel, depth;
  at::Tensor kept;
};

Units units_to_gather(const at::Tensor& map, const Loops& loops);

// What is done to a value before it is stored.
struct Ending {
  bool relu = false;
  // 0 where this map, which lies as the result, is not above 0; or undefined.
  at::Tensor mask = {};
};

// One map from the other; `bias` may be undefined.
at::Tensor gathered(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                    bool to_small, const Loops& loops, const Ending& ending = {});

// The gradient of the weights, which lies as they do if no two of them are one number in memory.
at::Tensor correlated(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                      const Loops& loops);

// The sum of a map over its pixels and its batch.
at::Tensor summed(const at::Tensor& map, const Loops& loops);

}  // namespace gen_native::conv
