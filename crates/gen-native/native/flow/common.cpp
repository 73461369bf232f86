#include "common.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/autograd/autograd.h>

#include "../layout.h"

namespace gen_native::flow {

template <typename T>
const Kernels<T>& kernels() {
#if defined(__x86_64__)
  static const Kernels<T>* const best = __builtin_cpu_supports("avx512f")                                  ? avx512(T())
                                        : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2(T())
                                                                                                          : portable(T());
  return *best;
#else
  return *portable(T());
#endif
}

template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();

bool done_here(std::initializer_list<at::Tensor> tensors) {
  const at::ScalarType kind = tensors.begin()->scalar_type();
  if (kind != at::kFloat && kind != at::kDouble) return false;
  for (const at::Tensor& x : tensors) {
    if (!x.is_cpu() || x.scalar_type() != kind || x.layout() != at::kStrided) return false;
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

torch::autograd::variable_list differentiable_gradients(
    const torch::autograd::variable_list& inputs, const torch::autograd::variable_list& gradients,
    const std::function<torch::autograd::variable_list(const torch::autograd::variable_list&)>& function) {
  torch::autograd::variable_list outputs, of_outputs, wanted;
  const torch::autograd::variable_list all = function(inputs);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].requires_grad() || !gradients[i].defined()) continue;
    outputs.push_back(all[i]);
    of_outputs.push_back(gradients[i]);
  }
  for (const at::Tensor& input : inputs) {
    if (input.defined() && input.requires_grad()) wanted.push_back(input);
  }
  torch::autograd::variable_list found(wanted.size());
  if (!outputs.empty() && !wanted.empty()) {
    found = torch::autograd::grad(outputs, wanted, of_outputs, /*retain_graph=*/true, /*create_graph=*/true,
                                  /*allow_unused=*/true);
  }
  torch::autograd::variable_list results(inputs.size());
  size_t next = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined() && inputs[i].requires_grad()) results[i] = found[next++];
  }
  return results;
}

}  // namespace gen_native::flow
