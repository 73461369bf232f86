#include <ATen/Dispatch.h>
#include <ATen/ops/diag_embed.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve_triangular.h>

#include <algorithm>
#include <cmath>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum : size_t { kScale, kShift, kLower, kUpper, kDiagonal, kPermutation, kSign, kFactors };

// The same of libtorch's operations.
variable_list composed(const variable_list& f, bool inverse) {
  // Constants, whatever the caller holds.
  const at::Tensor permutation = f[kPermutation].detach(), sign = f[kSign].detach();
  const at::Tensor identity = at::eye(f[kLower].size(0), f[kLower].options());
  const at::Tensor lower = f[kLower].tril(-1) + identity;
  const at::Tensor upper = f[kUpper].triu(1) + at::diag_embed(sign * f[kDiagonal].exp());
  const at::Tensor log_det = f[kDiagonal].sum() + f[kScale].sum();
  if (!inverse) {
    const at::Tensor weight = permutation.matmul(lower).matmul(upper);
    return {weight * f[kScale].exp(), weight.mv(f[kShift]), log_det};
  }
  at::Tensor weight = at::linalg_solve_triangular(lower, permutation.t(), /*upper=*/false, true, true);
  weight = at::linalg_solve_triangular(upper, weight, /*upper=*/true, true, false);
  const at::Tensor scale = (-f[kScale]).exp();
  return {weight * scale.unsqueeze(1), -f[kShift] * scale, -log_det};
}

// A small square matrix, or a vector, in double precision.
struct Matrix {
  int64_t n;
  std::vector<double> values;

  explicit Matrix(int64_t n, int64_t columns = 1) : n(n), values(n * columns, 0.0) {}

  explicit Matrix(const at::Tensor& from) : n(from.size(0)), values(from.numel()) {
    const at::Tensor dense = as_memory(from).contiguous();
    AT_DISPATCH_FLOATING_TYPES(dense.scalar_type(), "mixing", [&] {
      const auto* const data = dense.const_data_ptr<scalar_t>();
      std::copy(data, data + values.size(), values.begin());
    });
  }

  double& at(int64_t i, int64_t j) { return values[i * n + j]; }
  double at(int64_t i, int64_t j) const { return values[i * n + j]; }
  double& operator[](int64_t i) { return values[i]; }
  double operator[](int64_t i) const { return values[i]; }

  at::Tensor tensor(at::IntArrayRef sizes, const at::TensorOptions& options) const {
    at::Tensor out = at::empty(sizes, options);
    AT_DISPATCH_FLOATING_TYPES(out.scalar_type(), "mixing",
                               [&] { std::copy(values.begin(), values.end(), out.mutable_data_ptr<scalar_t>()); });
    return out;
  }
};

Matrix transposed(const Matrix& a) {
  Matrix out(a.n, a.n);
  for (int64_t i = 0; i < a.n; ++i) {
    for (int64_t j = 0; j < a.n; ++j) out.at(j, i) = a.at(i, j);
  }
  return out;
}

Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix out(a.n, a.n);
  for (int64_t i = 0; i < a.n; ++i) {
    for (int64_t k = 0; k < a.n; ++k) {
      const double factor = a.at(i, k);
      if (factor == 0) continue;
      for (int64_t j = 0; j < a.n; ++j) out.at(i, j) += factor * b.at(k, j);
    }
  }
  return out;
}

// What the factors stand for: y = W (scale x + shift), W = P L U.
struct Assembled {
  Matrix permutation, lower, upper, scale, shift, weight;
  double log_det = 0;

  explicit Assembled(const variable_list& f)
      : permutation(f[kPermutation]), lower(f[kLower]), upper(f[kUpper]), scale(f[kScale]), shift(f[kShift]),
        weight(0) {
    const Matrix diagonal(f[kDiagonal]), sign(f[kSign]);
    for (int64_t i = 0; i < lower.n; ++i) {
      log_det += diagonal[i] + scale[i];
      scale[i] = std::exp(scale[i]);
      for (int64_t j = 0; j < lower.n; ++j) {
        if (j >= i) lower.at(i, j) = i == j ? 1 : 0;
        if (j <= i) upper.at(i, j) = i == j ? sign[i] * std::exp(diagonal[i]) : 0;
      }
    }
    weight = permutation * lower * upper;
  }

  int64_t n() const { return lower.n; }

  // The matrix of the way back, (W diag(scale))⁻¹, by two substitutions.
  Matrix back() const {
    Matrix out = transposed(permutation);
    for (int64_t i = 0; i < n(); ++i) {
      for (int64_t k = 0; k < i; ++k) {
        for (int64_t j = 0; j < n(); ++j) out.at(i, j) -= lower.at(i, k) * out.at(k, j);
      }
    }
    for (int64_t i = n(); i-- > 0;) {
      for (int64_t k = i + 1; k < n(); ++k) {
        for (int64_t j = 0; j < n(); ++j) out.at(i, j) -= upper.at(i, k) * out.at(k, j);
      }
      for (int64_t j = 0; j < n(); ++j) out.at(i, j) /= upper.at(i, i);
    }
    for (int64_t i = 0; i < n(); ++i) {
      for (int64_t j = 0; j < n(); ++j) out.at(i, j) /= scale[i];
    }
    return out;
  }
};

