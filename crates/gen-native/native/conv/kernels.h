// The inner loops of convolutions, compiled once for each set of instructions.
//
// A feature map lies as [pixel][channel][batch]: the batch is innermost, so that a vector holds one value of many
// images. Every loop is then the same for every image, whatever the size of the map, the stride and the padding, and
// no multiplication by padding is ever done.
//
// A unit is what one lane of a vector multiplies at once: a float, or a pair of bfloat16 whose products are added in
// single precision. Both have four bytes, so one loop walks over either.

#pragma once

#include <cstdint>

namespace gen_native::conv {

// How many output channels a block of weights has.
constexpr int64_t kBlock = 8;

// One product of a weight and a pixel: which pixel, and the weights of which position of the kernel.
struct Tap {
  int32_t pixel;
  int32_t position;
};

// out[p][m][n] = bias[m] + sum over taps (q, t) of p, over k: weight[t][m][k] in[q][k][n].
struct Gather {
  const void* in;        // [pixels of the input][depth][batch] units, `pixel` units from one pixel to the next
  const void* weight;    // [positions][blocks of m][depth][m in the block] units
  const float* bias;     // [outputs], or null
  float* out;            // [pixels of the output][outputs][batch]
  const Tap* taps;       // those of pixel p from first[p] up to first[p + 1]
  const int32_t* first;  // [pixels of the output + 1]
  int64_t pixel;
  int64_t depth;
  int64_t outputs;
  int64_t batch;
};

// out[t][a][b] = sum over the pixels p of `small`, over n: small[p][a][n] large[q(p, t)][b][n], where the row and the
// column of q are those of p times the stride, less the padding, plus those of the position t in the kernel.
struct Correlate {
  const void* small;  // [pixels][small_channels][units], or [blocks][pixels][small_channels in the block][units]
  const void* large;  // likewise
  float* out;         // [kernel_height * kernel_width][small_channels][large_channels]
  bool blocked;         // which of the two; blocks are of kSmallBlock and kLargeBlock channels
  int64_t small_pixel;  // units from one pixel to the next, of maps that are not in blocks
  int64_t small_channels, small_height, small_width;
  int64_t large_pixel;
  int64_t large_channels, large_height, large_width;
  int64_t kernel_height, kernel_width;
  int64_t stride, padding;
  int64_t units;  // the batch, or half of it for pairs
};

struct Kernels {
  // The fewest images that a call may have.
  int64_t lanes;
  // The items from `begin` to `end`; there is one for each pixel of the output and block of output channels, the
  // latter running faster.
  void (*gather)(const Gather&, int64_t begin, int64_t end);
  // There is an item for each block of four channels of the small map and of six of the large one, the latter
  // running faster.
  void (*correlate)(const Correlate&, int64_t begin, int64_t end);
  // The sums of floats [pixels][channels][batch], `pixel` from one pixel to the next, of each channel.
  void (*sums)(const float* in, int64_t pixel, int64_t pixels, int64_t channels, int64_t batch, float* out);
  // Rows [k][n] of floats to rows [k / 2][n] of pairs, the last one filled up with zeros.
  void (*pair_rows)(const float* in, uint32_t* out, int64_t rows, int64_t batch);
  // A row of n floats to n / 2 pairs, the last one filled up with zero.
  void (*pair_columns)(const float* in, uint32_t* out, int64_t rows, int64_t batch);
};

constexpr int64_t kSmallBlock = 4;
constexpr int64_t kLargeBlock = 6;

inline int64_t blocks(int64_t channels, int64_t of) { return (channels + of - 1) / of; }

const Kernels* avx2();
const Kernels* avx512();
const Kernels* avx512_bf16();

}  // namespace gen_native::conv
