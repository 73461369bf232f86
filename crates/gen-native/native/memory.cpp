#include "memory.h"

// For __GLIBC__.
#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#if defined(__GNUC__)
extern "C" {
// Functions of mimalloc, if the program has it. Options have numbers.
[[gnu::weak]] int mi_version() noexcept;
[[gnu::weak]] void mi_option_set_default(int option, long value);
}
#endif

namespace gen_native {

void keep_freed_memory() {
#if defined(__GLIBC__)
  // The largest block from the heap; larger ones are mapped and unmapped each time.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
#if defined(__GNUC__)
  // The option has the same number in series 2 and 3, whose versions are 2xxxx and 3xxxx.
  constexpr int kPurgeDelay = 15;
  if (mi_version != nullptr && mi_option_set_default != nullptr) {
    const int series = mi_version() / 10000;
    if (series == 2 || series == 3) mi_option_set_default(kPurgeDelay, -1);
  }
#endif
}

}  // namespace gen_native
