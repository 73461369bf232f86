#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The same of libtorch's operations.
variable_list composed(const variable_list& inputs, bool same_first, bool inverse) {
  const at::Tensor &same = inputs[0], &rest = inputs[1];
  const std::vector<at::Tensor> parameters = inputs[2].chunk(2, 1);
  at::Tensor s = inputs[3].defined() ? parameters[0].tanh() * inputs[3].reshape({}) : parameters[0];
  at::Tensor moved;
  if (inverse) {
    s = -s;
    moved = (rest - parameters[1]) * s.exp();
  } else {
    moved = at::addcmul(parameters[1], rest, s.exp());
  }
  const at::Tensor log_det = s.flatten(1).sum(1);
  if (!same.defined()) return {moved, log_det};
  return {join_channels(same_first ? same : moved, same_first ? moved : same), log_det};
}

template <typename T>
Affine<T> call(const at::Tensor& rest, const at::Tensor& parameters, const at::Tensor& bound, bool inverse) {
  return {map_of<const T>(rest),
          map_of<const T>(parameters),
          bound.defined() ? bound.const_data_ptr<T>() : nullptr,
          rest.size(0),
          rest.size(1),
          pixels_of(rest),
          inverse};
}

// Blocks of rows, several together if they have little to do.
template <typename F>
void each_block(int64_t lanes, const at::Tensor& rest, const F& body) {
  const int64_t work = lanes * std::max<int64_t>(1, rest.size(1) * pixels_of(rest));
  at::parallel_for(0, (rest.size(0) + lanes - 1) / lanes, std::max<int64_t>(1, 16384 / work), body);
}

struct Coupling : torch::autograd::Function<Coupling> {
  static variable_list forward(AutogradContext* context, const std::optional<at::Tensor>& same, const at::Tensor& rest,
                               const at::Tensor& parameters, const std::optional<at::Tensor>& bound, bool same_first,
                               bool inverse, Instructions which) {
    const at::Tensor limit = bound.value_or(at::Tensor());
    keep(*context, {same.value_or(at::Tensor()), rest, parameters, limit}, which);
    context->saved_data["same_first"] = same_first;
    context->saved_data["inverse"] = inverse;
    const int64_t kept = same ? same->size(1) : 0, moved = rest.size(1);
    std::vector<int64_t> sizes = rest.sizes().vec();
    sizes[1] += kept;
    const at::Tensor from = with_pixels(rest), by = with_pixels(parameters);
    const at::Tensor out = empty_map(sizes, rows_innermost(by) || rows_innermost(from), rest.options());
    const at::Tensor log_det = at::empty({rest.size(0)}, rest.options());
    if (same) out.narrow(1, same_first ? 0 : moved, kept).copy_(*same);
    AT_DISPATCH_FLOATING_TYPES(rest.scalar_type(), "affine_coupling", [&] {
      const auto to = map_of<scalar_t>(out.narrow(1, same_first ? kept : 0, moved));
      const auto affine = call<scalar_t>(from, by, limit, inverse);
      auto* const sums = log_det.mutable_data_ptr<scalar_t>();
      const Kernels<scalar_t>& loops = kernels<scalar_t>(which);
      each_block(loops.lanes, rest, [&](int64_t begin, int64_t end) { loops.affine(affine, to, sums, begin, end); });
    });
    return {out, log_det};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const bool same_first = context->saved_data["same_first"].toBool();
    const bool inverse = context->saved_data["inverse"].toBool();
    const at::Tensor &same = saved[0], &rest = saved[1], &parameters = saved[2], &bound = saved[3];
    const int64_t kept = same.defined() ? same.size(1) : 0, moved = rest.size(1);
    variable_list results(7);
    if (is_differentiated(gradients)) {
      const variable_list found = differentiable_gradients(
          saved, gradients, [&](const variable_list& inputs) { return composed(inputs, same_first, inverse); });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    const at::Tensor gradient = gradient_with_pixels(gradients[0]), of_log_det = as_memory(gradients[1]);
    if (same.defined()) results[0] = gradient.narrow(1, same_first ? 0 : moved, kept);
    const at::Tensor of_moved = gradient.narrow(1, same_first ? kept : 0, moved);
    const at::Tensor from = with_pixels(rest), by = with_pixels(parameters);
    const bool rows = rows_innermost(by) || rows_innermost(from);
    results[1] = empty_map(rest.sizes(), rows, rest.options());
    results[2] = by.is_non_overlapping_and_dense() ? at::empty_like(by) : empty_map(by.sizes(), rows, by.options());
    at::Tensor of_bound;
    if (bound.defined()) of_bound = at::empty({rest.size(0)}, rest.options());
    AT_DISPATCH_FLOATING_TYPES(rest.scalar_type(), "affine_coupling", [&] {
      const auto affine = call<scalar_t>(from, by, bound, inverse);
      const AffineGradients<scalar_t> d{map_of<const scalar_t>(of_moved),
                                        of_log_det.const_data_ptr<scalar_t>(),
                                        of_log_det.stride(0),
                                        map_of<scalar_t>(results[1]),
                                        map_of<scalar_t>(results[2]),
                                        bound.defined() ? of_bound.mutable_data_ptr<scalar_t>() : nullptr};
      const Kernels<scalar_t>& loops = kernels<scalar_t>(recalled_instructions(*context));
      each_block(loops.lanes, rest, [&](int64_t begin, int64_t end) { loops.affine_backward(affine, d, begin, end); });
    });
    if (bound.defined()) results[3] = of_bound.sum().view(bound.sizes());
    return results;
  }
};

}  // namespace

Moved affine_coupling(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
                      const std::optional<at::Tensor>& bound, bool same_first, bool inverse) {
  check_operands(rest, parameters, same, bound);
  check_coupled(same, rest, parameters, 2);
  TORCH_CHECK(!bound || bound->numel() == 1, "a bound ", bound->sizes(), "; it is one number");
  const Instructions which = instructions();
  const variable_list results =
      done_here(which, {rest, same.value_or(rest), parameters, bound.value_or(rest)}) &&
              !have_tangents(rest, same, parameters, bound)
          ? Coupling::apply(same, rest, parameters, bound, same_first, inverse, which)
          : composed({same.value_or(at::Tensor()), rest, parameters, bound.value_or(at::Tensor())}, same_first,
                     inverse);
  return {results[0], results[1]};
}

}  // namespace gen_native::flow
