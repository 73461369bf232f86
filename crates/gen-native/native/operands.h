// What operations take, and what their loops may read.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace gen_native {

// Whether the numbers of `x` lie in the memory of a processor as they are: not on another device, not as a list of
// entries, not with signs that are turned when they are read.
bool in_memory(const at::Tensor& x);

// `x` itself, or a copy of which this is true. Not differentiable: for gradients.
at::Tensor as_memory(const at::Tensor& x);

// One of the operands of a call, which are on one device, the first one's.
void check_operand(const at::Tensor& x, std::optional<at::Device>& device);
void check_operand(const std::optional<at::Tensor>& x, std::optional<at::Device>& device);
void check_operand(const std::vector<at::Tensor>& list, std::optional<at::Device>& device);

// Refuses what no operation takes: undefined and sparse tensors, zeros without memory, whole and complex numbers,
// different devices.
template <typename... Operands>
void check_operands(const Operands&... operands) {
  std::optional<at::Device> device;
  (check_operand(operands, device), ...);
}

// Whether every number of the tensors that are `written` is there once, and not in those that are `read`. Undefined
// tensors and those without memory count as empty.
bool are_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read);

// Refuses those of which this is not true.
void check_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read);

}  // namespace gen_native
