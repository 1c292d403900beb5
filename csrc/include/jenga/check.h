// Argument checks of the ops. A failed check reaches Python as ValueError.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace jenga {

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

template <typename... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]] {
    fail(parts...);
  }
}

}  // namespace jenga
