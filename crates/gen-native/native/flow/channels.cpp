// Splitting and joining along the channels.

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/cat.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Views that autograd does not know to be views: the gradient goes through the function that made them.
std::array<at::Tensor, 2> views(const at::Tensor& x, int64_t at) {
  at::AutoDispatchBelowADInplaceOrView untracked;
  std::array<at::Tensor, 2> parts{x.narrow(1, 0, at), x.narrow(1, at, x.size(1) - at)};
  // The memory is shared, and so is the count of its changes.
  if (!x.is_inference()) {
    for (const at::Tensor& part : parts) {
      torch::autograd::impl::set_version_counter(part, torch::autograd::impl::version_counter(x));
    }
  }
  return parts;
}

at::Tensor joined(const at::Tensor& a, const at::Tensor& b) {
  std::vector<int64_t> sizes = a.sizes().vec();
  sizes[1] += b.size(1);
  const at::Tensor out = empty_map(sizes, rows_innermost(a) || rows_innermost(b), a.options());
  out.narrow(1, 0, a.size(1)).copy_(a);
  out.narrow(1, a.size(1), b.size(1)).copy_(b);
  return out;
}

struct Split : torch::autograd::Function<Split> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, int64_t at) {
    const auto [a, b] = views(x, at);
    keep(*context, {x}, instructions());
    return {a, b};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // Who changes the parts or the whole in place has to be told: the gradients of neither would count it.
    recalled(*context);
    return {join_channels(gradients[0], gradients[1]), at::Tensor()};
  }
};

struct Join : torch::autograd::Function<Join> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& a, const at::Tensor& b) {
    context->saved_data["at"] = a.size(1);
    return joined(a, b);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto [a, b] = split_channels(gradients[0], context->saved_data["at"].toInt());
    return {a, b};
  }
};

}  // namespace

std::array<at::Tensor, 2> split_channels(const at::Tensor& x, int64_t at) {
  check_operands(x);
  TORCH_CHECK(x.dim() >= 2 && at >= 0 && at <= x.size(1), "channels cannot be split at ", at, " of ", x.sizes());
  if (!x.requires_grad() || !at::GradMode::is_enabled() || has_tangent(x)) {
    return {x.narrow(1, 0, at), x.narrow(1, at, x.size(1) - at)};
  }
  const variable_list parts = Split::apply(x, at);
  return {parts[0], parts[1]};
}

at::Tensor join_channels(const at::Tensor& a, const at::Tensor& b) {
  check_operands(a, b);
  const bool fits =
      a.dim() >= 2 && a.dim() == b.dim() && a.size(0) == b.size(0) && a.sizes().slice(2) == b.sizes().slice(2);
  TORCH_CHECK(fits, "what is joined differs in its channels only, found ", a.sizes(), " and ", b.sizes());
  if (a.scalar_type() != b.scalar_type() || !(rows_innermost(a) || rows_innermost(b))) return at::cat({a, b}, 1);
  if (have_tangents(a, b)) {
    return linear_with_tangent({a, b}, [](const variable_list& parts) { return join_channels(parts[0], parts[1]); });
  }
  return Join::apply(a, b);
}

}  // namespace gen_native::flow
