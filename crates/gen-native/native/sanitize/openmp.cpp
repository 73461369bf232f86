// What threads of OpenMP wait for, told to ThreadSanitizer; compiled for its build alone.
//
// libgomp is not compiled with the sanitizer, which cannot see that a parallel region begins after all that was done
// before it, and ends before all that is done after it. Every region goes through GOMP_parallel, so those two facts are
// told here, and no report has to be suppressed for the sake of libgomp. What happens inside of a region is told
// nothing about: two threads of one region that touch the same memory are reported.

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
