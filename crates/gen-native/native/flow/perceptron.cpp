#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "common.h"
#include "flow.h"

namespace gen_native::flow {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The weight of layer i, with its mask if there are masks.
at::Tensor weight_of(at::TensorList layers, at::TensorList masks, size_t i) {
  return masks.empty() ? layers[2 * i] : layers[2 * i] * masks[i];
}

at::Tensor composed(at::Tensor x, at::TensorList layers, at::TensorList masks) {
  for (size_t i = 0; 2 * i < layers.size(); ++i) {
    x = at::linear(i == 0 ? x : at::relu(x), weight_of(layers, masks, i), layers[2 * i + 1]);
  }
  return x;
}

variable_list differentiable(const variable_list& saved, size_t n_layers, size_t n_masks,
                             const variable_list& gradients) {
  return differentiable_gradients(
      {saved.begin(), saved.begin() + 1 + n_layers + n_masks}, gradients, [&](const variable_list& inputs) {
        const at::TensorList list(inputs);
        return variable_list{composed(list[0], list.slice(1, n_layers), list.slice(1 + n_layers))};
      });
}

// h Wᵀ + b, or h W without a bias, as rows or, if `columns`, as the transpose of a contiguous matrix.
at::Tensor product(const at::Tensor& h, const at::Tensor& weight, const at::Tensor& bias, bool columns) {
  if (!bias.defined()) return columns ? at::mm(weight.t(), h.t()).t() : at::mm(h, weight);
  return columns ? at::addmm(bias.unsqueeze(1), weight, h.t()).t() : at::addmm(bias, h, weight.t());
}

// One node of autograd's graph instead of two for each layer, which for layers of a few units is most of the time.
struct LargePerceptron : torch::autograd::Function<LargePerceptron> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers,
                            at::TensorList masks) {
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    saved.insert(saved.end(), masks.begin(), masks.end());
    at::Tensor h = x;
    for (size_t i = 0; 2 * i < layers.size(); ++i) {
      if (i > 0) saved.push_back(h.relu_());
      h = product(h, weight_of(layers, masks, i), layers[2 * i + 1], rows_innermost(x));
    }
    keep(*context, std::move(saved), instructions());
    context->saved_data["layers"] = static_cast<int64_t>(layers.size());
    context->saved_data["masks"] = static_cast<int64_t>(masks.size());
    return h;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    // x, weights and biases, masks, hidden layers.
    const variable_list saved = recalled(*context);
    const size_t n_layers = context->saved_data["layers"].toInt(), n_masks = context->saved_data["masks"].toInt();
    const at::TensorList all(saved), layers = all.slice(1, n_layers), masks = all.slice(1 + n_layers, n_masks);
    const at::TensorList hidden = all.slice(1 + n_layers + n_masks);
    if (is_differentiated(gradients)) return differentiable(saved, n_layers, n_masks, gradients);
    variable_list results(1 + n_layers + n_masks);
    at::Tensor gradient = gradients[0];
    for (size_t i = n_layers / 2; i-- > 0;) {
      const at::Tensor& input = i == 0 ? saved[0] : hidden[i - 1];
      // Those of a network that another one learns by are not asked for.
      if (context->needs_input_grad(2 * i + 1)) {
        results[2 * i + 1] = at::mm(gradient.t(), input);
        if (!masks.empty()) results[2 * i + 1].mul_(masks[i]);
      }
      if (context->needs_input_grad(2 * i + 2)) results[2 * i + 2] = gradient.sum(0);
      if (i == 0 && !context->needs_input_grad(0)) break;
      gradient = product(gradient, weight_of(layers, masks, i), at::Tensor(), rows_innermost(saved[0]));
      if (i > 0) gradient = at::threshold_backward(gradient, input, 0);
    }
    if (context->needs_input_grad(0)) results[0] = gradient;
    return results;
  }
};

// The layers as the loops take them, with masks multiplied in.
template <typename T>
struct Layers {
  std::vector<DenseLayer<T>> list;
  int64_t places = 0, most_units = 0, n_parameters = 0;
  std::vector<at::Tensor> kept;

  Layers(at::TensorList layers, at::TensorList masks) {
    for (size_t i = 0; 2 * i < layers.size(); ++i) {
      at::Tensor weight = kept.emplace_back(layers[2 * i].contiguous());
      const at::Tensor bias = kept.emplace_back(layers[2 * i + 1].contiguous());
      if (!masks.empty()) weight = kept.emplace_back(times(weight, masks[i].contiguous()));
      const int64_t inputs = weight.size(1), outputs = weight.size(0);
      list.push_back({weight.const_data_ptr<T>(), bias.const_data_ptr<T>(), inputs, outputs});
      places += inputs;
      most_units = std::max({most_units, inputs, outputs});
      n_parameters += outputs * (inputs + 1);
    }
  }

