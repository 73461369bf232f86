// The entry points for Rust.
//
// Every function returns null, or an error message that the caller frees with gn_free: no exception crosses into Rust.
// Tensors cross as pointers to at::Tensor, as in torch-sys. No function keeps a pointer after it returns.

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "conv/conv.h"
#include "custom.h"
#include "flow/flow.h"
#include "forward.h"
#include "guarded.h"
#include "instructions.h"
#include "layout.h"
#include "likelihood/likelihood.h"
#include "memory.h"
#include "norm/norm.h"
#include "operands.h"
#include "optim.h"

using gen_native::guarded;

namespace {

std::vector<at::Tensor> tensors(at::Tensor* const* pointers, size_t n) {
  std::vector<at::Tensor> list;
  list.reserve(n);
  for (size_t i = 0; i < n; ++i) list.push_back(*pointers[i]);
  return list;
}

std::optional<at::Tensor> optional(const at::Tensor* tensor) {
  return tensor == nullptr ? std::nullopt : std::optional<at::Tensor>(*tensor);
}

// An optional tensor: undefined for null. A given tensor must be defined.
at::Tensor or_undefined(const at::Tensor* x) {
  if (x == nullptr) return at::Tensor();
  TORCH_CHECK(x->defined(), "a tensor is undefined");
  return *x;
}

}  // namespace

extern "C" {

void gn_free(char* message) { std::free(message); }

// One step of AdamW (Adam if the weight decay is 0) on all parameters with a defined gradient (gen_native::adam).
// `scale` may be null.
char* gn_adam(at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* first,
              at::Tensor* const* second, size_t n, const at::Tensor* step, double learning_rate, double beta1,
              double beta2, double epsilon, double weight_decay, const at::Tensor* scale) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    gen_native::adam(tensors(parameters, n), tensors(gradients, n), tensors(first, n), tensors(second, n), *step,
                     optional(scale), {learning_rate, beta1, beta2, epsilon, weight_decay});
  });
}

// The Euclidean norm of all entries of all tensors together, a new scalar on their device. Undefined tensors count as
// 0.
char* gn_global_norm(at::Tensor* const* list, size_t n, at::Tensor** norm) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    std::vector<at::Tensor> defined;
    for (size_t i = 0; i < n; ++i) {
      if (list[i]->defined()) defined.push_back(*list[i]);
    }
    TORCH_CHECK(!defined.empty(), "no tensor has a gradient");
    gen_native::check_operands(defined);
    *norm = new at::Tensor(at::linalg_vector_norm(at::stack(at::_foreach_norm(defined, 2))));
  });
}

// start += weight * (end - start), for all pairs.
char* gn_lerp(at::Tensor* const* start, at::Tensor* const* end, size_t n, double weight) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    gen_native::lerp(tensors(start, n), tensors(end, n), weight);
  });
}

// Begins autocast to bfloat16 in this thread, on CPU (0) or CUDA (1), and returns the previous state.
char* gn_autocast_begin(int device, bool* was_enabled, int* was_kind) {
  return guarded([&] {
    const auto on = device == 0 ? at::kCPU : at::kCUDA;
    *was_enabled = at::autocast::is_autocast_enabled(on);
    *was_kind = static_cast<int>(at::autocast::get_autocast_dtype(on));
    at::autocast::set_autocast_dtype(on, at::kBFloat16);
    at::autocast::set_autocast_enabled(on, true);
  });
}

// Restores the state from gn_autocast_begin.
char* gn_autocast_end(int device, bool was_enabled, int was_kind) {
  return guarded([&] {
    const auto on = device == 0 ? at::kCPU : at::kCUDA;
    at::autocast::set_autocast_dtype(on, static_cast<at::ScalarType>(was_kind));
    at::autocast::set_autocast_enabled(on, was_enabled);
    // Autocast caches casts of weights, and weights change between two regions.
    if (!was_enabled) at::autocast::clear_cache();
  });
}

// Sets the internal precision of products of f32 matrices, and of convolutions on GPUs: "highest", "high" or "medium".
char* gn_matmul_precision(const char* name) {
  return guarded([&] {
    at::globalContext().setFloat32MatmulPrecision(name);
    // cuDNN has a separate switch, which is on by default.
    at::globalContext().setAllowTF32CuDNN(std::string(name) != "highest");
  });
}

// Sets whether subnormal numbers count as 0. `possible` is false if the processor cannot do it.
char* gn_flush_denormal(bool on, bool* possible) {
  return guarded([&] { *possible = at::Context::setFlushDenormal(on); });
}

void gn_keep_freed_memory() { gen_native::keep_freed_memory(); }

// A tensor of the same shape, kind and strides without values, on the device `meta`.
char* gn_without_numbers(const at::Tensor* x, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(x->detach().to(at::kMeta)); });
}

