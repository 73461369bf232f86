// What normalizing flows do to feature maps and points besides convolutions, each in one pass over memory, forward and
// backward, on a processor in single and in double precision. Anything else is left to libtorch.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>

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

// The affine coupling of channels that stay the `same` and of the `rest`, which `parameters` (a, t) move to
// rest exp(s) + t, or back, to (rest - t) exp(-s); s = a, or s = bound tanh(a). `same_first` says which of the two comes
// first in the result.
Moved affine_coupling(const at::Tensor& same, const at::Tensor& rest, const at::Tensor& parameters,
                      const std::optional<at::Tensor>& bound, bool same_first, bool inverse);

// max(0, x + shift) for `x: [rows, channels, height, width]` and a shift of each of [channels, height, width].
at::Tensor shifted_relu(const at::Tensor& x, const at::Tensor& shift);

// The parameters of a channel-wise affine map, y = W (exp(scale) x + shift) with W = P L (U + diag(sign exp(diagonal))),
// as those of one 1 x 1 convolution; with `inverse`, of the map back.
struct Mixing {
  at::Tensor weight;   // [channels, channels]
  at::Tensor bias;     // [channels]
  at::Tensor log_det;  // of one pixel, a scalar
};

struct Factors {
  at::Tensor scale, shift;                 // [channels]
  at::Tensor lower, upper, diagonal;       // [channels, channels] twice, [channels]
  at::Tensor permutation, sign;            // [channels, channels], [channels]; constants
};

Mixing mixing(const Factors& factors, bool inverse);

// Linear layers, weights and biases in turn, with max(0, x) between them.
at::Tensor perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers);

}  // namespace gen_native::flow
