#include "passes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "../layout.h"

namespace gen_native::conv {

Loops loops(Instructions which, bool rounded) {
#if defined(__x86_64__)
  const bool pairs = rounded && has_bfloat16(which);
  switch (which) {
    case Instructions::kAvx512: return {which, pairs, pairs ? avx512_bf16() : avx512()};
    case Instructions::kAvx2: return {which, false, avx2()};
    default: break;
  }
#else
  static_cast<void>(rounded);
#endif
  return {which, false, nullptr};
}

Geometry geometry(const at::Tensor& x, const at::Tensor& weight, int64_t stride, int64_t padding, bool transposed) {
  const int64_t height = x.size(2), width = x.size(3), kernel_height = weight.size(2), kernel_width = weight.size(3);
  const auto smaller = [&](int64_t side, int64_t kernel) { return (side + 2 * padding - kernel) / stride + 1; };
  const auto larger = [&](int64_t side, int64_t kernel) { return (side - 1) * stride - 2 * padding + kernel; };
  Geometry g{x.size(0), weight.size(0), height,       width,  weight.size(1), height,
             width,     kernel_height,  kernel_width, stride, padding};
  if (transposed) {
    g.large_height = larger(height, kernel_height);
    g.large_width = larger(width, kernel_width);
  } else {
    g.small_height = smaller(height, kernel_height);
    g.small_width = smaller(width, kernel_width);
  }
  return g;
}

namespace {

// The fewest rows of `values` values that are worth a thread.
int64_t rows_for_thread(int64_t values) { return std::max<int64_t>(1, 8192 / std::max<int64_t>(1, values)); }

Taps taps_of_small(const Geometry& g) { return taps_of_small(g, g.large_height); }

}  // namespace

Taps taps_of_small(const Geometry& g, int64_t held) {
  Taps list;
  for (int64_t y = 0; y < g.small_height; ++y) {
    for (int64_t x = 0; x < g.small_width; ++x) {
      for (int64_t i = 0; i < g.kernel_height; ++i) {
        const int64_t row = y * g.stride - g.padding + i;
        if (row < 0 || row >= g.large_height) continue;
        for (int64_t j = 0; j < g.kernel_width; ++j) {
          const int64_t column = x * g.stride - g.padding + j;
          if (column < 0 || column >= g.large_width) continue;
          list.taps.push_back({static_cast<int32_t>(row % held * g.large_width + column),
                               static_cast<int32_t>(i * g.kernel_width + j)});
        }
      }
      list.next_pixel();
    }
  }
  return list;
}

namespace {

Taps taps_of_large(const Geometry& g) {
  Taps list;
  for (int64_t row = 0; row < g.large_height; ++row) {
    for (int64_t column = 0; column < g.large_width; ++column) {
      for (int64_t i = 0; i < g.kernel_height; ++i) {
        const int64_t y = row + g.padding - i;
        if (y < 0 || y % g.stride != 0 || y / g.stride >= g.small_height) continue;
        for (int64_t j = 0; j < g.kernel_width; ++j) {
          const int64_t x = column + g.padding - j;
          if (x < 0 || x % g.stride != 0 || x / g.stride >= g.small_width) continue;
          list.taps.push_back({static_cast<int32_t>(y / g.stride * g.small_width + x / g.stride),
                               static_cast<int32_t>(i * g.kernel_width + j)});
        }
      }
      list.next_pixel();
    }
  }
  return list;
}

constexpr int64_t kUnitBytes = sizeof(uint32_t);

// The stride from one position of a kernel to the next.
int64_t position_step(const at::Tensor& weight) { return weight.stride(weight.size(3) > 1 ? 3 : 2); }

// Weights [outputs, inputs, positions] with these strides, in the layout of `Gather`.
at::Tensor packed_by_steps(const float* weight, int64_t output_step, int64_t input_step, int64_t position_step,
                           int64_t outputs, int64_t inputs, int64_t positions, bool pairs) {
  const int64_t depth = pairs ? (inputs + 1) / 2 : inputs;
  at::Tensor out = at::empty({positions * outputs * depth}, at::kFloat);
  // memcpy, since one reader takes a unit for a float and another for a pair.
  auto* const to = static_cast<char*>(out.mutable_data_ptr());
  const auto bits = [](float value) { return static_cast<uint32_t>(c10::BFloat16(value).x); };
  const auto pack = [&](int64_t start) {
    const int64_t width = std::min(kBlock, outputs - start);
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t m = 0; m < width; ++m) {
        const float* const from = weight + (start + m) * output_step + (pairs ? 2 * k : k) * input_step;
        const int64_t place = start * depth + k * width + m;
        for (int64_t t = 0; t < positions; ++t) {
          const float* const value = from + t * position_step;
          uint32_t unit;
          if (pairs) {
            unit = bits(*value) | (2 * k + 1 < inputs ? bits(value[input_step]) << 16 : 0);
          } else {
            std::memcpy(&unit, value, sizeof unit);
          }
          std::memcpy(to + (place + t * outputs * depth) * kUnitBytes, &unit, kUnitBytes);
        }
      }
    }
  };
  at::parallel_for(0, blocks(outputs, kBlock), rows_for_thread(kBlock * inputs * positions),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t block = begin; block < end; ++block) pack(block * kBlock);
                   });
  return out;
}

}  // namespace

