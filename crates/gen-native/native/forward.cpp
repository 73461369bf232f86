#include "forward.h"

#include <ATen/ops/_make_dual.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "operands.h"

namespace gen_native {

using torch::autograd::ForwardADLevel;
using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

// The one level that libtorch's operations look at.
constexpr uint64_t kLevel = 0;

// The tangent of `x`; undefined if there is none, or it is known to be 0.
at::Tensor tangent_of(const at::Tensor& x) {
  const at::Tensor& tangent = x._fw_grad(kLevel);
  return tangent.defined() && !tangent._is_zerotensor() ? tangent : at::Tensor();
}

// Whether the graphs of a value and its tangent have a normalisation whose tangent libtorch 2.13 computes from
// statistics that it takes for constants in a backward pass, so that gradients would be wrong. Only the graph of the
// value has the node itself.
bool has_wrong_gradient(const at::Tensor& value, const at::Tensor& tangent) {
  constexpr std::string_view kWrong[] = {"NativeLayerNormBackward", "NativeBatchNormBackward", "CudnnBatchNormBackward",
                                         "MiopenBatchNormBackward"};
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> waiting;
  const auto add = [&](const Node* node) {
    if (node != nullptr && seen.insert(node).second) waiting.push_back(node);
  };
  add(value.grad_fn().get());
  add(tangent.grad_fn().get());
  while (!waiting.empty()) {
    const Node* const node = waiting.back();
    waiting.pop_back();
    const std::string name = node->name();
    for (const std::string_view wrong : kWrong) {
      if (std::string_view(name).substr(0, wrong.size()) == wrong) return true;
    }
    for (const auto& edge : node->next_edges()) add(edge.function.get());
  }
  return false;
}

// The identity; a backward pass throws.
struct Refusing : torch::autograd::Function<Refusing> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x) { return x.detach(); }

  static variable_list backward(torch::autograd::AutogradContext*, const variable_list&) {
    TORCH_CHECK(false,
                "libtorch's gradient of a forward-mode derivative is wrong where layer or batch normalisation "
                "is part of it: detach the derivative, or write the normalisation out");
  }
};

}  // namespace

uint64_t enter_level() { return ForwardADLevel::get_next_idx(); }

void leave_level(uint64_t level) { ForwardADLevel::release_idx(level); }

at::Tensor with_tangent(const at::Tensor& value, const at::Tensor& tangent, uint64_t level) {
  check_operands(value, tangent);
  TORCH_CHECK(value.sizes() == tangent.sizes(), "a tangent ", tangent.sizes(), " of a value ", value.sizes());
  TORCH_CHECK(value.scalar_type() == tangent.scalar_type(), "a tangent of kind ", tangent.scalar_type(),
              " of a value of kind ", value.scalar_type());
  // libtorch copies the tangent to the layout of its value, which takes a place for each entry.
  const at::Tensor apart = are_exclusive({value}, {}) ? value : value.clone(at::MemoryFormat::Contiguous);
  return at::_make_dual(apart, tangent, static_cast<int64_t>(level));
}

std::array<at::Tensor, 2> value_and_tangent(const at::Tensor& x, uint64_t level) {
  TORCH_CHECK(x.defined(), "a tensor is undefined");
  const at::Tensor tangent = x._fw_grad(level);
  const at::Tensor value = tangent.defined() ? x._fw_primal(static_cast<int64_t>(level)) : x;
  if (!tangent.defined() || tangent._is_zerotensor()) return {value, at::zeros_like(value)};
  if (c10::GradMode::is_enabled() && tangent.requires_grad() && has_wrong_gradient(value, tangent)) {
    return {value, Refusing::apply(tangent)};
  }
  return {value, tangent};
}

bool has_tangent(const at::Tensor& x) { return x.defined() && x._fw_grad(kLevel).defined(); }

bool has_tangent(const std::optional<at::Tensor>& x) { return x && has_tangent(*x); }

bool has_tangent(at::TensorList list) {
  return std::any_of(list.begin(), list.end(), [](const at::Tensor& x) { return has_tangent(x); });
}

at::Tensor linear_with_tangent(const std::vector<at::Tensor>& inputs,
                               const std::function<at::Tensor(const std::vector<at::Tensor>&)>& linear) {
  std::vector<at::Tensor> values, tangents;
  for (const at::Tensor& input : inputs) {
    auto [value, tangent] = value_and_tangent(input, kLevel);
    values.push_back(std::move(value));
    tangents.push_back(std::move(tangent));
  }
  return at::_make_dual(linear(values), linear(tangents), kLevel);
}

at::Tensor bilinear_with_tangent(const at::Tensor& a, const at::Tensor& b,
                                 const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& bilinear) {
  const at::Tensor of_a = tangent_of(a), of_b = tangent_of(b);
  const at::Tensor x = a._fw_primal(kLevel), y = b._fw_primal(kLevel);
  const at::Tensor value = bilinear(x, y);
  at::Tensor tangent;
  if (of_a.defined()) tangent = bilinear(of_a, y);
  if (of_b.defined()) tangent = tangent.defined() ? tangent + bilinear(x, of_b) : bilinear(x, of_b);
  if (!tangent.defined()) tangent = at::zeros_like(value);
  return at::_make_dual(value, tangent, kLevel);
}

}  // namespace gen_native