// Whether a feature map is batch-innermost.
char* gn_is_batch_innermost(const at::Tensor* x, bool* is) {
  return guarded([&] { *is = gen_native::is_batch_innermost(*x); });
}

// The same feature map, batch-innermost.
char* gn_batch_innermost(const at::Tensor* x, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(gen_native::batch_innermost(*x)); });
}

// Whether a map should be batch-innermost from the start.
char* gn_prefers_batch_innermost(const at::Tensor* x, bool* does) {
  return guarded([&] { *does = gen_native::conv::prefers_batch_innermost(*x); });
}

// A convolution (gen_native::conv::conv2d); `bias` may be null.
char* gn_conv2d(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias, int64_t stride, int64_t padding,
                bool transposed, bool rounded, at::Tensor** out) {
  return guarded([&] {
    *out =
        new at::Tensor(gen_native::conv::conv2d(*x, *weight, or_undefined(bias), stride, padding, transposed, rounded));
  });
}

// Convolutions with max(0, x) between them (gen_native::conv::conv_stack); `layers` alternates weights and biases.
char* gn_conv_stack(const at::Tensor* x, at::Tensor* const* layers, size_t n, bool rounded, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(gen_native::conv::conv_stack(*x, tensors(layers, n), rounded)); });
}

// A batch normalisation (gen_native::norm::batch_norm); the running statistics may be null.
char* gn_batch_norm(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias,
                    const at::Tensor* running_mean, const at::Tensor* running_var, int statistics, int activation,
                    at::Tensor** out) {
  return guarded([&] {
    *out = new at::Tensor(gen_native::norm::batch_norm(
        *x, *weight, *bias, or_undefined(running_mean), or_undefined(running_var),
        static_cast<gen_native::norm::Statistics>(statistics), static_cast<gen_native::norm::Activation>(activation)));
  });
}

// A group normalisation (gen_native::norm::group_norm); `modulation` may be null.
char* gn_group_norm(const at::Tensor* x, int64_t groups, const at::Tensor* weight, const at::Tensor* bias,
                    const at::Tensor* modulation, int activation, at::Tensor** out) {
  return guarded([&] {
    *out = new at::Tensor(gen_native::norm::group_norm(*x, groups, *weight, *bias, or_undefined(modulation),
                                                       static_cast<gen_native::norm::Activation>(activation)));
  });
}

// The first `at` channels and the remaining ones (gen_native::flow::split_channels).
char* gn_split_channels(const at::Tensor* x, int64_t at, at::Tensor** first, at::Tensor** second) {
  return guarded([&] {
    auto [a, b] = gen_native::flow::split_channels(*x, at);
    *first = new at::Tensor(std::move(a));
    *second = new at::Tensor(std::move(b));
  });
}

// The channels of both maps (gen_native::flow::join_channels).
char* gn_join_channels(const at::Tensor* a, const at::Tensor* b, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(gen_native::flow::join_channels(*a, *b)); });
}

// An affine coupling (gen_native::flow::affine_coupling); `same` and `bound` may be null.
char* gn_affine_coupling(const at::Tensor* same, const at::Tensor* rest, const at::Tensor* parameters,
                         const at::Tensor* bound, bool same_first, bool inverse, at::Tensor** out,
                         at::Tensor** log_det) {
  return guarded([&] {
    auto moved =
        gen_native::flow::affine_coupling(optional(same), *rest, *parameters, optional(bound), same_first, inverse);
    *out = new at::Tensor(std::move(moved.values));
    *log_det = new at::Tensor(std::move(moved.log_det));
  });
}

// A spline (gen_native::flow::spline), as a coupling if `summed`; `same` may be null.
char* gn_spline(const at::Tensor* same, const at::Tensor* rest, const at::Tensor* parameters,
                const gen_native::flow::SplineShape* shape, bool same_first, bool inverse, bool summed,
                at::Tensor** out, at::Tensor** log_slope) {
  return guarded([&] {
    auto moved = gen_native::flow::spline(optional(same), *rest, *parameters, *shape, same_first, inverse, summed);
    *out = new at::Tensor(std::move(moved.values));
    *log_slope = new at::Tensor(std::move(moved.log_det));
  });
}

// The weight, the bias and the log-determinant of a mixing of channels (gen_native::flow::mixing), as three results.
// The factors are in the order of gen_native::flow::Factors.
char* gn_mixing(at::Tensor* const* factors, bool inverse, at::Tensor** results) {
  return guarded([&] {
    auto mixing = gen_native::flow::mixing(
        {*factors[0], *factors[1], *factors[2], *factors[3], *factors[4], *factors[5], *factors[6]}, inverse);
    results[0] = new at::Tensor(std::move(mixing.weight));
    results[1] = new at::Tensor(std::move(mixing.bias));
    results[2] = new at::Tensor(std::move(mixing.log_det));
  });
}

