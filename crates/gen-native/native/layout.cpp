#include "layout.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "forward.h"
#include "operands.h"

namespace gen_native {

namespace {

// Transposes rows of `columns` values: out[c * out_stride + r] = in[r * row_stride + c].
void transpose(const float* in, int64_t row_stride, float* out, int64_t out_stride, int64_t rows, int64_t columns) {
  // Square blocks of a cache line, so that each line is fetched once on both sides.
  constexpr int64_t kSide = 16;
  for (int64_t c = 0; c < columns; c += kSide) {
    for (int64_t r = 0; r < rows; r += kSide) {
      if (c + kSide <= columns && r + kSide <= rows) {
        for (int64_t i = 0; i < kSide; ++i) {
          for (int64_t j = 0; j < kSide; ++j) out[(c + i) * out_stride + r + j] = in[(r + j) * row_stride + c + i];
        }
      } else {
        for (int64_t i = c; i < std::min(c + kSide, columns); ++i) {
          for (int64_t j = r; j < std::min(r + kSide, rows); ++j) out[i * out_stride + j] = in[j * row_stride + i];
        }
      }
    }
  }
}

at::Tensor copied(const at::Tensor& x) {
  const int64_t batch = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
  at::Tensor out = empty_batch_innermost(batch, channels, x.size(2), x.size(3), x.options());
  const bool quick = in_memory(x) && x.scalar_type() == at::kFloat && x.is_contiguous() && x.numel() > 0;
  if (!quick) return out.copy_(x);
  const float* const from = x.const_data_ptr<float>();
  float* const to = out.mutable_data_ptr<float>();
  if (pixels == 1 || channels == 1) {
    const int64_t values = channels * pixels;
    at::parallel_for(0, (values + 15) / 16, 16, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * 16, last = std::min(end * 16, values);
      transpose(from + first, values, to + first * batch, batch, batch, last - first);
    });
  } else {
    at::parallel_for(0, channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        transpose(from + c * pixels, channels * pixels, to + c * batch, channels * batch, batch, pixels);
      }
    });
  }
  return out;
}

// Copies the values, so the gradient passes through unchanged, in any layout.
struct BatchInnermost : torch::autograd::Function<BatchInnermost> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return copied(x); }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list gradients) {
    return gradients;
  }
};

}  // namespace

int64_t pixel_stride(const at::Tensor& x) {
  if (x.dim() != 4) return 0;
  const auto size = x.sizes(), stride = x.strides();
  const auto steps = [&](int dimension, int64_t by) { return size[dimension] == 1 || stride[dimension] == by; };
  if (!steps(0, 1) || !steps(1, size[0])) return 0;
  const int64_t alone = size[0] * size[1];
  const int64_t pixel = size[3] > 1 ? stride[3] : size[2] > 1 ? stride[2] : alone;
  return pixel >= alone && steps(2, size[3] * pixel) ? pixel : 0;
}

bool is_batch_innermost(const at::Tensor& x) { return x.dim() == 4 && pixel_stride(x) == x.size(0) * x.size(1); }

at::Tensor empty_batch_innermost(int64_t batch, int64_t channels, int64_t height, int64_t width,
                                 const at::TensorOptions& options) {
  return at::empty_strided({batch, channels, height, width}, {1, batch, width * channels * batch, channels * batch},
                           options);
}

at::Tensor batch_innermost(const at::Tensor& x) {
  TORCH_CHECK(x.defined() && x.layout() == at::kStrided, "a feature map is a strided tensor");
  TORCH_CHECK(x.dim() == 4, "a feature map has four dimensions, found ", x.dim());
  if (is_batch_innermost(x)) return x;
  if (!has_tangent(x)) return BatchInnermost::apply(x);
  return linear_with_tangent({x}, [](const std::vector<at::Tensor>& list) { return batch_innermost(list[0]); });
}

at::Tensor readable(const at::Tensor& x) { return pixel_stride(x) > 0 ? x : batch_innermost(x); }

at::Tensor readable_gradient(const at::Tensor& x) { return readable(as_memory(x)); }

}  // namespace gen_native
