#include "conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "../instructions.h"
#include "../layout.h"
#include "kernels.h"

namespace gen_native::conv {

namespace {

// Null where convolutions are left to libtorch.
const Kernels* kernels(bool pairs) {
#if defined(__x86_64__)
  switch (instructions()) {
    case Instructions::kAvx512: return pairs ? avx512_bf16() : avx512();
    case Instructions::kAvx2: return avx2();
    default: return nullptr;
  }
#else
  return nullptr;
#endif
}

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

Geometry geometry(const at::Tensor& x, const at::Tensor& weight, int64_t stride, int64_t padding, bool transposed) {
  const int64_t height = x.size(2), width = x.size(3), kernel_height = weight.size(2), kernel_width = weight.size(3);
  const auto smaller = [&](int64_t side, int64_t kernel) { return (side + 2 * padding - kernel) / stride + 1; };
  const auto larger = [&](int64_t side, int64_t kernel) { return (side - 1) * stride - 2 * padding + kernel; };
  Geometry g{x.size(0), weight.size(0), height, width, weight.size(1), height, width,
             kernel_height, kernel_width, stride, padding};
  if (transposed) {
    g.large_height = larger(height, kernel_height);
    g.large_width = larger(width, kernel_width);
  } else {
    g.small_height = smaller(height, kernel_height);
    g.small_width = smaller(width, kernel_width);
  }
  return g;
}

// The taps of every pixel of one map, which come from the other.
struct Taps {
  std::vector<Tap> taps;
  std::vector<int32_t> first{0};

  void next_pixel() { first.push_back(static_cast<int32_t>(taps.size())); }
};

Taps taps_of_small(const Geometry& g) {
  Taps list;
  for (int64_t y = 0; y < g.small_height; ++y) {
    for (int64_t x = 0; x < g.small_width; ++x) {
      for (int64_t i = 0; i < g.kernel_height; ++i) {
        const int64_t row = y * g.stride - g.padding + i;
        if (row < 0 || row >= g.large_height) continue;
        for (int64_t j = 0; j < g.kernel_width; ++j) {
          const int64_t column = x * g.stride - g.padding + j;
          if (column < 0 || column >= g.large_width) continue;
          list.taps.push_back({static_cast<int32_t>(row * g.large_width + column),
                               static_cast<int32_t>(i * g.kernel_width + j)});
        }
      }
      list.next_pixel();
    }
  }
  return list;
}

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

// From one position of a kernel to the next.
int64_t position_step(const at::Tensor& weight) { return weight.stride(weight.size(3) > 1 ? 3 : 2); }

// Weights [outputs, inputs, positions], with these steps from one to the next, as `Gather` takes them.
at::Tensor packed(const float* weight, int64_t output_step, int64_t input_step, int64_t position_step,
                  int64_t outputs, int64_t inputs, int64_t positions, bool pairs) {
  const int64_t depth = pairs ? (inputs + 1) / 2 : inputs;
  at::Tensor out = at::empty({positions * outputs * depth}, at::kFloat);
  auto* const to = static_cast<uint32_t*>(out.mutable_data_ptr());
  const auto bits = [](float value) { return static_cast<uint32_t>(c10::BFloat16(value).x); };
  for (int64_t start = 0; start < outputs; start += kBlock) {
    const int64_t width = std::min(kBlock, outputs - start);
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t m = 0; m < width; ++m) {
        const float* const from = weight + (start + m) * output_step + (pairs ? 2 * k : k) * input_step;
        uint32_t* const place = to + start * depth + k * width + m;
        for (int64_t t = 0; t < positions; ++t) {
          const float* const value = from + t * position_step;
          uint32_t unit;
          if (pairs) {
            unit = bits(*value) | (2 * k + 1 < inputs ? bits(value[input_step]) << 16 : 0);
          } else {
            std::memcpy(&unit, value, sizeof unit);
          }
          place[t * outputs * depth] = unit;
        }
      }
    }
  }
  return out;
}

