// Convolutions one after another, none of whose hidden maps anybody wants.

#pragma once

#include <ATen/core/Tensor.h>

#include "passes.h"

namespace gen_native::conv {

// Whether a batch is enough to divide among the threads by images, as `rolled` does.
bool can_roll(const at::Tensor& x, const Loops& loops);

// What convolutions with max(0, x) between them give; `layers` are their weights and biases in turn. A few images go
// through all layers together, and of each hidden map a thread holds just the rows that the next kernel reads, which
// its nearest caches have room for.
at::Tensor rolled(const at::Tensor& x, at::TensorList layers, const Loops& loops);

}  // namespace gen_native::conv
