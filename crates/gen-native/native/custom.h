// Operations whose gradient the caller computes.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace gen_native {

// The gradients of the n inputs from those of the m results, into `out`, as new tensors or null for none. Returns false
// when there are none to be had, and says why in at most `room` bytes of `message`, which is zeros. It runs on a thread
// of autograd's, on one at a time.
using Backward = bool (*)(void* data, at::Tensor* const* gradients, size_t m, at::Tensor** out, size_t n, char* message,
                          size_t room);

// Called once, when nothing needs `data` any more.
using Drop = void (*)(void* data);

// The numbers of `results` as those of an operation on `inputs` with this gradient; the graphs that they come with are
// left behind. `data` belongs to the operation from the call on, also when it throws.
std::vector<at::Tensor> with_gradient(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor> results,
                                      Backward backward, Drop drop, void* data);

}  // namespace gen_native
