#include "passes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include "../layout.h"

namespace gen_native::norm {

namespace {

Pass pass_over(const at::Tensor& x, const Known& known, Activation activation) {
  const Shape shape(x);
  Pass pass{};
  pass.pixels = shape.pixels;
  pass.row = shape.row;
  pass.activation = activation;
  pass.x = x.const_data_ptr<float>();
  pass.x_pixel = pixel_stride(x);
  pass.mean = known.mean;
  pass.slope = known.slope;
  pass.offset = known.offset;
  return pass;
}

// The fewest items that are worth a thread.
constexpr int64_t kGrain = 4;

}  // namespace

const Kernels& kernels(Instructions which) {
#if defined(__x86_64__)
  switch (which) {
    case Instructions::kAvx512: return *avx512();
    case Instructions::kAvx2: return *avx2();
    default: break;
  }
#endif
  TORCH_CHECK(false, "no normalisations with instructions ", static_cast<int>(which));
}

std::pair<Moments, at::Tensor> moments_of(const Kernels& kernel, const at::Tensor& x, int64_t groups) {
  const Shape shape(x);
  const int64_t channels = shape.channels / groups;
  const int64_t padded = (shape.batch + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
  const at::Tensor result = at::empty({3, groups, shape.batch}, at::kFloat);
  const at::Tensor state = at::zeros({2, groups, padded}, at::kFloat);
  const float* const from = x.const_data_ptr<float>();
  float* const scratch = state.mutable_data_ptr<float>();
  float* const data = result.mutable_data_ptr<float>();
  const Moments moments{data, data + groups * shape.batch, data + 2 * groups * shape.batch};
  const int64_t step = pixel_stride(x), grain = 1 + 32768 / (shape.pixels * channels * shape.batch);
  at::parallel_for(0, groups, grain, [&](int64_t begin, int64_t end) {
    kernel.statistics(from, step, shape.pixels, channels, shape.batch, begin, end, scratch, moments);
  });
  return {moments, result};
}

at::Tensor applied(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation) {
  const at::Tensor y = empty_batch_innermost(x.size(0), x.size(1), x.size(2), x.size(3), x.options());
  Pass pass = pass_over(x, known, activation);
  pass.out = y.mutable_data_ptr<float>();
  at::parallel_for(0, items(pass.pixels, pass.row), kGrain,
                   [&](int64_t begin, int64_t end) { kernel.apply(pass, begin, end); });
  return y;
}

Sums::Sums(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation, const at::Tensor& dy)
    : all(at::empty({2, x.size(0) * x.size(1)}, at::kFloat)) {
  Pass pass = pass_over(x, known, activation);
  pass.dy = dy.const_data_ptr<float>();
  pass.dy_pixel = pixel_stride(dy);
  plain = all.mutable_data_ptr<float>();
  product = plain + pass.row;
  at::parallel_for(0, runs(pass.row), 1,
                   [&](int64_t begin, int64_t end) { kernel.sums(pass, begin, end, plain, product); });
  for (int64_t i = 0; i < pass.row; ++i) product[i] = (product[i] - known.rest[i] * plain[i]) * known.rstd[i];
}

at::Tensor input_gradient(const Kernels& kernel, const at::Tensor& x, const Known& known, Activation activation,
                          const at::Tensor& dy, const at::Tensor& terms) {
  const at::Tensor dx = empty_batch_innermost(x.size(0), x.size(1), x.size(2), x.size(3), x.options());
  Pass pass = pass_over(x, known, activation);
  pass.dy = dy.const_data_ptr<float>();
  pass.dy_pixel = pixel_stride(dy);
  pass.constant = terms.const_data_ptr<float>();
  pass.linear = pass.constant + pass.row;
  pass.out = dx.mutable_data_ptr<float>();
  at::parallel_for(0, items(pass.pixels, pass.row), kGrain,
                   [&](int64_t begin, int64_t end) { kernel.gradient(pass, begin, end); });
  return dx;
}

}  // namespace gen_native::norm
