#include "common.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <optional>

namespace gen_native::flow {

template <typename T>
const Kernels<T>& kernels(Instructions which) {
  switch (which) {
#if defined(__x86_64__)
    case Instructions::kAvx512: return *avx512(T());
    case Instructions::kAvx2: return *avx2(T());
#endif
    default: return *portable(T());
  }
}

template const Kernels<float>& kernels<float>(Instructions);
template const Kernels<double>& kernels<double>(Instructions);

bool done_here(Instructions which, std::initializer_list<at::Tensor> tensors) {
  const at::ScalarType kind = tensors.begin()->scalar_type();
  if (which == Instructions::kLibtorch || (kind != at::kFloat && kind != at::kDouble)) return false;
  for (const at::Tensor& x : tensors) {
    if (!in_memory(x) || x.scalar_type() != kind) return false;
  }
  return true;
}

namespace {

// The stride of the innermost dimension from the third on that has more than one value; 0 without.
int64_t pixel_step(const at::Tensor& x) {
  for (int64_t i = x.dim() - 1; i >= 2; --i) {
    if (x.size(i) > 1) return x.stride(i);
  }
  return 0;
}

}  // namespace

at::Tensor with_pixels(const at::Tensor& x) {
  int64_t expected = pixel_step(x);
  for (int64_t i = x.dim() - 1; i >= 2; --i) {
    if (x.size(i) == 1) continue;
    if (x.stride(i) != expected) return x.contiguous();
    expected *= x.size(i);
  }
  return x;
}

at::Tensor gradient_with_pixels(const at::Tensor& x) { return with_pixels(as_memory(x)); }

template <typename T>
Map<T> map_of(const at::Tensor& x) {
  T* data;
  if constexpr (std::is_const_v<T>) {
    data = x.const_data_ptr<std::remove_const_t<T>>();
  } else {
    data = x.mutable_data_ptr<T>();
  }
  return {data, x.stride(0), x.stride(1), pixel_step(x)};
}

template Map<float> map_of<float>(const at::Tensor&);
template Map<double> map_of<double>(const at::Tensor&);
template Map<const float> map_of<const float>(const at::Tensor&);
template Map<const double> map_of<const double>(const at::Tensor&);

void check_coupled(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
                   int64_t count) {
  const auto alike = [&](const at::Tensor& x) {
    return x.dim() == rest.dim() && x.size(0) == rest.size(0) && x.sizes().slice(2) == rest.sizes().slice(2);
  };
  TORCH_CHECK(rest.dim() >= 2, "values ", rest.sizes(), "; they are [batch, channels, ...]");
  TORCH_CHECK(alike(parameters) && parameters.size(1) == count * rest.size(1), "parameters ", parameters.sizes(),
              " for values ", rest.sizes(), ", ", count, " for each");
  TORCH_CHECK(!same || alike(*same), "values that stay ", same->sizes(), " beside ", rest.sizes());
}

int64_t pixels_of(const at::Tensor& x) { return x.numel() / std::max<int64_t>(1, x.size(0) * x.size(1)); }

bool rows_innermost(const at::Tensor& x) { return x.size(0) > 1 && x.stride(0) == 1; }

at::Tensor empty_map(at::IntArrayRef sizes, bool rows_innermost, const at::TensorOptions& options) {
  if (!rows_innermost) return at::empty(sizes, options);
  std::vector<int64_t> strides(sizes.size(), 1);
  strides[1] = sizes[0];
  int64_t step = sizes[0] * sizes[1];
  for (size_t i = sizes.size(); i-- > 2;) {
    strides[i] = step;
    step *= sizes[i];
  }
  return at::empty_strided(sizes, strides, options);
}

}  // namespace gen_native::flow
