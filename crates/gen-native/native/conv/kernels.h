// The inner loops of convolutions, compiled once for each instruction set.
//
// The memory of a feature map is [pixel][channel][batch]. The batch is innermost, so a vector holds one value of many
// images. Every loop is then the same for every image, whatever the size of the map, the stride and the padding, and
// padding is never multiplied.
//
// A unit is the operand of one lane of a vector: a float, or a pair of bfloat16 whose products are added in single
// precision. Both have four bytes, so one loop handles either.

#pragma once

#include <cstdint>

namespace gen_native::conv {

// Output channels in a block of weights.
constexpr int64_t kBlock = 8;

// One product of weights and a pixel: the index of the pixel, and the position of the weights in the kernel.
struct Tap {
  int32_t pixel;
  int32_t position;
};

// out[p][m][n] = bias[m] + sum over taps (q, t) of p, over k: weight[t][m][k] in[q][k][n]. With `relu` it is max(0,
// out), and the result is 0 where `mask` is not above 0. Both maps may have more images than `batch`.
struct Gather {
  const void* in;        // [pixels of the input][depth][`in_row`] units, with a stride of `pixel` units
  const void* weight;    // [positions][blocks of m][depth][m in the block] units
  const float* bias;     // [outputs], or null
  float* out;            // [pixels of the output][outputs][`out_row`]
  const Tap* taps;       // taps first[p] to first[p + 1] belong to pixel p
  const int32_t* first;  // [pixels of the output + 1]
  int64_t pixel;
  int64_t in_row, out_row;
  int64_t depth;
  int64_t outputs;
  int64_t batch;
  bool relu;
  const float* mask;  // as `out`, or null
};

// One of the two maps of a convolution, [pixels][channels][batch], with a stride of `pixel` units.
struct Map {
  const void* data;
  int64_t pixel;
  int64_t channels, height, width;
};

// out[t][a][b] = sum over the pixels p of the small map, over n: small[p][a][n] large[q(p, t)][b][n]. The row and the
// column of q are those of p times the stride, less the padding, plus those of the position t in the kernel.
struct Correlate {
  Map small, large;
  float* out;  // [kernel_height * kernel_width][small.channels][large.channels]
  int64_t kernel_height, kernel_width;
  int64_t stride, padding;
  int64_t units;  // the batch, or half of it for pairs
};

// The same sums if one map, the wide one, has enough channels to fill a vector. The narrow map is in units and the wide
// map in floats. The rows of the wide map are divided into `parts`, with a sum each.
struct Outer {
  Map narrow, wide;
  bool wide_is_large;
  float* out;    // [parts][kernel_height * kernel_width][narrow.channels][`step`]
  int64_t step;  // whole blocks of channels of the wide map
  int64_t parts;
  int64_t kernel_height, kernel_width;
  int64_t stride, padding;
  int64_t batch;
  int64_t units;
};

struct Kernels {
  // The fewest images that a call may have.
  int64_t lanes;
  // Items `begin` to `end`. There is an item for each pixel of the output and block of output channels; blocks vary
  // fastest.
  void (*gather)(const Gather&, int64_t begin, int64_t end);
  // There is an item for each block of four channels of the small map and of six of the large one; the latter vary
  // fastest.
  void (*correlate)(const Correlate&, int64_t begin, int64_t end);
  // `outer_block` is the number of channels of the wide map in a block. `outer` has an item for each part and block;
  // blocks vary fastest.
  int64_t (*outer_block)(const Outer&);
  void (*outer)(const Outer&, int64_t begin, int64_t end);
  // The sums of each channel of floats [pixels][channels][batch], with a stride of `pixel`.
  void (*sums)(const float* in, int64_t pixel, int64_t pixels, int64_t channels, int64_t batch, float* out);
  // Converts rows [k][n] of floats to rows [k / 2][n] of pairs; an odd last row is padded with zeros.
  void (*pair_rows)(const float* in, uint32_t* out, int64_t rows, int64_t batch);
  // Converts rows of n floats to rows of n / 2 pairs; an odd last value is padded with zero.
  void (*pair_columns)(const float* in, uint32_t* out, int64_t rows, int64_t batch);
};

constexpr int64_t kSmallBlock = 4;
constexpr int64_t kLargeBlock = 6;

inline int64_t blocks(int64_t channels, int64_t of) { return (channels + of - 1) / of; }

const Kernels* avx2();
const Kernels* avx512();
const Kernels* avx512_bf16();

}  // namespace gen_native::conv
