#include "operands.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace gen_native {

bool in_memory(const at::Tensor& x) {
  return x.is_cpu() && x.layout() == at::kStrided && !x.is_neg() && !x._is_zerotensor() && x.has_storage();
}

at::Tensor as_memory(const at::Tensor& x) {
  if (in_memory(x)) return x;
  if (x._is_zerotensor()) return at::zeros(x.sizes(), x.options());
  const at::Tensor copy = x.resolve_neg();
  TORCH_CHECK(in_memory(copy), "a tensor whose numbers are not in the memory of a processor");
  return copy;
}

void check_operand(const at::Tensor& x, std::optional<at::Device>& device) {
  TORCH_CHECK(x.defined(), "a tensor is undefined");
  TORCH_CHECK(x.layout() == at::kStrided, "a tensor has the layout ", x.layout(), ", it must be Strided");
  TORCH_CHECK(at::isFloatingType(x.scalar_type()), "a tensor is of kind ", x.scalar_type(),
              ", it must have floating-point numbers");
  TORCH_CHECK(!x._is_zerotensor(), "a tensor has no memory");
  if (!device) device = x.device();
  TORCH_CHECK(x.device() == *device, "tensors are on ", *device, " and on ", x.device(),
              ", they must be on one device");
}

void check_operand(const std::optional<at::Tensor>& x, std::optional<at::Device>& device) {
  if (x) check_operand(*x, device);
}

void check_operand(const std::vector<at::Tensor>& list, std::optional<at::Device>& device) {
  for (const at::Tensor& x : list) check_operand(x, device);
}

namespace {

// The memory of a tensor, from its first byte to one past its last.
struct Range {
  const at::Tensor* tensor;
  uintptr_t begin, end;
  bool written;
};

// Whether the strides prove that no two entries share memory.
bool plainly_apart(const at::Tensor& x) {
  std::vector<int64_t> order(x.dim());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return x.stride(a) < x.stride(b); });
  int64_t reach = 0;
  for (const int64_t d : order) {
    if (x.size(d) == 1) continue;
    if (x.stride(d) <= reach) return false;
    reach += x.stride(d) * (x.size(d) - 1);
  }
  return true;
}

// Calls body(address) for each entry.
template <typename F>
void each_entry(const Range& range, const F& body) {
  const at::Tensor& x = *range.tensor;
  std::vector<int64_t> index(x.dim(), 0);
  const auto item = static_cast<int64_t>(x.itemsize());
  for (int64_t i = 0; i < x.numel(); ++i) {
    int64_t place = 0;
    for (int64_t d = 0; d < x.dim(); ++d) place += index[d] * x.stride(d);
    body(range.begin + static_cast<uintptr_t>(place * item));
    for (int64_t d = x.dim(); d-- > 0 && ++index[d] == x.size(d);) index[d] = 0;
  }
}

// Marks every written byte, and returns whether no byte is met twice.
bool bytes_are_apart(const Range* first, const Range* last) {
  uintptr_t end = first->end;
  for (const Range* range = first; range != last; ++range) end = std::max(end, range->end);
  std::vector<bool> taken(end - first->begin, false);
  bool apart = true;
  for (const bool written : {true, false}) {
    for (const Range* range = first; range != last; ++range) {
      if (range->written != written) continue;
      each_entry(*range, [&](uintptr_t address) {
        for (size_t byte = 0; byte < range->tensor->itemsize(); ++byte) {
          std::vector<bool>::reference place = taken[address - first->begin + byte];
          apart = apart && !place;
          if (written) place = true;
        }
      });
    }
  }
  return apart;
}

void add_ranges(const std::vector<at::Tensor>& list, bool written, std::vector<Range>& ranges) {
  for (const at::Tensor& x : list) {
    if (!x.defined() || x.layout() != at::kStrided || x.numel() == 0 || x.is_meta() || x._is_zerotensor()) continue;
    int64_t last = 0;
    for (int64_t d = 0; d < x.dim(); ++d) last += (x.size(d) - 1) * x.stride(d);
    const auto begin = reinterpret_cast<uintptr_t>(x.const_data_ptr());
    ranges.push_back({&x, begin, begin + static_cast<uintptr_t>(last + 1) * x.itemsize(), written});
  }
}

}  // namespace

bool are_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read) {
  std::vector<Range> ranges;
  ranges.reserve(written.size() + read.size());
  add_ranges(written, true, ranges);
  add_ranges(read, false, ranges);
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (size_t first = 0; first < ranges.size();) {
    // The ranges from `first` up to the next gap.
    size_t last = first + 1;
    uintptr_t end = ranges[first].end;
    for (; last < ranges.size() && ranges[last].begin < end; ++last) end = std::max(end, ranges[last].end);
    const auto is_written = [](const Range& range) { return range.written; };
    const bool any = std::any_of(&ranges[first], &ranges[last - 1] + 1, is_written);
    const bool plain = last - first == 1 && plainly_apart(*ranges[first].tensor);
    if (any && !plain && !bytes_are_apart(&ranges[first], &ranges[last - 1] + 1)) return false;
    first = last;
  }
  return true;
}

void check_exclusive(const std::vector<at::Tensor>& written, const std::vector<at::Tensor>& read) {
  TORCH_CHECK(are_exclusive(written, read),
              "tensors that are changed share memory with others or, such as expanded ones, with themselves");
}

}  // namespace gen_native