// One map from the other.
at::Tensor gathered(const at::Tensor& from, const at::Tensor& weight, const at::Tensor& bias, const Geometry& g,
                    bool to_small, bool pairs) {
  const Kernels& kernel = *kernels(pairs);
  const int64_t inputs = to_small ? g.large_channels : g.small_channels;
  const int64_t outputs = to_small ? g.small_channels : g.large_channels;
  const int64_t in_pixels = to_small ? g.large_pixels() : g.small_pixels();
  const int64_t out_pixels = to_small ? g.small_pixels() : g.large_pixels();
  const at::Tensor out =
      to_small ? empty_batch_innermost(g.batch, outputs, g.small_height, g.small_width, from.options())
               : empty_batch_innermost(g.batch, outputs, g.large_height, g.large_width, from.options());
  const Taps taps = to_small ? taps_of_small(g) : taps_of_large(g);
  // [small, large, height, width], and rows of a kernel follow each other.
  const int64_t output_step = weight.stride(to_small ? 0 : 1), input_step = weight.stride(to_small ? 1 : 0);
  const at::Tensor w = packed(weight.const_data_ptr<float>(), output_step, input_step, position_step(weight), outputs,
                              inputs, g.positions(), pairs);
  const float* const x = from.const_data_ptr<float>();
  const int64_t step = pixel_stride(from);
  Gather call{x, w.const_data_ptr(), bias.defined() ? bias.const_data_ptr<float>() : nullptr,
              out.mutable_data_ptr<float>(), taps.taps.data(), taps.first.data(), step, inputs, outputs, g.batch};
  at::Tensor units;
  if (pairs) {
    call.depth = (inputs + 1) / 2;
    call.pixel = call.depth * g.batch;
    units = at::empty({in_pixels * call.pixel}, at::kFloat);
    auto* const to = static_cast<uint32_t*>(units.mutable_data_ptr());
    at::parallel_for(0, in_pixels, 16, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) kernel.pair_rows(x + p * step, to + p * call.pixel, inputs, g.batch);
    });
    call.in = to;
  }
  at::parallel_for(0, out_pixels * blocks(outputs, kBlock), 1,
                   [&](int64_t begin, int64_t end) { kernel.gather(call, begin, end); });
  return out;
}

// A map as [blocks of channels][pixels][channels in the block][units]: what one block reads lies together, where the
// pixels of the map itself are often a power of two apart and would drive each other out of the cache.
at::Tensor in_blocks(const at::Tensor& map, int64_t block, int64_t units, bool pairs) {
  const Kernels& kernel = *kernels(pairs);
  const int64_t batch = map.size(0), channels = map.size(1), pixels = map.size(2) * map.size(3);
  const int64_t step = pixel_stride(map);
  at::Tensor out = at::empty({pixels * channels * units}, at::kFloat);
  const float* const from = map.const_data_ptr<float>();
  auto* const to = static_cast<uint32_t*>(out.mutable_data_ptr());
  at::parallel_for(0, pixels, std::max<int64_t>(1, 16384 / (channels * batch)), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t c = 0; c < channels; c += block) {
        const int64_t width = std::min(block, channels - c);
        const float* const row = from + p * step + c * batch;
        uint32_t* const place = to + (c * pixels + p * width) * units;
        if (pairs) {
          kernel.pair_columns(row, place, width, batch);
        } else {
          std::memcpy(place, row, width * batch * sizeof(float));
        }
      }
    }
  });
  return out;
}

// The gradient of the weights, which lies as they do.
at::Tensor correlated(const at::Tensor& small, const at::Tensor& large, const at::Tensor& weight, const Geometry& g,
                      bool pairs) {
  const Kernels& kernel = *kernels(pairs);
  const at::Tensor sums = at::empty({g.positions() * g.small_channels * g.large_channels}, at::kFloat);
  // Small kernels read a map so seldom that it is not worth rearranging.
  const bool blocked = pairs || g.positions() >= 9;
  const int64_t units = pairs ? (g.batch + 1) / 2 : g.batch;
  const at::Tensor a = blocked ? in_blocks(small, kSmallBlock, units, pairs) : small;
  const at::Tensor b = blocked ? in_blocks(large, kLargeBlock, units, pairs) : large;
  const Correlate call{a.const_data_ptr(), b.const_data_ptr(), sums.mutable_data_ptr<float>(), blocked,
                       pixel_stride(small), g.small_channels, g.small_height, g.small_width,
                       pixel_stride(large), g.large_channels, g.large_height, g.large_width,
                       g.kernel_height, g.kernel_width, g.stride, g.padding, units};
  at::parallel_for(0, blocks(g.small_channels, kSmallBlock) * blocks(g.large_channels, kLargeBlock), 1,
                   [&](int64_t begin, int64_t end) { kernel.correlate(call, begin, end); });
  at::Tensor gradient = at::empty_strided(weight.sizes(), weight.strides(), weight.options());
  const float* const from = sums.const_data_ptr<float>();
  float* const to = gradient.mutable_data_ptr<float>();
  const int64_t joins = g.small_channels * g.large_channels, step = position_step(weight);
  for (int64_t a = 0; a < g.small_channels; ++a) {
    for (int64_t b = 0; b < g.large_channels; ++b) {
      float* const place = to + a * weight.stride(0) + b * weight.stride(1);
      for (int64_t t = 0; t < g.positions(); ++t) place[t * step] = from[t * joins + a * g.large_channels + b];
    }
  }
  return gradient;
}

