#include "instructions.h"

#include <atomic>
#include <initializer_list>

namespace gen_native {

namespace {

std::atomic<Instructions> chosen{Instructions::kBest};

bool supported(Instructions which) {
  switch (which) {
#if defined(__x86_64__)
    case Instructions::kAvx512: return __builtin_cpu_supports("avx512f");
    case Instructions::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    case Instructions::kAvx512:
    case Instructions::kAvx2: return false;
#endif
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
  for (const Instructions which : {Instructions::kAvx512, Instructions::kAvx2}) {
    if (supported(which)) return which;
  }
  return Instructions::kPortable;
}

bool has_bfloat16(Instructions which) {
#if defined(__x86_64__)
  return which == Instructions::kAvx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
#else
  static_cast<void>(which);
  return false;
#endif
}

}  // namespace gen_native
