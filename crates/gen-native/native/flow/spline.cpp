#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// How the map is applied.
struct Use {
  bool same_first, inverse, summed;
};

// The same of libtorch's operations.
variable_list composed(const variable_list& inputs, const SplineShape& shape, Use use) {
  const at::Tensor& same = inputs[0];
  auto [moved, log_slope] = composed_spline(inputs[1], inputs[2], shape, use.inverse);
  if (use.summed) log_slope = log_slope.flatten(1).sum(1);
  if (!same.defined()) return {moved, log_slope};
  return {join_channels(use.same_first ? same : moved, use.same_first ? moved : same), log_slope};
}

template <typename T>
Spline<T> call(const at::Tensor& rest, const at::Tensor& parameters, const SplineShape& shape, Use use) {
  return {map_of<const T>(rest), map_of<const T>(parameters),
          knots_of(shape),       rest.size(0),
          rest.size(1),          pixels_of(rest),
          use.inverse,           use.summed};
}

// A number for each value, or one for each row in place of all its values.
template <typename T>
Map<T> map_of_logs(const at::Tensor& logs, bool summed) {
  return map_of<T>(summed ? logs.unsqueeze(1).expand({-1, 2}) : logs);
}

// Blocks of rows, several together if they have little to do.
template <typename F>
void each_block(int64_t lanes, const at::Tensor& rest, const SplineShape& shape, const F& body) {
  const int64_t work = lanes * shape.parameters() * std::max<int64_t>(1, rest.size(1) * pixels_of(rest));
  at::parallel_for(0, (rest.size(0) + lanes - 1) / lanes, std::max<int64_t>(1, 4096 / work), body);
}

struct SplineMap : torch::autograd::Function<SplineMap> {
  static variable_list forward(AutogradContext* context, const std::optional<at::Tensor>& same, const at::Tensor& rest,
                               const at::Tensor& parameters, const SplineShape& shape, Use use, Instructions which) {
    keep(*context, {same.value_or(at::Tensor()), rest, parameters}, which);
    context->saved_data["shape"] = std::vector<double>{static_cast<double>(shape.bins),
                                                       shape.low,
                                                       shape.high,
                                                       shape.soft ? 1. : 0.,
                                                       shape.width,
                                                       shape.height,
                                                       shape.slope,
                                                       shape.free ? 1. : 0.,
                                                       use.same_first ? 1. : 0.,
                                                       use.inverse ? 1. : 0.,
                                                       use.summed ? 1. : 0.};
    const int64_t kept = same ? same->size(1) : 0, moved = rest.size(1);
    std::vector<int64_t> sizes = rest.sizes().vec();
    sizes[1] += kept;
    const at::Tensor from = with_pixels(rest), by = with_pixels(parameters);
    const bool rows = rows_innermost(by) || rows_innermost(from);
    const at::Tensor out = empty_map(sizes, rows, rest.options());
    const at::Tensor logs =
        use.summed ? at::empty({rest.size(0)}, rest.options()) : empty_map(rest.sizes(), rows, rest.options());
    if (same) out.narrow(1, use.same_first ? 0 : moved, kept).copy_(*same);
    AT_DISPATCH_FLOATING_TYPES(rest.scalar_type(), "spline", [&] {
      const auto to = map_of<scalar_t>(out.narrow(1, use.same_first ? kept : 0, moved));
      const auto to_logs = map_of_logs<scalar_t>(logs, use.summed);
      const auto spline = call<scalar_t>(from, by, shape, use);
      const Kernels<scalar_t>& loops = kernels<scalar_t>(which);
      each_block(loops.lanes, rest, shape,
                 [&](int64_t begin, int64_t end) { loops.spline(spline, to, to_logs, begin, end); });
    });
    return {out, logs};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const std::vector<double> n = context->saved_data["shape"].toDoubleVector();
    const SplineShape shape{static_cast<int64_t>(n[0]), n[1], n[2], n[3] != 0, n[4], n[5], n[6], n[7] != 0};
    const Use use{n[8] != 0, n[9] != 0, n[10] != 0};
    const at::Tensor &same = saved[0], &rest = saved[1], &parameters = saved[2];
    const int64_t kept = same.defined() ? same.size(1) : 0, moved = rest.size(1);
    variable_list results(6);
    if (is_differentiated(gradients)) {
      const variable_list found = differentiable_gradients(
          saved, gradients, [&](const variable_list& inputs) { return composed(inputs, shape, use); });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    const at::Tensor gradient = gradient_with_pixels(gradients[0]);
    const at::Tensor of_logs = use.summed ? as_memory(gradients[1]) : gradient_with_pixels(gradients[1]);
    if (same.defined()) results[0] = gradient.narrow(1, use.same_first ? 0 : moved, kept);
    const at::Tensor of_moved = gradient.narrow(1, use.same_first ? kept : 0, moved);
    const at::Tensor from = with_pixels(rest), by = with_pixels(parameters);
    const bool rows = rows_innermost(by) || rows_innermost(from);
    results[1] = empty_map(rest.sizes(), rows, rest.options());
    results[2] = by.is_non_overlapping_and_dense() ? at::empty_like(by) : empty_map(by.sizes(), rows, by.options());
    AT_DISPATCH_FLOATING_TYPES(rest.scalar_type(), "spline", [&] {
      const auto spline = call<scalar_t>(from, by, shape, use);
      const SplineGradients<scalar_t> d{map_of<const scalar_t>(of_moved),
                                        map_of_logs<const scalar_t>(of_logs, use.summed), map_of<scalar_t>(results[1]),
                                        map_of<scalar_t>(results[2])};
      const Kernels<scalar_t>& loops = kernels<scalar_t>(recalled_instructions(*context));
      each_block(loops.lanes, rest, shape,
                 [&](int64_t begin, int64_t end) { loops.spline_backward(spline, d, begin, end); });
    });
    return results;
  }
};

}  // namespace