// Linear layers (gen_native::flow::perceptron); `layers` alternates weights and biases.
char* gn_perceptron(const at::Tensor* x, at::Tensor* const* layers, size_t n, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(gen_native::flow::perceptron(*x, tensors(layers, n))); });
}

// Linear layers with a mask for each weight (gen_native::flow::masked_perceptron).
char* gn_masked_perceptron(const at::Tensor* x, at::Tensor* const* layers, size_t n, at::Tensor* const* masks,
                           size_t n_masks, at::Tensor** out) {
  return guarded([&] {
    *out = new at::Tensor(gen_native::flow::masked_perceptron(*x, tensors(layers, n), tensors(masks, n_masks)));
  });
}

// The inverse of an autoregressive map (gen_native::flow::autoregressive_inverse). `degrees` has a list for the inputs
// and one for each of `n_hidden` layers; `widths` has the lengths of the lists. `context`, `bound` and `shape` may be
// null. Both results are null for maps that the kernel does not take.
char* gn_autoregressive_inverse(const at::Tensor* y, const at::Tensor* context, at::Tensor* const* layers, size_t n,
                                const int64_t* const* degrees, const size_t* widths, size_t n_hidden,
                                const at::Tensor* bound, const gen_native::flow::SplineShape* shape, at::Tensor** out,
                                at::Tensor** log_det) {
  return guarded([&] {
    gen_native::flow::Degrees all;
    all.inputs.assign(degrees[0], degrees[0] + widths[0]);
    for (size_t i = 1; i <= n_hidden; ++i) all.hidden.emplace_back(degrees[i], degrees[i] + widths[i]);
    auto moved = gen_native::flow::autoregressive_inverse(
        *y, optional(context), tensors(layers, n), all, optional(bound),
        shape == nullptr ? std::optional<gen_native::flow::SplineShape>() : *shape);
    *out = moved ? new at::Tensor(std::move(moved->values)) : nullptr;
    *log_det = moved ? new at::Tensor(std::move(moved->log_det)) : nullptr;
  });
}

// Chooses the loops (gen_native::Instructions). `possible` is false if the processor does not have the instructions.
char* gn_use_instructions(int which, bool* possible) {
  return guarded([&] { *possible = gen_native::use_instructions(static_cast<gen_native::Instructions>(which)); });
}

// False if GEN_INSTRUCTIONS is invalid: operations report the error.
bool gn_has_bfloat16() {
  bool has = false;
  gn_free(guarded([&] { has = gen_native::has_bfloat16(); }));
  return has;
}

// Makes `results` the outputs of a node with the caller's gradient. The caller owns the tensors in `out`.
char* gn_with_gradient(at::Tensor* const* inputs, size_t n, at::Tensor* const* results, size_t m,
                       gen_native::Backward backward, gen_native::Drop drop, void* data, at::Tensor** out) {
  return guarded([&] {
    const auto connected = gen_native::with_gradient(tensors(inputs, n), tensors(results, m), backward, drop, data);
    for (size_t i = 0; i < m; ++i) out[i] = new at::Tensor(connected[i]);
  });
}

// Opens a level of forward-mode derivatives (gen_native::enter_level).
char* gn_enter_level(uint64_t* level) {
  return guarded([&] { *level = gen_native::enter_level(); });
}

// Closes a level from gn_enter_level.
char* gn_leave_level(uint64_t level) {
  return guarded([&] { gen_native::leave_level(level); });
}

// A value with a tangent (gen_native::with_tangent).
char* gn_with_tangent(const at::Tensor* value, const at::Tensor* tangent, uint64_t level, at::Tensor** out) {
  return guarded([&] { *out = new at::Tensor(gen_native::with_tangent(*value, *tangent, level)); });
}

// A value and its tangent (gen_native::value_and_tangent).
char* gn_value_and_tangent(const at::Tensor* x, uint64_t level, at::Tensor** value, at::Tensor** tangent) {
  return guarded([&] {
    auto [a, b] = gen_native::value_and_tangent(*x, level);
    *value = new at::Tensor(std::move(a));
    *tangent = new at::Tensor(std::move(b));
  });
}

// The log-mass of bytes under a logistic distribution (gen_native::likelihood::discretised_logistic), or null where
// that returns nothing.
char* gn_discretised_logistic(const at::Tensor* mean, const at::Tensor* log_scale, const at::Tensor* x, double half,
                              at::Tensor** out) {
  return guarded([&] {
    auto found = gen_native::likelihood::discretised_logistic(*mean, *log_scale, *x, half);
    *out = found ? new at::Tensor(std::move(*found)) : nullptr;
  });
}

}  // extern "C"
