#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>
#include <c10/core/GradMode.h>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A shift as a map of one row.
template <typename T>
Map<T> of_one_row(const at::Tensor& shift) {
  return map_of<T>(shift.unsqueeze(0));
}

template <typename T>
ShiftedRelu<T> call(const at::Tensor& x, const at::Tensor& shift) {
  return {map_of<const T>(x), of_one_row<const T>(shift), x.size(0), x.size(1), x.size(2) * x.size(3)};
}

template <typename F>
void each_pixel(const at::Tensor& x, const F& body) {
  const int64_t work = std::max<int64_t>(1, x.size(0) * x.size(1));
  at::parallel_for(0, x.size(2) * x.size(3), std::max<int64_t>(1, 32768 / work), body);
}

struct Relu : torch::autograd::Function<Relu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& shift,
                            Instructions which) {
    const at::Tensor from = with_pixels(x), by = shift.contiguous();
    const at::Tensor out = empty_map(x.sizes(), rows_innermost(from), x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "shifted_relu", [&] {
      const auto relu = call<scalar_t>(from, by);
      const auto to = map_of<scalar_t>(out);
      const Kernels<scalar_t>& loops = kernels<scalar_t>(which);
      each_pixel(x, [&](int64_t begin, int64_t end) { loops.shifted_relu(relu, to, begin, end); });
    });
    keep(*context, {x, shift, out}, which);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const at::Tensor &x = saved[0], &shift = saved[1], &out = saved[2];
    if (c10::GradMode::is_enabled()) {
      variable_list found = differentiable_gradients({x, shift}, gradients, [](const variable_list& inputs) {
        return variable_list{at::relu(inputs[0] + inputs[1])};
      });
      found.resize(3);
      return found;
    }
    const at::Tensor gradient = gradient_with_pixels(gradients[0]);
    const at::Tensor of_x = at::empty_like(out), of_shift = at::empty_like(shift, at::MemoryFormat::Contiguous);
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "shifted_relu", [&] {
      const auto relu = call<scalar_t>(out, of_shift);
      const auto slope = map_of<const scalar_t>(gradient);
      const auto to = map_of<scalar_t>(of_x), sums = of_one_row<scalar_t>(of_shift);
      const Kernels<scalar_t>& loops = kernels<scalar_t>(recalled_instructions(*context));
      each_pixel(out,
                 [&](int64_t begin, int64_t end) { loops.shifted_relu_backward(relu, slope, to, sums, begin, end); });
    });
    return {of_x, of_shift, at::Tensor()};
  }
};

}  // namespace

at::Tensor shifted_relu(const at::Tensor& x, const at::Tensor& shift) {
  check_operands(x, shift);
  TORCH_CHECK(x.dim() == 4 && shift.sizes() == x.sizes().slice(1), "a shift ", shift.sizes(), " for ", x.sizes());
  const Instructions which = instructions();
  if (!done_here(which, {x, shift})) return at::relu(x + shift);
  return Relu::apply(x, shift, which);
}

}  // namespace gen_native::flow