// The sum of a map over its pixels and its batch.
at::Tensor summed(const at::Tensor& map, bool pairs) {
  const int64_t channels = map.size(1), pixels = map.size(2) * map.size(3), step = pixel_stride(map);
  at::Tensor sums = at::empty({channels}, map.options());
  const float* const from = map.const_data_ptr<float>();
  float* const to = sums.mutable_data_ptr<float>();
  const Kernels& kernel = *kernels(pairs);
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, pixels * map.size(0)));
  at::parallel_for(0, channels, grain, [&](int64_t begin, int64_t end) {
    kernel.sums(from + begin * map.size(0), step, pixels, end - begin, map.size(0), to + begin);
  });
  return sums;
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Convolution : torch::autograd::Function<Convolution> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, int64_t stride, int64_t padding, bool transposed,
                            bool pairs) {
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    context->saved_data["transposed"] = transposed;
    context->saved_data["pairs"] = pairs;
    context->saved_data["bias"] = bias.has_value();
    return gathered(x, weight, bias.value_or(at::Tensor()), geometry(x, weight, stride, padding, transposed), !transposed, pairs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const bool transposed = context->saved_data["transposed"].toBool();
    const bool pairs = context->saved_data["pairs"].toBool();
    const std::array<bool, 3> needs{context->needs_input_grad(0), context->needs_input_grad(1),
                                    context->saved_data["bias"].toBool() && context->needs_input_grad(2)};
    variable_list results(7);
    if (!gradients[0].defined()) return results;
    if (c10::GradMode::is_enabled()) {
      // Somebody will differentiate the gradient, which libtorch knows how to do.
      const int64_t outputs = weight.size(transposed ? 1 : 0);
      auto [dx, dw, db] = at::convolution_backward(
          gradients[0], x, weight, at::IntArrayRef{outputs}, {stride, stride}, {padding, padding},
          std::vector<int64_t>{1, 1}, transposed, std::vector<int64_t>{0, 0}, 1, needs);
      results[0] = dx;
      results[1] = dw;
      results[2] = db;
      return results;
    }
    const Geometry g = geometry(x, weight, stride, padding, transposed);
    const at::Tensor gradient = readable(gradients[0]);
    if (needs[0]) results[0] = gathered(gradient, weight, at::Tensor(), g, transposed, pairs);
    if (needs[1]) {
      results[1] = transposed ? correlated(x, gradient, weight, g, pairs) : correlated(gradient, x, weight, g, pairs);
    }
    if (needs[2]) results[2] = summed(gradient, pairs);
    return results;
  }
};

bool done_here(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t padding) {
  if (!prefers_batch_innermost(x) || x.dim() != 4 || weight.dim() != 4 || padding < 0) return false;
  const auto single = [](const at::Tensor& t) { return t.scalar_type() == at::kFloat && t.is_cpu(); };
  if (!single(weight) || (bias.defined() && !(single(bias) && bias.is_contiguous()))) return false;
  // The positions of a kernel must follow each other.
  const bool dense = weight.size(2) == 1 || weight.stride(2) == weight.size(3) * weight.stride(3);
  return dense;
}

}  // namespace

bool prefers_batch_innermost(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() == 0) return false;
  const Kernels* const kernel = kernels(false);
  return kernel != nullptr && x.size(0) >= kernel->lanes;
}

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                  int64_t padding, bool transposed, bool rounded) {
  TORCH_CHECK(stride >= 1, "the stride of a convolution is at least 1, found ", stride);
  const std::optional<at::Tensor> b = bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt;
  if (!done_here(x, weight, bias, padding)) {
    return transposed ? at::conv_transpose2d(x, weight, b, stride, padding) : at::conv2d(x, weight, b, stride, padding);
  }
  const int64_t inputs = weight.size(transposed ? 0 : 1), outputs = weight.size(transposed ? 1 : 0);
  TORCH_CHECK(x.size(1) == inputs, "weights of ", inputs, " input channels, a feature map of ", x.size(1));
  TORCH_CHECK(!bias.defined() || bias.numel() == outputs, "a bias of ", bias.numel(), " for ", outputs, " channels");
  const Geometry g = geometry(x, weight, stride, padding, transposed);
  TORCH_CHECK(g.small_height > 0 && g.small_width > 0 && g.large_height > 0 && g.large_width > 0 &&
                  (transposed || (x.size(2) + 2 * padding >= g.kernel_height && x.size(3) + 2 * padding >= g.kernel_width)),
              "a kernel of ", g.kernel_height, " x ", g.kernel_width, " does not fit a feature map of ", x.size(2),
              " x ", x.size(3));
  return Convolution::apply(readable(x), weight, b, stride, padding, transposed, rounded && has_bfloat16());
}

}  // namespace gen_native::conv
