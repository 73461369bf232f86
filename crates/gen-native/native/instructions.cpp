#include "instructions.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>

namespace gen_native {

namespace {

std::atomic<Instructions> chosen{Instructions::kBest};

// Values of GEN_INSTRUCTIONS; each allows itself and all before it.
constexpr std::string_view kNames[] = {"libtorch", "portable", "avx2", "avx512", "avx512-bf16"};
enum Most : int { kMostLibtorch, kMostPortable, kMostAvx2, kMostAvx512, kMostBfloat16 };

int most_allowed() {
  struct Limit {
    std::string wanted;
    int most;
  };
  // The initialiser must not throw: with GCC 12's ThreadSanitizer, threads that wait for it would never wake up.
  static const Limit limit = [] {
    const char* const wanted = std::getenv("GEN_INSTRUCTIONS");
    if (wanted == nullptr || *wanted == '\0') return Limit{"", kMostBfloat16};
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), std::string_view(wanted));
    return Limit{wanted, found == std::end(kNames) ? -1 : static_cast<int>(found - std::begin(kNames))};
  }();
  TORCH_CHECK(limit.most >= 0, "GEN_INSTRUCTIONS is '", limit.wanted,
              "': it may be libtorch, portable, avx2, avx512 or avx512-bf16");
  return limit.most;
}

// Whether the processor has the instructions and GEN_INSTRUCTIONS allows them.
bool supported(Instructions which) {
  switch (which) {
#if defined(__x86_64__)
    case Instructions::kAvx512: return most_allowed() >= kMostAvx512 && __builtin_cpu_supports("avx512f");
    case Instructions::kAvx2:
      return most_allowed() >= kMostAvx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    case Instructions::kAvx512:
    case Instructions::kAvx2: return false;
#endif
    case Instructions::kPortable: return most_allowed() >= kMostPortable;
    default: return true;
  }
}

}  // namespace

bool use_instructions(Instructions which) {
  if (!supported(which)) return false;
  chosen = which;
  return true;
}

Instructions instructions() {
  const Instructions now = chosen;
  if (now != Instructions::kBest) return now;
  for (const Instructions which : {Instructions::kAvx512, Instructions::kAvx2, Instructions::kPortable}) {
    if (supported(which)) return which;
  }
  return Instructions::kLibtorch;
}

bool has_bfloat16(Instructions which) {
#if defined(__x86_64__)
  return most_allowed() >= kMostBfloat16 && which == Instructions::kAvx512 && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  static_cast<void>(which);
  return false;
#endif
}

}  // namespace gen_native
