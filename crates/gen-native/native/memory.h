// Settings of the allocator.

#pragma once

namespace gen_native {

// Makes the C library's allocator, and mimalloc if the program uses it, keep freed memory for later allocations. Memory
// that is returned to the system comes back with every page cleared, which takes time.
void keep_freed_memory();

}  // namespace gen_native
