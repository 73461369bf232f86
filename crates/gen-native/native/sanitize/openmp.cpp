// Reports the synchronisation of OpenMP's parallel regions to ThreadSanitizer; compiled only for its build.
//
// libgomp is not compiled with the sanitizer, which therefore cannot see that a region starts after all earlier work
// and ends before all later work. Every region goes through GOMP_parallel, so this wrapper reports both facts, and no
// report has to be suppressed. It reports nothing about the inside of a region, so races between threads of one region
// are still found.

#include <dlfcn.h>

extern "C" {

void __tsan_acquire(void* address);
void __tsan_release(void* address);

}  // extern "C"

namespace {

struct Region {
  void (*body)(void*);
  void* data;
  char begins, ends;  // only their addresses count
};

void run(void* given) {
  auto* const region = static_cast<Region*>(given);
  __tsan_acquire(&region->begins);
  region->body(region->data);
  __tsan_release(&region->ends);
}

}  // namespace

extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto libgomps = reinterpret_cast<Parallel>(dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region{body, data, 0, 0};
  __tsan_release(&region.begins);
  libgomps(run, &region, threads, flags);
  __tsan_acquire(&region.ends);
}
