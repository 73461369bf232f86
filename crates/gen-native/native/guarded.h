// Conversion of exceptions to messages.

#pragma once

#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

namespace gen_native {

// Runs `body`. Returns null, or the message of an exception, which the caller frees with gn_free.
template <typename F>
char* guarded(F&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception that is not of the standard library");
  }
}

}  // namespace gen_native
