// Random numbers from private generators.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/randperm.h>
#include <c10/core/GradMode.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "guarded.h"
#include "operands.h"

using gen_native::guarded;

namespace {

// One seed, and a stream from it on each device in use, as with torch.manual_seed.
struct Generator {
  uint64_t seed;
  at::Generator host;
  std::vector<std::pair<at::Device, at::Generator>> others;

  explicit Generator(uint64_t seed) : seed(seed), host(at::detail::createCPUGenerator(seed)) {}

  at::Generator& on(at::Device device) {
    if (device.is_cpu()) return host;
    for (auto& [known, generator] : others) {
      if (known == device) return generator;
    }
    auto fresh = at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
    fresh.set_current_seed(seed);
    return others.emplace_back(device, std::move(fresh)).second;
  }
};

// Null stands for the generators that the process shares.
std::optional<at::Generator> chosen(Generator* generator, const at::Tensor& x) {
  if (generator == nullptr) return std::nullopt;
  return generator->on(x.device());
}

// Offsets in a state: the numbers left in its block (4 bytes), and the index of the next one (8 bytes).
constexpr int64_t kLeft = 8, kNext = 16, kBlock = at::MERSENNE_STATE_N;

// A copy that libtorch can read safely. libtorch ignores alignment and trusts the offsets in the bytes, so wrong ones
// would make it read beyond the block.
at::Tensor readable_state(const at::Tensor& state) {
  TORCH_CHECK(state.defined(), "a tensor is undefined");
  TORCH_CHECK(state.layout() == at::kStrided && state.is_cpu() && state.scalar_type() == at::kByte,
              "a state is bytes in the memory of a processor");
  const at::Tensor bytes = gen_native::as_memory(state).clone(at::MemoryFormat::Contiguous);
  // libtorch reports states that are too short.
  int32_t left;
  int64_t next;
  if (bytes.numel() < kNext + static_cast<int64_t>(sizeof next)) return bytes;
  const auto* const from = static_cast<const char*>(bytes.const_data_ptr());
  std::memcpy(&left, from + kLeft, sizeof left);
  std::memcpy(&next, from + kNext, sizeof next);
  // A new generator has 1 left and 0 next, and fills its block before it reads.
  TORCH_CHECK(left > 0 && next >= 0 && next <= kBlock && left + next <= kBlock + 1, "a state says that ", left,
              " numbers are left from the one of number ", next, " on, of ", kBlock);
  return bytes;
}

enum Distribution { kNormal = 0, kUniform = 1, kIntegers = 2, kBernoulli = 3, kPermutation = 4 };

}  // namespace

extern "C" {

char* gn_generator_new(uint64_t seed, Generator** out) {
  return guarded([&] { *out = new Generator(seed); });
}

// A new generator with the state of `generator` on every device.
char* gn_generator_clone(const Generator* generator, Generator** out) {
  return guarded([&] {
    auto copy = std::make_unique<Generator>(generator->seed);
    copy->host = generator->host.clone();
    for (const auto& [device, other] : generator->others) copy->others.emplace_back(device, other.clone());
    *out = copy.release();
  });
}

void gn_generator_free(Generator* generator) { delete generator; }

// Fills `x` with normal numbers of mean `a` and deviation `b`, uniform numbers in [a, b), whole numbers in [a, b), 1
// with probability `a` and otherwise 0, or a random order of 0 to n - 1. torch.randn and its like make the same calls,
// so the same seed gives the same numbers.
char* gn_generator_fill(Generator* generator, const at::Tensor* x, int distribution, double a, double b) {
  return guarded([&] {
    c10::NoGradGuard no_grad;
    at::Tensor out = *x;
    const auto source = chosen(generator, out);
    switch (distribution) {
      case kNormal: out.normal_(a, b, source); break;
      case kUniform: out.uniform_(a, b, source); break;
      case kIntegers: out.random_(static_cast<int64_t>(a), static_cast<int64_t>(b), source); break;
      case kBernoulli: out.bernoulli_(a, source); break;
      case kPermutation: at::randperm_out(out, out.numel(), source); break;
      default: TORCH_CHECK(false, "no such distribution");
    }
  });
}

// The state of the stream on the host, a new tensor of bytes.
char* gn_generator_state(Generator* generator, at::Tensor** state) {
  return guarded([&] {
    const std::lock_guard<std::mutex> lock(generator->host.mutex());
    *state = new at::Tensor(generator->host.get_state());
  });
}

// Sets the stream on the host to a state. Streams on other devices do not change.
char* gn_generator_set_state(Generator* generator, const at::Tensor* state) {
  return guarded([&] {
    const at::Tensor bytes = readable_state(*state);
    const std::lock_guard<std::mutex> lock(generator->host.mutex());
    generator->host.set_state(bytes);
  });
}

}  // extern "C"
