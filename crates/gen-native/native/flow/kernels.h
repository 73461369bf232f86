// The inner loops of normalizing flows, compiled once for each set of instructions.
//
// A vector holds one value of many rows of a batch. That makes the log-determinant of each row a sum that never leaves
// its lane, whatever the layout of the rest.

#pragma once

#include <cstdint>

namespace gen_native::flow {

// Values [row][channel][pixel] and how far it is from one to the next.
template <typename T>
struct Map {
  T* data;
  int64_t row, channel, pixel;
};

// y = x exp(s) + t, or x = (y - t) exp(-s), where s = a, or s = bound tanh(a), and the parameters are (a, t), a block
// of `channels` for each.
template <typename T>
struct Affine {
  Map<const T> in;
  Map<const T> parameters;
  const T* bound;  // null if s = a
  int64_t rows, channels, pixels;
  bool inverse;
};

// The gradients of `in`, the parameters and the bound, by those of the output and of the log-determinants.
template <typename T>
struct AffineGradients {
  Map<const T> out;
  const T* log_det;
  int64_t log_det_row;
  Map<T> in;
  Map<T> parameters;
  T* bound;  // the part of each row; null if there is no bound
};

// More bins than a spline here has.
constexpr int64_t kMostSplineBins = 64;

// How raw numbers become the widths, heights and slopes of a spline: K widths, K heights, and the slopes at the inner
// knots or, if `free`, at all.
template <typename T>
struct Knots {
  int64_t bins;
  T low, high, centre, length;
  bool free;
  // Sizes and slopes are length softmax(r) and exp(r) with r = raw / (1 + clip |raw|), or
  // floor + (length - K floor) softmax(raw) and floor + softplus(raw).
  bool soft;
  T size_clip, slope_clip;
  T width_floor, height_floor, slope_floor;
  T raw_one;  // the raw number of slope 1

  Knots() = default;
  template <typename Other>
  explicit Knots(const Knots<Other>& k)
      : bins(k.bins), low(k.low), high(k.high), centre(k.centre), length(k.length), free(k.free), soft(k.soft),
        size_clip(k.size_clip), slope_clip(k.slope_clip), width_floor(k.width_floor), height_floor(k.height_floor),
        slope_floor(k.slope_floor), raw_one(k.raw_one) {}
};

// Each value by a spline of its own, parameters in blocks of `channels`; or the map back.
template <typename T>
struct Spline {
  Map<const T> in;
  Map<const T> parameters;
  Knots<double> knots;
  int64_t rows, channels, pixels;
  bool inverse;
  bool summed;  // the log of the slopes, over each row
};

// The gradients of `in` and of the parameters, by those of the output and of the log of each slope.
template <typename T>
struct SplineGradients {
  Map<const T> out;
  Map<const T> log_slope;
  Map<T> in;
  Map<T> parameters;
};

// A linear layer.
template <typename T>
struct DenseLayer {
  const T* weight;  // [outputs, inputs]
  const T* bias;
  int64_t inputs, outputs;
};

// Linear layers with max(0, x) between them, of the channels of rows of one pixel.
template <typename T>
struct Perceptron {
  Map<const T> in;
  int64_t rows;
  const DenseLayer<T>* layers;
  int64_t n_layers;
  int64_t places;      // the inputs of all layers
  int64_t most_units;  // the most that a layer reads or gives
};

// Gradients, by those of the output; what is null is not wanted. Those of parameters, weights and biases in turn, are
// added to `parameters`; the last layer's are in front of its end.
template <typename T>
struct PerceptronGradients {
  const T* saved;  // what the forward pass left in its places
  Map<const T> out;
  Map<T> in;
  T* parameters;
  int64_t n_parameters;
  T* scratch;  // four blocks of the most units, and one of as many places as it has rows
};

// A linear layer of a network in which a unit sees what has a lower degree, or for hidden units the same.
template <typename T>
struct MaskedLayer {
  const T* weight;  // [outputs, inputs]
  const T* bias;
  int64_t inputs;
  const int64_t* order;  // the inputs, by degree
  const int64_t* seen;   // how many have a degree of at most 0, 1, ...
};

// x with y = tau(x; network(context, x)), value by value.
template <typename T>
struct Autoregression {
  Map<const T> in;  // y, and then as many pixels as 1
  Map<const T> context;
  int64_t rows, channels, features;
  const int64_t* order;  // the values by degree, which are 1, 2, ...
  const MaskedLayer<T>* layers;
  int64_t n_layers;    // the last one gives the parameters
  int64_t parameters;  // of each value
  bool spline;
  Knots<double> knots;
  const T* bound;  // of an affine map, as above
};

template <typename T>
struct Kernels {
  // Rows that are done together; the work is divided between threads in such blocks.
  int64_t lanes;
  // The blocks of rows from `begin` to `end`; `log_det` is a number for each row.
  void (*affine)(const Affine<T>&, Map<T> out, T* log_det, int64_t begin, int64_t end);
  void (*affine_backward)(const Affine<T>&, const AffineGradients<T>&, int64_t begin, int64_t end);
  void (*spline)(const Spline<T>&, Map<T> out, Map<T> log_slope, int64_t begin, int64_t end);
  void (*spline_backward)(const Spline<T>&, const SplineGradients<T>&, int64_t begin, int64_t end);
  // Rows that a network does together, and the blocks of as many rows from `begin` to `end`. A place of a block has a
  // number for each of these rows; blocks are aligned to vectors.
  int64_t block_rows;
  // `places` are those of all blocks, a block after the other.
  void (*perceptron)(const Perceptron<T>&, Map<T> out, T* places, int64_t begin, int64_t end);
  void (*perceptron_backward)(const Perceptron<T>&, const PerceptronGradients<T>&, int64_t begin, int64_t end);
  // `scratch` has a place for every input, hidden unit and parameter of one value.
  void (*autoregression)(const Autoregression<T>&, Map<T> out, T* log_det, T* scratch, int64_t begin, int64_t end);
};

const Kernels<float>* portable(float);
const Kernels<double>* portable(double);
const Kernels<float>* avx2(float);
const Kernels<double>* avx2(double);
const Kernels<float>* avx512(float);
const Kernels<double>* avx512(double);

}  // namespace gen_native::flow
