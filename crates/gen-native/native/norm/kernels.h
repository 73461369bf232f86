// The inner loops of normalisations, compiled once for each set of instructions.
//
// A feature map lies as [pixel][channel][batch]. What a normalisation knows of one channel of one image, such as a
// mean, lies as [channel][batch]: like a pixel. So all loops but that of the statistics walk over a pixel as over one
// row of numbers, whatever the channels, the groups and the batch are.

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
  int64_t x_pixel;    // from one pixel to the next
  const float* mean;  // [row], as the next two
  const float* slope;
  const float* offset;
  const float* dy;  // the gradient of y; for `sums` and `gradient`
  int64_t dy_pixel;
  const float* constant;  // [row], as the next; for `gradient`
  const float* linear;
  float* out;  // [pixels][row]
};

// Of each group of channels of each image: [groups][batch].
struct Moments {
  float* mean;
  float* rest;     // what rounding took from the mean, which counts where the mean is large
  float* squares;  // the sum of squared deviations from the mean
};

struct Kernels {
  // Those of a vector, which a batch must fill.
  int64_t lanes;
  // The moments of the groups from `begin` to `end`. A group has `channels` channels. `state` has room for two numbers
  // of each group and lane of the vectors that a batch takes, which are zero.
  void (*statistics)(const float* x, int64_t pixel, int64_t pixels, int64_t channels, int64_t batch, int64_t begin,
                     int64_t end, float* state, const Moments&);
  // out = y, of the items from `begin` to `end`; there are as many as `items` says.
  void (*apply)(const Pass&, int64_t begin, int64_t end);
  // sum = the sum over the pixels of dz, product = that of dz * (x - mean), of the runs from `begin` to `end`: [row].
  void (*sums)(const Pass&, int64_t begin, int64_t end, float* sum, float* product);
  // out = dz * slope - constant - (x - mean) * linear, of the items from `begin` to `end`.
  void (*gradient)(const Pass&, int64_t begin, int64_t end);
};

// How many numbers of a row are done at a time, so that what is known of them stays in the fastest cache. The last run
// has up to twice as many.
constexpr int64_t kRun = 1024;
// How many pixels are done before the next run.
constexpr int64_t kPixels = 8;

inline int64_t runs(int64_t row) { return row < kRun ? 1 : row / kRun; }

// An item is a run of `kPixels` pixels; the runs of the same pixels follow each other.
inline int64_t items(int64_t pixels, int64_t row) { return (pixels + kPixels - 1) / kPixels * runs(row); }

const Kernels* avx2();
const Kernels* avx512();

}  // namespace gen_native::norm