  Perceptron<T> call(const at::Tensor& x) const {
    return {map_of<const T>(x), x.size(0), list.data(), static_cast<int64_t>(list.size()), places, most_units};
  }

 private:
  // Without the dispatcher, whose way is longer than the product.
  static at::Tensor times(const at::Tensor& weight, const at::Tensor& mask) {
    at::Tensor out = at::empty(weight.sizes(), weight.options());
    const T* const a = weight.const_data_ptr<T>();
    const T* const b = mask.const_data_ptr<T>();
    T* const to = out.mutable_data_ptr<T>();
    for (int64_t i = 0; i < weight.numel(); ++i) to[i] = a[i] * b[i];
    return out;
  }
};

// Blocks of rows, several together if they have little to do.
template <typename T, typename F>
void each_block(const Kernels<T>& loops, const Layers<T>& layers, int64_t rows, const F& body) {
  const int64_t together = loops.block_rows;
  const int64_t grain = std::max<int64_t>(1, 65536 / (together * layers.n_parameters));
  at::parallel_for(0, (rows + together - 1) / together, grain, body);
}

// On blocks of rows that stay in the nearest caches from the first layer to the last. What the layers read is left in
// `places` for a backward pass.
at::Tensor on_blocks(const at::Tensor& x, at::TensorList layers, at::TensorList masks, Instructions which,
                     at::Tensor* places) {
  const int64_t rows = x.size(0), outputs = layers[layers.size() - 2].size(0);
  const at::Tensor out = empty_map({rows, outputs}, !masks.empty() || rows_innermost(x), x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "perceptron", [&] {
    const Kernels<scalar_t>& loops = kernels<scalar_t>(which);
    const Layers<scalar_t> all(layers, masks);
    const auto call = all.call(x);
    const auto map = map_of<scalar_t>(out);
    const int64_t together = loops.block_rows, size = together * all.places;
    if (places != nullptr) {
      *places = at::empty({(rows + together - 1) / together * size}, x.options());
      auto* const to = places->mutable_data_ptr<scalar_t>();
      each_block(loops, all, rows, [&](int64_t begin, int64_t end) { loops.perceptron(call, map, to, begin, end); });
      return;
    }
    each_block(loops, all, rows, [&](int64_t begin, int64_t end) {
      const at::Tensor scratch = at::empty({size}, x.options());
      for (int64_t row = begin * together; row < std::min(rows, end * together); row += together) {
        auto block = call;
        auto to = map;
        block.rows = rows - row;
        block.in.data += row * block.in.row;
        to.data += row * to.row;
        loops.perceptron(block, to, scratch.mutable_data_ptr<scalar_t>(), 0, 1);
      }
    });
  });
  return out;
}

struct SmallPerceptron : torch::autograd::Function<SmallPerceptron> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList layers, at::TensorList masks,
                            Instructions which) {
    at::Tensor places;
    const at::Tensor out = on_blocks(x, layers, masks, which, &places);
    variable_list saved{x};
    saved.insert(saved.end(), layers.begin(), layers.end());
    saved.insert(saved.end(), masks.begin(), masks.end());
    saved.push_back(places);
    // The places are laid out for these instructions.
    keep(*context, std::move(saved), which);
    context->saved_data["layers"] = static_cast<int64_t>(layers.size());
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = recalled(*context);
    const size_t n_layers = context->saved_data["layers"].toInt(), n_masks = saved.size() - n_layers - 2;
    const at::TensorList all(saved), layers = all.slice(1, n_layers), masks = all.slice(1 + n_layers, n_masks);
    if (is_differentiated(gradients)) {
      variable_list found = differentiable(saved, n_layers, n_masks, gradients);
      found.emplace_back();
      return found;
    }
    const at::Tensor gradient = as_memory(gradients[0]);
    const at::Tensor &x = saved[0], &places = saved.back();
    variable_list results(1 + n_layers + n_masks + 1);
    if (context->needs_input_grad(0)) results[0] = empty_map(x.sizes(), rows_innermost(x), x.options());
    bool learns = false;
    for (size_t i = 1; i <= n_layers; ++i) learns = learns || context->needs_input_grad(i);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "perceptron", [&] {
      const Kernels<scalar_t>& loops = kernels<scalar_t>(recalled_instructions(*context));
      const Layers<scalar_t> net(layers, masks);
      const auto call = net.call(x);
      PerceptronGradients<scalar_t> d{};
      d.saved = places.const_data_ptr<scalar_t>();
      d.out = map_of<const scalar_t>(gradient);
      if (results[0].defined()) d.in = map_of<scalar_t>(results[0]);
      d.n_parameters = net.n_parameters;
      // By the first block, so that sums are in the same order whoever is done first.
      std::map<int64_t, at::Tensor> parts;
      std::mutex adding;
      each_block(loops, net, x.size(0), [&](int64_t begin, int64_t end) {
        auto mine = d;
        const at::Tensor scratch = at::empty({(4 * net.most_units + loops.block_rows) * loops.block_rows}, x.options());
        mine.scratch = scratch.mutable_data_ptr<scalar_t>();
        at::Tensor part;
        if (learns) {
          part = at::zeros({net.n_parameters}, x.options());
          mine.parameters = part.mutable_data_ptr<scalar_t>();
        }
        loops.perceptron_backward(call, mine, begin, end);
        if (!learns) return;
        const std::lock_guard lock(adding);
        parts.emplace(begin, std::move(part));
      });
      if (learns) give<scalar_t>(*context, layers, masks, parts, results);
    });
    return results;
  }

 private:
  // The sums of the threads' parts, as gradients of the parameters that need one.
  template <typename T>
  static void give(const AutogradContext& context, at::TensorList layers, at::TensorList masks,
                   const std::map<int64_t, at::Tensor>& parts, variable_list& results) {
    int64_t offset = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const int64_t n = layers[i].numel();
      if (context.needs_input_grad(i + 1)) {
        at::Tensor& result = results[i + 1] = at::empty(layers[i].sizes(), layers[i].options());
        T* const to = result.mutable_data_ptr<T>();
        std::fill(to, to + n, T(0));
        for (const auto& [begin, part] : parts) {
          const T* const from = part.template const_data_ptr<T>() + offset;
          for (int64_t k = 0; k < n; ++k) to[k] += from[k];
        }
        if (!masks.empty() && i % 2 == 0) {
          const at::Tensor mask = masks[i / 2].contiguous();
          const T* const by = mask.const_data_ptr<T>();
          for (int64_t k = 0; k < n; ++k) to[k] *= by[k];
        }
      }
      offset += n;
    }
  }
};

