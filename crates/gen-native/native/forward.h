// Forward-mode derivatives: values with tangents, which libtorch's operations carry along.
//
// libtorch has one level, 0, for the whole process. A loop of ours reads numbers and would drop a tangent in silence,
// so each operation asks have_tangents first.

#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace gen_native {

// Opens a level. Throws if one is open.
uint64_t enter_level();

// Closes a level: all tangents of it are dropped.
void leave_level(uint64_t level);

// `value` with a `tangent` of its shape, kind and device. Differentiable in both.
at::Tensor with_tangent(const at::Tensor& value, const at::Tensor& tangent, uint64_t level);

// The value and the tangent of `x`, both as plain tensors. Without a tangent, it is zeros. A backward pass through a
// tangent that libtorch would differentiate wrongly throws.
std::array<at::Tensor, 2> value_and_tangent(const at::Tensor& x, uint64_t level);

// Whether `x` has a tangent.
bool has_tangent(const at::Tensor& x);
bool has_tangent(const std::optional<at::Tensor>& x);
bool has_tangent(at::TensorList list);

template <typename... Operands>
bool have_tangents(const Operands&... operands) {
  return (has_tangent(operands) || ...);
}

// Throws if an operand of `operation` has a tangent, which would be dropped.
template <typename... Operands>
void check_no_tangents(const char* operation, const Operands&... operands) {
  TORCH_CHECK(!have_tangents(operands...), operation, " has no forward-mode derivative, but was given a tangent");
}

// A linear function of all inputs, with a tangent where an input has one. `linear` is called on plain tensors.
at::Tensor linear_with_tangent(const std::vector<at::Tensor>& inputs,
                               const std::function<at::Tensor(const std::vector<at::Tensor>&)>& linear);

// The same for a function that is linear in each of two tensors.
at::Tensor bilinear_with_tangent(const at::Tensor& a, const at::Tensor& b,
                                 const std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>& bilinear);

}  // namespace gen_native
