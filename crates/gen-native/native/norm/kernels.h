// The inner loops of normalisations, compiled once for each instruction set.
//
// The memory of a feature map is [pixel][channel][batch]. Statistics of a channel of an image, such as a mean, are
// [channel][batch], like one pixel. So all loops but that of the statistics treat a pixel as one row of numbers,
// whatever the channels, the groups and the batch are.

#pragma once

#include <cstdint>

#include "activation.h"

namespace gen_native::norm {

// A pass over a feature map. With z = (x - mean) * slope + offset, a normalisation is y = activation(z).
struct Pass {
  int64_t pixels;
  int64_t row;  // channels * batch
  Activation activation;
  const float* x;
  int64_t x_pixel;    // stride of the pixels
  const float* mean;  // [row], as the next two
  const float* slope;
  const float* offset;
  const float* dy;  // the gradient of y; for `sums` and `gradient`
  int64_t dy_pixel;
  const float* constant;  // [row], as the next; for `gradient`
  const float* linear;
  float* out;  // [pixels][row]
};

// Moments of each group of channels of each image: [groups][batch].
struct Moments {
  float* mean;
  float* rest;     // the rounding error of the mean, which matters if the mean is large
  float* squares;  // the sum of squared deviations from the mean
};

struct Kernels {
  // Lanes of a vector, which a batch must fill.
  int64_t lanes;
  // The moments of groups `begin` to `end`, of `channels` channels each. `state` has two zeros for each group and lane
  // of the vectors of a batch.
  void (*statistics)(const float* x, int64_t pixel, int64_t pixels, int64_t channels, int64_t batch, int64_t begin,
                     int64_t end, float* state, const Moments&);
  // out = y, for items `begin` to `end` of `items`.
  void (*apply)(const Pass&, int64_t begin, int64_t end);
  // sum = the sum of dz over the pixels, product = the sum of dz * (x - mean), for runs `begin` to `end`: [row].
  void (*sums)(const Pass&, int64_t begin, int64_t end, float* sum, float* product);
  // out = dz * slope - constant - (x - mean) * linear, for items `begin` to `end`.
  void (*gradient)(const Pass&, int64_t begin, int64_t end);
};

// Numbers of a row in a run, few enough for their statistics to stay in the L1 cache. The last run has up to twice as
// many.
constexpr int64_t kRun = 1024;
// Pixels of an item.
constexpr int64_t kPixels = 8;

inline int64_t runs(int64_t row) { return row < kRun ? 1 : row / kRun; }

// The number of items. An item is a run of `kPixels` pixels; runs vary fastest.
inline int64_t items(int64_t pixels, int64_t row) { return (pixels + kPixels - 1) / kPixels * runs(row); }

const Kernels* avx2();
const Kernels* avx512();

}  // namespace gen_native::norm