// Above, a library's product is faster.
constexpr int64_t kMostUnits = 128;

bool is_small(const at::Tensor& x, at::TensorList layers, at::TensorList masks, Instructions which) {
  for (size_t i = 0; 2 * i < layers.size(); ++i) {
    const at::Tensor &weight = layers[2 * i], &bias = layers[2 * i + 1];
    if (!done_here(which, {x, weight, bias}) || (!masks.empty() && !done_here(which, {x, masks[i]}))) return false;
    if (std::max(weight.size(0), weight.size(1)) > kMostUnits || weight.numel() == 0) return false;
  }
  return true;
}

at::Tensor apply(const at::Tensor& x, const std::vector<at::Tensor>& layers, at::TensorList masks) {
  TORCH_CHECK(!layers.empty() && layers.size() % 2 == 0, "layers have a weight and a bias each");
  check_operands(x, layers);
  TORCH_CHECK(x.dim() >= 1, "values ", x.sizes(), "; they are [..., features]");
  int64_t inputs = x.size(-1);
  for (size_t i = 0; i < layers.size(); i += 2) {
    const at::Tensor &weight = layers[i], &bias = layers[i + 1];
    TORCH_CHECK(weight.dim() == 2 && weight.size(1) == inputs && bias.dim() == 1 && bias.size(0) == weight.size(0),
                "a weight ", weight.sizes(), " and a bias ", bias.sizes(), " for ", inputs,
                " inputs; they are [outputs, inputs] and [outputs]");
    inputs = weight.size(0);
  }
  const at::TensorList list(layers);
  if (x.dim() != 2 || at::autocast::is_autocast_enabled(x.device().type()) || have_tangents(x, list)) {
    return composed(x, list, masks);
  }
  const Instructions which = instructions();
  if (!is_small(x, list, masks, which)) return LargePerceptron::apply(x, list, masks);
  bool learns = x.requires_grad();
  for (const at::Tensor& layer : layers) learns = learns || layer.requires_grad();
  return learns && c10::GradMode::is_enabled() ? SmallPerceptron::apply(x, list, masks, which)
                                               : on_blocks(x, list, masks, which, nullptr);
}

}  // namespace

at::Tensor perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers) { return apply(x, layers, {}); }

at::Tensor masked_perceptron(const at::Tensor& x, const std::vector<at::Tensor>& layers,
                             const std::vector<at::Tensor>& masks) {
  check_operands(x, layers);
  TORCH_CHECK(2 * masks.size() == layers.size(), masks.size(), " masks for ", layers.size() / 2, " layers");
  std::vector<at::Tensor> alike;
  for (size_t i = 0; i < masks.size(); ++i) {
    TORCH_CHECK(masks[i].defined() && masks[i].layout() == at::kStrided && !masks[i].is_complex(),
                "a mask is a strided tensor of real numbers");
    TORCH_CHECK(masks[i].sizes() == layers[2 * i].sizes(), "a mask ", masks[i].sizes(), " for a weight ",
                layers[2 * i].sizes());
    check_no_tangents("a mask", masks[i]);
    alike.push_back(masks[i].detach().to(layers[2 * i].options()));
  }
  return apply(x, layers, at::TensorList(alike));
}

}  // namespace gen_native::flow