Knots<double> knots_of(const SplineShape& shape) {
  Knots<double> knots{};
  knots.bins = shape.bins;
  knots.low = shape.low;
  knots.high = shape.high;
  knots.centre = (shape.low + shape.high) / 2;
  knots.length = shape.high - shape.low;
  knots.free = shape.free;
  knots.soft = shape.soft;
  if (shape.soft) {
    knots.slope_clip = 1 / -std::log(shape.slope);
    knots.size_clip = 2 * knots.slope_clip;
  } else {
    knots.width_floor = shape.width * (shape.high - shape.low);
    knots.height_floor = shape.height * (shape.high - shape.low);
    knots.slope_floor = shape.slope;
    knots.raw_one = std::log(std::expm1(1 - shape.slope));
  }
  return knots;
}

void check_spline(const SplineShape& shape) {
  constexpr double kLeast = 1e-5;
  const double bins = static_cast<double>(shape.bins);
  TORCH_CHECK(shape.bins >= 1 && shape.bins <= kMostSplineBins, "a spline of ", shape.bins, " bins; it has 1 to ",
              kMostSplineBins);
  TORCH_CHECK(std::isfinite(shape.low) && std::isfinite(shape.high) && shape.low < shape.high, "a spline from ",
              shape.low, " to ", shape.high, "; its interval has a length");
  TORCH_CHECK(shape.slope >= kLeast && shape.slope < 1, "a least slope of ", shape.slope, "; it is from ", kLeast,
              " to below 1");
  if (shape.soft) return;
  for (const double size : {shape.width, shape.height}) {
    TORCH_CHECK(size >= kLeast && size * bins < 1, "a least size of ", size, " for ", shape.bins,
                " bins; it is at least ", kLeast, ", and all together are less than 1");
  }
}

Moved spline(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
             const SplineShape& shape, bool same_first, bool inverse, bool summed) {
  check_spline(shape);
  check_operands(rest, parameters, same);
  check_coupled(same, rest, parameters, shape.parameters());
  const Use use{same_first, inverse, summed};
  const Instructions which = instructions();
  const bool here = done_here(which, {rest, same.value_or(rest), parameters}) && !have_tangents(rest, same, parameters);
  const variable_list results = here ? SplineMap::apply(same, rest, parameters, shape, use, which)
                                     : composed({same.value_or(at::Tensor()), rest, parameters}, shape, use);
  return {results[0], results[1]};
}

}  // namespace gen_native::flow
