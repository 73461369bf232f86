#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

// What a layer reads, in the order of its degrees.
struct Sorted {
  std::vector<int64_t> order;
  std::vector<int64_t> seen;  // how many have a degree of at most 0, 1, ..., most

  Sorted(const std::vector<int64_t>& degrees, int64_t most) : order(degrees.size()), seen(most + 1) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return degrees[a] < degrees[b]; });
    for (const int64_t degree : degrees) ++seen[degree];
    std::partial_sum(seen.begin(), seen.end(), seen.begin());
  }
};

// Everything that the network reads and computes in turn: the inputs with the context in front, and the hidden layers.
std::vector<std::vector<int64_t>> all_degrees(const Degrees& degrees, int64_t features) {
  std::vector<std::vector<int64_t>> all{std::vector<int64_t>(features, 0)};
  all[0].insert(all[0].end(), degrees.inputs.begin(), degrees.inputs.end());
  all.insert(all.end(), degrees.hidden.begin(), degrees.hidden.end());
  return all;
}

template <typename T>
Moved here(const at::Tensor& y, const std::optional<at::Tensor>& context, const std::vector<at::Tensor>& layers,
           const Degrees& degrees, const std::optional<at::Tensor>& bound, const std::optional<SplineShape>& shape,
           Instructions which) {
  const Kernels<T>& loops = kernels<T>(which);
  const int64_t features = context ? context->size(1) : 0, channels = y.size(1);
  const auto all = all_degrees(degrees, features);
  std::vector<Sorted> sorted;
  std::vector<at::Tensor> kept;
  std::vector<MaskedLayer<T>> masked;
  int64_t places = shape ? shape->parameters() : 2;
  sorted.reserve(all.size());
  for (size_t l = 0; l < all.size(); ++l) {
    sorted.emplace_back(all[l], channels);
    const at::Tensor weight = kept.emplace_back(layers[2 * l].contiguous());
    const at::Tensor bias = kept.emplace_back(layers[2 * l + 1].contiguous());
    masked.push_back({weight.const_data_ptr<T>(), bias.const_data_ptr<T>(), weight.size(1), sorted[l].order.data(),
                      sorted[l].seen.data()});
    places += weight.size(1);
  }
  const Sorted values(degrees.inputs, channels);
  Autoregression<T> call{};
  call.in = map_of<const T>(y);
  if (features > 0) call.context = map_of<const T>(*context);
  call.rows = y.size(0);
  call.channels = channels;
  call.features = features;
  call.order = values.order.data();
  call.layers = masked.data();
  call.n_layers = static_cast<int64_t>(masked.size());
  call.parameters = shape ? shape->parameters() : 2;
  call.spline = shape.has_value();
  if (shape) call.knots = knots_of(*shape);
  call.bound = bound ? bound->const_data_ptr<T>() : nullptr;
  const at::Tensor x = empty_map(y.sizes(), rows_innermost(y), y.options());
  const at::Tensor log_det = at::empty({y.size(0)}, y.options());
  const Map<T> to = map_of<T>(x);
  T* const sums = log_det.mutable_data_ptr<T>();
  const int64_t together = loops.block_rows;
  at::parallel_for(0, (call.rows + together - 1) / together, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor scratch = at::empty({places * together}, y.options());
    loops.autoregression(call, to, sums, scratch.mutable_data_ptr<T>(), begin, end);
  });
  return {x, log_det};
}

void check(const at::Tensor& y, const std::optional<at::Tensor>& context, const std::vector<at::Tensor>& layers,
           const Degrees& degrees, const std::optional<at::Tensor>& bound, const std::optional<SplineShape>& shape) {
  if (shape) check_spline(*shape);
  check_operands(y, context, layers, bound);
  TORCH_CHECK(y.dim() == 2 && y.size(1) > 0, "values ", y.sizes(), "; they are [batch, values]");
  const int64_t channels = y.size(1);
  TORCH_CHECK(!context || (context->dim() == 2 && context->size(0) == y.size(0)), "a context for values ", y.sizes(),
              "; it is [batch, features]");
  TORCH_CHECK(!bound || bound->numel() == 1, "a bound of ", bound ? bound->numel() : 0, " numbers; it is one");
  std::vector<int64_t> inputs = degrees.inputs;
  std::sort(inputs.begin(), inputs.end());
  bool permutes = static_cast<int64_t>(inputs.size()) == channels;
  for (int64_t i = 0; permutes && i < channels; ++i) permutes = inputs[i] == i + 1;
  TORCH_CHECK(permutes, "degrees ", degrees.inputs, " of ", channels, " values; they are 1, 2, ... in some order");
  TORCH_CHECK(layers.size() == 2 * degrees.hidden.size() + 2, layers.size(), " weights and biases for ",
              degrees.hidden.size(), " hidden layers; they are two for each, and two more");
  int64_t width = (context ? context->size(1) : 0) + channels;
  for (size_t l = 0; l <= degrees.hidden.size(); ++l) {
    const bool last = l == degrees.hidden.size();
    const int64_t units =
        last ? channels * (shape ? shape->parameters() : 2) : static_cast<int64_t>(degrees.hidden[l].size());
    TORCH_CHECK((layers[2 * l].sizes() == at::IntArrayRef{units, width}) &&
                    (layers[2 * l + 1].sizes() == at::IntArrayRef{units}),
                "a weight ", layers[2 * l].sizes(), " and a bias ", layers[2 * l + 1].sizes(), "; they are [", units,
                ", ", width, "] and [", units, "]");
    width = units;
    if (last) break;
    for (const int64_t degree : degrees.hidden[l]) {
      TORCH_CHECK(degree >= 0 && degree < channels, "a hidden unit of degree ", degree, "; it is from 0 to ",
                  channels - 1);
    }
  }
}

}  // namespace

std::optional<Moved> autoregressive_inverse(const at::Tensor& y, const std::optional<at::Tensor>& context,
                                            const std::vector<at::Tensor>& layers, const Degrees& degrees,
                                            const std::optional<at::Tensor>& bound,
                                            const std::optional<SplineShape>& shape) {
  check(y, context, layers, degrees, bound, shape);
  c10::NoGradGuard no_grad;
  const Instructions which = instructions();
  bool fits = done_here(which, {y, context.value_or(y), bound.value_or(y)});
  for (const at::Tensor& layer : layers) fits = fits && done_here(which, {y, layer});
  // The caller's own way carries tangents.
  fits = fits && !have_tangents(y, context, layers, bound);
  if (!fits) return std::nullopt;
  return y.scalar_type() == at::kFloat ? here<float>(y, context, layers, degrees, bound, shape, which)
                                       : here<double>(y, context, layers, degrees, bound, shape, which);
}

}  // namespace gen_native::flow
