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

// y = max(0, x + shift), with a shift for each channel and pixel.
template <typename T>
struct ShiftedRelu {
  Map<const T> in;
  Map<const T> shift;
  int64_t rows, channels, pixels;
};

template <typename T>
struct Kernels {
  // Rows that are done together; the work is divided between threads in such blocks.
  int64_t lanes;
  // The blocks of rows from `begin` to `end`; `log_det` is a number for each row.
  void (*affine)(const Affine<T>&, Map<T> out, T* log_det, int64_t begin, int64_t end);
  void (*affine_backward)(const Affine<T>&, const AffineGradients<T>&, int64_t begin, int64_t end);
  // The pixels from `begin` to `end`.
  void (*shifted_relu)(const ShiftedRelu<T>&, Map<T> out, int64_t begin, int64_t end);
  // From the output and its gradient to those of the input and of the shift.
  void (*shifted_relu_backward)(const ShiftedRelu<T>& out, Map<const T> gradient, Map<T> in, Map<T> shift, int64_t begin,
                                int64_t end);
};

const Kernels<float>* portable(float);
const Kernels<double>* portable(double);
const Kernels<float>* avx2(float);
const Kernels<double>* avx2(double);
const Kernels<float>* avx512(float);
const Kernels<double>* avx512(double);

}  // namespace gen_native::flow
