// Splines of libtorch's operations.

#include <ATen/ops/cat.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/result_type.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

// Widths or heights: [batch, K, n, ...].
at::Tensor sizes_of(const at::Tensor& raw, const SplineShape& shape, double floor) {
  const double length = shape.high - shape.low;
  if (shape.soft) return at::softmax(raw / (1 + raw.abs() * (2 / -std::log(shape.slope))), 1) * length;
  return at::softmax(raw, 1) * (length * (1 - floor * static_cast<double>(shape.bins))) + floor * length;
}

at::Tensor slopes_of(const at::Tensor& raw, const SplineShape& shape) {
  if (shape.soft) return (raw / (1 + raw.abs() / -std::log(shape.slope))).exp();
  // Not the one with a threshold: ln(1 + e^x) to the last digit.
  return raw.clamp_min(0) + (-raw.abs()).exp().log1p() + shape.slope;
}

}  // namespace

std::array<at::Tensor, 2> composed_spline(const at::Tensor& points, const at::Tensor& raw_parameters,
                                          const SplineShape& shape, bool inverse) {
  // A knot is a sum of sizes. Half precision would leave no digit of the size of a narrow bin.
  const at::ScalarType kind = at::result_type(points, raw_parameters);
  const at::ScalarType exact = at::isReducedFloatingType(kind) ? at::kFloat : kind;
  const at::Tensor x = points.to(exact), parameters = raw_parameters.to(exact);
  const int64_t bins = shape.bins;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.insert(sizes.begin() + 1, shape.parameters());
  const at::Tensor raw = parameters.reshape(sizes);
  const at::Tensor widths = sizes_of(raw.narrow(1, 0, bins), shape, shape.width);
  const at::Tensor heights = sizes_of(raw.narrow(1, bins, bins), shape, shape.height);
  at::Tensor slopes = slopes_of(raw.narrow(1, 2 * bins, raw.size(1) - 2 * bins), shape);
  const at::Tensor zero = at::zeros_like(widths.narrow(1, 0, 1));
  if (!shape.free) slopes = at::cat({zero + 1, slopes, zero + 1}, 1);
  // From the centre of the interval, as in spline.inc.
  const double centre = (shape.low + shape.high) / 2, start = shape.low - centre;
  const at::Tensor x_knots = at::cat({zero, widths.cumsum(1).narrow(1, 0, bins - 1)}, 1) + start;
  const at::Tensor y_knots = at::cat({zero, heights.cumsum(1).narrow(1, 0, bins - 1)}, 1) + start;

  const at::Tensor below = x <= shape.low, above = x >= shape.high;
  const at::Tensor inside = x.clamp(shape.low, shape.high).unsqueeze(1) - centre;
  const at::Tensor knots = inverse ? y_knots : x_knots;
  const at::Tensor bin = (inside >= knots.narrow(1, 1, bins - 1)).sum(1, /*keepdim=*/true);
  const auto at_bin = [&](const at::Tensor& all, int64_t offset) {
    return at::gather(all, 1, bin + offset).squeeze(1);
  };
  const at::Tensor x0 = at_bin(x_knots, 0), y0 = at_bin(y_knots, 0), w = at_bin(widths, 0), h = at_bin(heights, 0);
  const at::Tensor d0 = at_bin(slopes, 0), d1 = at_bin(slopes, 1);
  const at::Tensor s = h / w, excess = d0 + d1 - 2 * s;
  at::Tensor xi = ((inside.squeeze(1) - (inverse ? y0 : x0)) / (inverse ? h : w)).clamp(0, 1);
  if (inverse) {
    const at::Tensor far = xi > 0.5;
    const at::Tensor eta = at::where(far, 1 - xi, xi);
    const at::Tensor b = at::where(far, d1, d0) - eta * excess, a = s - b, c = 2 * s * eta;
    const at::Tensor root = (b * b + 2 * a * c).sqrt();
    const at::Tensor direct = b >= 0;
    xi = at::where(direct, c, root - b) / at::where(direct, b + root, 2 * a);
    xi = at::where(far, 1 - xi, xi);
  }
  const at::Tensor rest = 1 - xi, product = xi * rest;
  const at::Tensor denominator = s + excess * product;
  const at::Tensor slope = (s / denominator).square() * (d1 * xi * xi + 2 * s * product + d0 * rest * rest);
  const at::Tensor image = inverse ? x0 + w * xi : y0 + h * ((s * xi * xi + d0 * product) / denominator);
  at::Tensor y = centre + image, log_slope = inverse ? -slope.log() : slope.log();
  if (shape.free) {
    const at::Tensor low = at::where(below, x - shape.low, 0), high = at::where(above, x - shape.high, 0);
    y = at::where(below, shape.low + (inverse ? low / d0 : low * d0), y);
    y = at::where(above, shape.high + (inverse ? high / d1 : high * d1), y);
  } else {
    const at::Tensor outside = below.logical_or(above);
    y = at::where(outside, x, y);
    log_slope = at::where(outside, 0, log_slope);
  }
  return {y.to(kind), log_slope.to(kind)};
}

}  // namespace gen_native::flow