at::Tensor packed(const at::Tensor& weight, bool to_small, bool pairs) {
  // Weights are [small, large, height, width], and rows of a kernel follow each other in memory.
  const int64_t to = to_small ? 0 : 1, from = 1 - to;
  return packed_by_steps(weight.const_data_ptr<float>(), weight.stride(to), weight.stride(from), position_step(weight),
                         weight.size(to), weight.size(from), weight.size(2) * weight.size(3), pairs);
}

Units units_to_gather(const at::Tensor& map, const Loops& loops) {
  const int64_t batch = map.size(0), channels = map.size(1), pixels = map.size(2) * map.size(3);
  const int64_t step = pixel_stride(map);
  const float* const from = map.const_data_ptr<float>();
  if (!loops.pairs) return {from, step, channels, {}};
  const Kernels& kernel = *loops.kernels;
  const int64_t depth = (channels + 1) / 2, pixel = depth * batch;
  const at::Tensor kept = at::empty({pixels * pixel}, at::kFloat);
  auto* const to = static_cast<uint32_t*>(kept.mutable_data_ptr());
  at::parallel_for(0, pixels, 16, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) kernel.pair_rows(from + p * step, to + p * pixel, channels, batch);
  });
  return {to, pixel, depth, kept};
}

at::Tensor gathered(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                    bool to_small, const Loops& loops, const Ending& ending) {
  const Kernels& kernel = *loops.kernels;
  const int64_t outputs = to_small ? g.small_channels : g.large_channels;
  const int64_t out_pixels = to_small ? g.small_pixels() : g.large_pixels();
  const at::Tensor out = to_small
                             ? empty_batch_innermost(g.batch, outputs, g.small_height, g.small_width, from.options())
                             : empty_batch_innermost(g.batch, outputs, g.large_height, g.large_width, from.options());
  const Taps taps = to_small ? taps_of_small(g) : taps_of_large(g);
  const at::Tensor w = packed(weight, to_small, loops.pairs);
  const Units units = units_to_gather(from, loops);
  const Gather call{units.data,
                    w.const_data_ptr(),
                    bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                    out.mutable_data_ptr<float>(),
                    taps.taps.data(),
                    taps.first.data(),
                    units.pixel,
                    g.batch,
                    g.batch,
                    units.depth,
                    outputs,
                    g.batch,
                    ending.relu,
                    ending.mask.defined() ? ending.mask.const_data_ptr<float>() : nullptr};
  at::parallel_for(0, out_pixels * blocks(outputs, kBlock), 1,
                   [&](int64_t begin, int64_t end) { kernel.gather(call, begin, end); });
  return out;
}

namespace {

// A map itself, or a copy in units [pixels][channels][pairs], which `kept` owns.
Map units_of(const at::Tensor& map, const Loops& loops, at::Tensor& kept) {
  const int64_t batch = map.size(0), channels = map.size(1), height = map.size(2), width = map.size(3);
  const int64_t step = pixel_stride(map);
  const float* const from = map.const_data_ptr<float>();
  if (!loops.pairs) return {from, step, channels, height, width};
  const Kernels& kernel = *loops.kernels;
  const int64_t pixel = channels * ((batch + 1) / 2);
  kept = at::empty({height * width * pixel}, at::kFloat);
  auto* const to = static_cast<uint32_t*>(kept.mutable_data_ptr());
  at::parallel_for(0, height * width, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, channels * batch)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t p = begin; p < end; ++p)
                       kernel.pair_columns(from + p * step, to + p * pixel, channels, batch);
                   });
  return {to, pixel, channels, height, width};
}

