// Convolutions one after another, without storing the hidden maps.

#pragma once

#include <ATen/core/Tensor.h>

#include "passes.h"

namespace gen_native::conv {

// Whether the batch is large enough to divide its images among the threads, as `rolled` does.
bool can_roll(const at::Tensor& x, const Loops& loops);

// The result of convolutions with max(0, x) between them; `layers` alternates weights and biases. A few images go
// through all layers together. A thread holds only the rows of each hidden map that the next kernel reads, which fit
// into its caches.
at::Tensor rolled(const at::Tensor& x, at::TensorList layers, const Loops& loops);

}  // namespace gen_native::conv
