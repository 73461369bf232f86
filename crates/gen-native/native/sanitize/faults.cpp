// Deliberate faults, only in builds with a sanitizer. `cargo xtask test --sanitize` runs each of them with each
// instruction set and fails unless the sanitizer reports it. They prove that the sanitizer watches the loops, memory of
// libtorch and threads of OpenMP.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <cstring>

#include "../flow/common.h"

namespace {

using namespace gen_native::flow;

constexpr int64_t kRows = 64;

// A value and a log-determinant for each row.
at::Tensor values() { return at::full({2, kRows}, 0.5, at::kFloat); }

Affine<float> call(const float* from, int64_t rows) {
  const Map<const float> in{from, 1, rows, 0};
  return {in, in, nullptr, rows, 1, 1, false};
}

// Runs the loop of the instructions in use.
void run(const Affine<float>& affine, float* to) {
  const Kernels<float>& kernel = kernels<float>(gen_native::instructions());
  kernel.affine(affine, {to, 1, affine.rows, 0}, to + affine.rows, 0, (affine.rows + kernel.lanes - 1) / kernel.lanes);
}

}  // namespace

extern "C" {

// Writes beyond the end of a tensor: with twice as many rows, the log-determinants do not fit.
void gn_fault_beyond() {
  const at::Tensor from = values(), to = values();
  run(call(from.const_data_ptr<float>(), 2 * kRows), to.mutable_data_ptr<float>());
}

// Reads a freed tensor.
void gn_fault_freed() {
  at::Tensor from = values();
  const at::Tensor to = values();
  const Affine<float> affine = call(from.const_data_ptr<float>(), kRows);
  from.reset();
  run(affine, to.mutable_data_ptr<float>());
}

// Leaks a tensor.
void gn_fault_lost() { new at::Tensor(values()); }

// Reads a bool that is neither true nor false.
void gn_fault_neither() {
  const at::Tensor from = values(), to = values();
  Affine<float> affine = call(from.const_data_ptr<float>(), kRows);
  std::memset(&affine.inverse, 2, 1);
  run(affine, to.mutable_data_ptr<float>());
}

// Writes one tensor from all threads at once.
void gn_fault_race() {
  const at::Tensor from = values(), to = values();
  const Affine<float> affine = call(from.const_data_ptr<float>(), kRows);
  float* const out = to.mutable_data_ptr<float>();
  at::parallel_for(0, 1024, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(affine, out);
  });
}

}  // extern "C"