// From the gradients of the way back, x = A y + c with A = V⁻¹ and c = -A b, to those of y = V x + b.
void turn_round(const Assembled& a, Matrix& of_weight, Matrix& of_bias) {
  const int64_t n = a.n();
  const Matrix back = transposed(a.back());
  for (int64_t i = 0; i < n; ++i) {
    double bias = 0;
    for (int64_t j = 0; j < n; ++j) bias += a.weight.at(i, j) * a.shift[j];
    for (int64_t j = 0; j < n; ++j) of_weight.at(j, i) -= of_bias[j] * bias;
  }
  of_weight = back * of_weight * back;
  for (double& value : of_weight.values) value = -value;
  Matrix turned(n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) turned[i] -= back.at(i, j) * of_bias[j];
  }
  of_bias = turned;
}

struct Mix : torch::autograd::Function<Mix> {
  static variable_list forward(AutogradContext* context, const at::Tensor& scale, const at::Tensor& shift,
                               const at::Tensor& lower, const at::Tensor& upper, const at::Tensor& diagonal,
                               const at::Tensor& permutation, const at::Tensor& sign, bool inverse) {
    const variable_list factors{scale, shift, lower, upper, diagonal, permutation, sign};
    keep(*context, factors, instructions());
    context->saved_data["inverse"] = inverse;
    const Assembled a(factors);
    const int64_t n = a.n();
    Matrix weight = inverse ? a.back() : a.weight, bias(n), log_det(1);
    for (int64_t i = 0; i < n; ++i) {
      if (inverse) {
        bias[i] = -a.shift[i] / a.scale[i];
        continue;
      }
      for (int64_t j = 0; j < n; ++j) {
        bias[i] += weight.at(i, j) * a.shift[j];
        weight.at(i, j) *= a.scale[j];
      }
    }
    log_det[0] = inverse ? -a.log_det : a.log_det;
    const auto options = lower.options();
    return {weight.tensor({n, n}, options), bias.tensor({n}, options), log_det.tensor({}, options)};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list factors = recalled(*context);
    const bool inverse = context->saved_data["inverse"].toBool();
    variable_list results(kFactors + 1);
    if (is_differentiated(gradients)) {
      const variable_list found = differentiable_gradients(
          factors, gradients, [inverse](const variable_list& inputs) { return composed(inputs, inverse); });
      std::copy(found.begin(), found.end(), results.begin());
      return results;
    }
    const Assembled a(factors);
    const int64_t n = a.n();
    Matrix of_weight(gradients[0]), of_bias(gradients[1]);
    double of_log_det = gradients[2].item<double>();
    if (inverse) {
      turn_round(a, of_weight, of_bias);
      of_log_det = -of_log_det;
    }
    Matrix scale(n), shift(n), diagonal(n), of_w(n, n);
    for (int64_t j = 0; j < n; ++j) {
      scale[j] = of_log_det;
      for (int64_t i = 0; i < n; ++i) {
        const double scaled = of_weight.at(i, j) * a.scale[j];
        of_w.at(i, j) = scaled + of_bias[i] * a.shift[j];
        scale[j] += scaled * a.weight.at(i, j);
        shift[j] += of_bias[i] * a.weight.at(i, j);
      }
    }
    const Matrix inner = transposed(a.permutation) * of_w;
    Matrix lower = inner * transposed(a.upper), upper = transposed(a.lower) * inner;
    for (int64_t i = 0; i < n; ++i) {
      diagonal[i] = upper.at(i, i) * a.upper.at(i, i) + of_log_det;
      for (int64_t j = 0; j < n; ++j) {
        if (j >= i) lower.at(i, j) = 0;
        if (j <= i) upper.at(i, j) = 0;
      }
    }
    const auto options = factors[kLower].options();
    results[kScale] = scale.tensor({n}, options);
    results[kShift] = shift.tensor({n}, options);
    results[kLower] = lower.tensor({n, n}, options);
    results[kUpper] = upper.tensor({n, n}, options);
    results[kDiagonal] = diagonal.tensor({n}, options);
    return results;
  }
};

}  // namespace

Mixing mixing(const Factors& f, bool inverse) {
  check_operands(f.scale, f.shift, f.lower, f.upper, f.diagonal, f.permutation, f.sign);
  TORCH_CHECK(f.lower.dim() == 2, "a factor ", f.lower.sizes(), "; it is [channels, channels]");
  check_no_tangents("a permutation or a sign", f.permutation, f.sign);
  const bool here =
      done_here(instructions(), {f.scale, f.shift, f.lower, f.upper, f.diagonal, f.permutation, f.sign}) &&
      !have_tangents(f.scale, f.shift, f.lower, f.upper, f.diagonal);
  const int64_t n = f.lower.size(0);
  for (const at::Tensor* matrix : {&f.lower, &f.upper, &f.permutation}) {
    TORCH_CHECK((matrix->sizes() == at::IntArrayRef{n, n}), "a factor of ", matrix->sizes(), " for ", n, " channels");
  }
  for (const at::Tensor* vector : {&f.scale, &f.shift, &f.diagonal, &f.sign}) {
    TORCH_CHECK((vector->sizes() == at::IntArrayRef{n}), "a factor of ", vector->sizes(), " for ", n, " channels");
  }
  const variable_list results =
      here ? Mix::apply(f.scale, f.shift, f.lower, f.upper, f.diagonal, f.permutation, f.sign, inverse)
           : composed({f.scale, f.shift, f.lower, f.upper, f.diagonal, f.permutation, f.sign}, inverse);
  return {results[0], results[1], results[2]};
}

}  // namespace gen_native::flow