// Adds sums [parts][positions][channels of one map][channels of the other map, with room for `step`] over the parts,
// and returns them in the layout of the weights.
at::Tensor as_weight(const float* sums, int64_t parts, int64_t step, bool large_inside, const at::Tensor& weight,
                     const Geometry& g) {
  const at::Tensor gradient = weight.is_non_overlapping_and_dense()
                                  ? at::empty_strided(weight.sizes(), weight.strides(), weight.options())
                                  : at::empty(weight.sizes(), weight.options());
  float* const to = gradient.mutable_data_ptr<float>();
  const int64_t outside = large_inside ? g.small_channels : g.large_channels;
  const int64_t inside = large_inside ? g.large_channels : g.small_channels;
  const int64_t outer_step = gradient.stride(large_inside ? 0 : 1);
  const int64_t inner_step = gradient.stride(large_inside ? 1 : 0), next_position = position_step(gradient);
  const int64_t size = g.positions() * outside * step;
  const auto channel = [&](int64_t a, std::vector<float>& total) {
    for (int64_t t = 0; t < g.positions(); ++t) {
      const float* const from = sums + (t * outside + a) * step;
      std::copy(from, from + inside, total.begin());
      for (int64_t part = 1; part < parts; ++part) {
        for (int64_t b = 0; b < inside; ++b) total[b] += from[part * size + b];
      }
      float* const place = to + a * outer_step + t * next_position;
      for (int64_t b = 0; b < inside; ++b) place[b * inner_step] = total[b];
    }
  };
  at::parallel_for(0, outside, rows_for_thread(parts * g.positions() * inside), [&](int64_t begin, int64_t end) {
    std::vector<float> total(inside);
    for (int64_t a = begin; a < end; ++a) channel(a, total);
  });
  return gradient;
}

// The gradient of the weights by outer products, for maps with many channels.
at::Tensor of_outer_products(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight,
                             const Geometry& g, const Loops& loops) {
  const Kernels& kernel = *loops.kernels;
  const Loops floats{loops.which, false, loops.kernels};
  const bool wide_is_large = g.large_channels > g.small_channels;
  at::Tensor kept, unused;
  Outer call{units_of(wide_is_large ? small : large, loops, kept),
             units_of(wide_is_large ? large : small, floats, unused),
             wide_is_large,
             nullptr,
             0,
             0,
             g.kernel_height,
             g.kernel_width,
             g.stride,
             g.padding,
             g.batch,
             loops.pairs ? (g.batch + 1) / 2 : g.batch};
  const int64_t block = kernel.outer_block(call), in_wide = blocks(call.wide.channels, block);
  call.step = in_wide * block;
  const int64_t size = g.positions() * call.narrow.channels * call.step;
  // Enough parts for many threads, unless their sums would take more memory than maps do. The number of parts does not
  // depend on the number of threads, so neither does the order of the sums.
  constexpr int64_t kItems = 16, kMostSums = 1 << 20;
  call.parts = std::max<int64_t>(1, std::min({call.wide.height, kItems / in_wide, kMostSums / size}));
  const at::Tensor sums = at::empty({call.parts * size}, at::kFloat);
  call.out = sums.mutable_data_ptr<float>();
  at::parallel_for(0, call.parts * in_wide, 1, [&](int64_t begin, int64_t end) { kernel.outer(call, begin, end); });
  return as_weight(call.out, call.parts, call.step, wide_is_large, weight, g);
}

// The fewest channels of the narrow map for which transposing the wide one pays.
constexpr int64_t kNarrow = 8;

}  // namespace

at::Tensor correlated(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                      const Loops& loops) {
  const Kernels& kernel = *loops.kernels;
  const auto [narrow, wide] = std::minmax(g.small_channels, g.large_channels);
  if (narrow >= kNarrow && wide >= kernel.lanes) return of_outer_products(small, large, weight, g, loops);
  const at::Tensor sums = at::empty({g.positions() * g.small_channels * g.large_channels}, at::kFloat);
  at::Tensor a, b;
  const Correlate call{units_of(small, loops, a),
                       units_of(large, loops, b),
                       sums.mutable_data_ptr<float>(),
                       g.kernel_height,
                       g.kernel_width,
                       g.stride,
                       g.padding,
                       loops.pairs ? (g.batch + 1) / 2 : g.batch};
  at::parallel_for(0, blocks(g.small_channels, kSmallBlock) * blocks(g.large_channels, kLargeBlock), 1,
                   [&](int64_t begin, int64_t end) { kernel.correlate(call, begin, end); });
  return as_weight(sums.const_data_ptr<float>(), 1, g.large_channels, true, weight, g);
}

at::Tensor summed(const at::Tensor& map, const Loops& loops) {
  const int64_t channels = map.size(1), pixels = map.size(2) * map.size(3), step = pixel_stride(map);
  at::Tensor sums = at::empty({channels}, map.options());
  const float* const from = map.const_data_ptr<float>();
  float* const to = sums.mutable_data_ptr<float>();
  const Kernels& kernel = *loops.kernels;
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, pixels * map.size(0)));
  at::parallel_for(0, channels, grain, [&](int64_t begin, int64_t end) {
    kernel.sums(from + begin * map.size(0), step, pixels, end - begin, map.size(0), to + begin);
  });
  return sums;
}

}  // namespace gen_native::conv
