// Operations whose gradient the caller computes.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace gen_native {

// Writes the gradients of the n inputs to `out`, from those of the m results: new tensors, or null for none. On failure
// it returns false and writes the reason to `message`, which is zeros, in at most `room` bytes. It runs on a thread of
// autograd, one call at a time.
using Backward = bool (*)(void* data, at::Tensor* const* gradients, size_t m, at::Tensor** out, size_t n, char* message,
                          size_t room);

// Called once, after the last use of `data`.
using Drop = void (*)(void* data);

// Makes the values of `results` the outputs of one node on `inputs` with this gradient; their previous graphs are
// dropped. The node owns `data` from the call on, also if the call throws.
std::vector<at::Tensor> with_gradient(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor> results,
                                      Backward backward, Drop drop, void* data);

}  // namespace gen_native
