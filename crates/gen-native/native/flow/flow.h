// What normalizing flows do to feature maps and points besides convolutions, each in one pass over memory, forward and
// backward, on a processor in single and in double precision. Anything else is left to libtorch.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <vector>

namespace gen_native::flow {

// The channels of `x: [rows, channels, ...]` up to `at`, and the others: views. Their gradients are put together in the
// layout of `x`.
std::array<at::Tensor, 2> split_channels(const at::Tensor& x, int64_t at);

// The channels of both, in the layout of the first.
at::Tensor join_channels(const at::Tensor& a, const at::Tensor& b);

struct Moved {
  at::Tensor values;
  at::Tensor log_det;  // [rows]
};

// The affine coupling of channels that stay the `same`, if there are any, and of the `rest`, which `parameters` (a, t)
// move to rest exp(s) + t, or back, to (rest - t) exp(-s); s = a, or s = bound tanh(a). `same_first` says which of the
// two comes first in the result.
Moved affine_coupling(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
                      const std::optional<at::Tensor>& bound, bool same_first, bool inverse);

// A monotone rational-quadratic spline of [low, high] onto itself, and how raw numbers become widths, heights and
// slopes of its bins (Knots of kernels.h).
struct SplineShape {
  int64_t bins;
  double low, high;
  bool soft;  // soft clips by `slope`, or floors
  double width, height, slope;
  bool free;  // slopes at the ends are parameters, and it goes on straight; or 1, and the identity

  int64_t parameters() const { return 3 * bins + (free ? 1 : -1); }
};

// Refuses a shape that no spline has.
void check_spline(const SplineShape& shape);

// The image of each value of `rest` and the log of each slope, in the shape of `rest`; or, if `summed`, joined with
// what stays the `same` and the log-determinants of rows, as in an affine coupling. The parameters are P blocks of as
// many channels as `rest` has.
Moved spline(const std::optional<at::Tensor>& same, const at::Tensor& rest, const at::Tensor& parameters,
             const SplineShape& shape, bool same_first, bool inverse, bool summed);

// The same map of libtorch's operations, without a check: {image, log of each slope}.
std::array<at::Tensor, 2> composed_spline(const at::Tensor& x, const at::Tensor& parameters, const SplineShape& shape,
                                          bool inverse);

// The parameters of a channel-wise affine map, y = W (exp(scale) x + shift) with W = P L (U + diag(sign
// exp(diagonal))), as those of one 1 x 1 convolution; with `inverse`, of the map back.
struct Mixing {
  at::Tensor weight;   // [channels, channels]
  at::Tensor bias;     // [channels]
  at::Tensor log_det;  // of one pixel, a scalar
};

struct Factors {
  at::Tensor scale, shift;            // [channels]
  at::Tensor lower, upper, diagonal;  // [channels, channels] twice, [channels]
  at::Tensor permutation, sign;       // [channels, channels], [channels]; constants
};

Mixing mixing(const Factors& factors, bool inverse);

// Linear layers, weights and biases in turn, with max(0, x) between them.
at::Tensor perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers);

// The same with weights that are each multiplied by a mask, which has no gradient.
at::Tensor masked_perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers,
                             const std::vector<at::Tensor>& masks);

// Which degree each value has, a permutation of 1, ..., and each unit of each hidden layer, from 0 to one less than
// there are values. A unit sees what has at most its degree, and the parameters of a value see what has less than its.
struct Degrees {
  std::vector<int64_t> inputs;
  std::vector<std::vector<int64_t>> hidden;
};

// x with y = tau(x; network(context, x)) and the log-determinants of this map of y, without gradients: tau is the
// affine map of a coupling, or a spline. Nothing where the loops do not take the tensors: the caller has its own way.
std::optional<Moved> autoregressive_inverse(const at::Tensor& y, const std::optional<at::Tensor>& context,
                                            const std::vector<at::Tensor>& layers, const Degrees& degrees,
                                            const std::optional<at::Tensor>& bound,
                                            const std::optional<SplineShape>& shape);

}  // namespace gen_native::flow
