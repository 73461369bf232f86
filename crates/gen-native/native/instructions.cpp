#include "instructions.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <string>

namespace gen_native {

namespace {

std::atomic<Instructions> chosen{Instructions::kBest};

// What GEN_INSTRUCTIONS allows at most: this many of the following.
const char* const kNames[] = {"libtorch", "portable", "avx2", "avx512", "avx512-bf16"};
enum Most : int { kMostLibtorch, kMostPortable, kMostAvx2, kMostAvx512, kMostBfloat16 };

int most_allowed() {
  static const int most = [] {
    const char* const wanted = std::getenv("GEN_INSTRUCTIONS");
    if (wanted == nullptr || *wanted == '\0') return static_cast<int>(kMostBfloat16);
    const auto* const found = std::find_if(std::begin(kNames), std::end(kNames),
                                           [&](const char* name) { return wanted == std::string(name); });
    TORCH_CHECK(found != std::end(kNames), "GEN_INSTRUCTIONS is '", wanted,
                "': it may be libtorch, portable, avx2, avx512 or avx512-bf16");
    return static_cast<int>(found - std::begin(kNames));
  }();
  return most;
}

// Whether the processor has such instructions, and they may be used.
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
