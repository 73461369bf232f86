#include "rolling.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "../layout.h"
#include "passes.h"

namespace gen_native::conv {

namespace {

// A layer, and the map before it, of which `held` rows are in memory. The first layer has all rows of x.
struct Layer {
  at::Tensor weight;
  const float* bias;
  Geometry geometry;
  int64_t held, depth;
  Taps taps;

  int64_t rows() const { return geometry.small_height; }
  int64_t width() const { return geometry.small_width; }
  int64_t outputs() const { return geometry.small_channels; }
};

std::vector<Layer> layers_of(const at::Tensor& x, at::TensorList list, bool pairs) {
  std::vector<Layer> layers;
  int64_t channels = x.size(1);
  for (size_t i = 0; i < list.size(); i += 2) {
    const at::Tensor& weight = list[i];
    const int64_t height = x.size(2), width = x.size(3), side = weight.size(2);
    const Geometry g{x.size(0), weight.size(0), height, width, channels,          height,
                     width,     side,           side,   1,     padding_of(weight)};
    const int64_t held = i == 0 ? height : std::min(height, side);
    layers.push_back({packed(weight, true, pairs), list[i + 1].const_data_ptr<float>(), g, held,
                      pairs ? (channels + 1) / 2 : channels, taps_of_small(g, held)});
    channels = weight.size(0);
  }
  return layers;
}

// Takes some images through the layers, row by row.
class Rolling {
 public:
  Rolling(const std::vector<Layer>& layers, const Units& x, const at::Tensor& out, int64_t first, int64_t batch,
          const Loops& loops)
      : layers_(layers), kernel_(*loops.kernels), x_(x), out_(out.mutable_data_ptr<float>()), all_(out.size(0)),
        first_(first), batch_(batch), pairs_(loops.pairs), done_(layers.size(), 0) {
    int64_t most = 0;
    for (size_t l = 1; l < layers.size(); ++l) {
      const Layer& layer = layers[l];
      held_.push_back(at::empty({layer.held * layer.width() * layer.depth * batch}, at::kFloat));
      most = std::max(most, layer.width() * layer.geometry.large_channels * batch);
    }
    if (pairs_) row_ = at::empty({most}, at::kFloat);
  }

  void run() { up_to(layers_.size() - 1, layers_.back().rows()); }

 private:
  // Computes the output of a layer up to row `rows`. The layer before it is never more than half a kernel ahead, so the
  // rows in memory are the ones that are read.
  void up_to(size_t l, int64_t rows) {
    for (; done_[l] < rows; ++done_[l]) {
      if (l > 0) up_to(l - 1, std::min(layers_[l].rows(), done_[l] + layers_[l].geometry.padding + 1));
      row(l, done_[l]);
    }
  }

  void row(size_t l, int64_t y) {
    const Layer& layer = layers_[l];
    const bool last = l + 1 == layers_.size();
    const int64_t width = layer.width(), outputs = layer.outputs();
    Gather call{};
    call.in = l == 0 ? static_cast<const uint32_t*>(x_.data) + first_ : held_[l - 1].const_data_ptr();
    call.pixel = l == 0 ? x_.pixel : layer.depth * batch_;
    call.in_row = l == 0 ? all_ : batch_;
    call.weight = layer.weight.const_data_ptr();
    call.bias = layer.bias;
    call.taps = layer.taps.taps.data();
    call.first = layer.taps.first.data() + y * width;
    call.depth = layer.depth;
    call.outputs = outputs;
    call.out_row = last ? all_ : batch_;
    call.batch = batch_;
    call.relu = !last;
    float* held = nullptr;
    if (last) {
      call.out = out_ + y * width * outputs * all_ + first_;
    } else {
      const Layer& next = layers_[l + 1];
      held = held_[l].mutable_data_ptr<float>() + y % next.held * width * next.depth * batch_;
      call.out = pairs_ ? row_.mutable_data_ptr<float>() : held;
    }
    kernel_.gather(call, 0, width * blocks(outputs, kBlock));
    if (last || !pairs_) return;
    auto* const to = reinterpret_cast<uint32_t*>(held);
    const int64_t depth = layers_[l + 1].depth;
    for (int64_t p = 0; p < width; ++p) {
      kernel_.pair_rows(call.out + p * outputs * batch_, to + p * depth * batch_, outputs, batch_);
    }
  }

  const std::vector<Layer>& layers_;
  const Kernels& kernel_;
  const Units& x_;
  float* const out_;
  const int64_t all_, first_, batch_;
  const bool pairs_;
  std::vector<int64_t> done_;
  std::vector<at::Tensor> held_;  // the maps before the second and later layers
  at::Tensor row_;
};

// The division of a batch: `count` parts of `size` images; the last part has the rest as well.
struct Parts {
  int64_t size, count;
};

// A part has two vectors of images, or one if two would leave a thread without work. A rest that fills a vector is a
// part of its own.
Parts parts_of(int64_t batch, int64_t lanes) {
  const int64_t size = batch >= 2 * lanes * at::get_num_threads() ? 2 * lanes : lanes;
  return {size, std::max<int64_t>(1, batch / size + (batch % size >= lanes ? 1 : 0))};
}

}  // namespace

bool can_roll(const at::Tensor& x, const Loops& loops) {
  const int64_t threads = at::get_num_threads(), parts = parts_of(x.size(0), loops.kernels->lanes).count;
  return parts % threads == 0 || parts >= 4 * threads;
}

at::Tensor rolled(const at::Tensor& x, at::TensorList list, const Loops& loops) {
  const int64_t batch = x.size(0);
  const auto [size, count] = parts_of(batch, loops.kernels->lanes);
  const std::vector<Layer> layers = layers_of(x, list, loops.pairs);
  const at::Tensor out = empty_batch_innermost(batch, layers.back().outputs(), x.size(2), x.size(3), x.options());
  const Units units = units_to_gather(x, loops);
  at::parallel_for(0, count, 1, [&, size = size, count = count](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = part * size, last = part + 1 == count ? batch : first + size;
      Rolling(layers, units, out, first, last - first, loops).run();
    }
  });
  return out;
}

}  // namespace gen_native::conv
