// Checks of operands.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace gen_native {

// Whether the memory of the host has the values of `x` as they are: `x` is on a CPU, strided, and without lazy
// negation.
bool in_memory(const at::Tensor& x);

// `x` itself, or a copy for which in_memory is true. Not differentiable: for gradients.
at::Tensor as_memory(const at::Tensor& x);

// Checks one operand of a call. All operands are on the device of the first one.
void check_operand(const at::Tensor& x, std::optional<at::Device>& device);
void check_operand(const std::optional<at::Tensor>& x, std::optional<at::Device>& device);
void check_operand(const std::vector<at::Tensor>& list, std::optional<at::Device>& device);

// Refuses operands that no operation takes: undefined and sparse tensors, zeros without memory, whole and complex
// numbers, different devices.
template <typename... Operands>
void check_operands(const Operands&... operands) {
  std::optional<at::Device> device;
  (check_operand(operands, device), ...);
}

// Whether no two entries of the `written` tensors share memory, and no entry of theirs shares memory with the `read`
// tensors. Undefined tensors and tensors without memory count as empty.
bool are_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read);

// Throws unless are_exclusive.
void check_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read);

}  // namespace gen_native
