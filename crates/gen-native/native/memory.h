// What becomes of memory that is freed.

#pragma once

namespace gen_native {

// The C library's allocator, and mimalloc where it takes its place, keep for the next allocation what is freed,
// instead of giving it back to the system, which clears each page before it hands it out again.
void keep_freed_memory();

}  // namespace gen_native
