// Argument checks of the ops. A failed check reaches Python as ValueError. Torch-free; of tensors: arguments.h.
#pragma once

#include <cstdint>
#include <limits>
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

// Sums and products of sizes that a caller chose: a tensor without elements may have sizes up to 2^63 - 1, and what
// wrapped round would pass every later check. `what` names the result.
template <typename... What>
int64_t checked_sum(int64_t a, int64_t b, const What&... what) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) [[unlikely]] {
    fail(what..., ": ", a, " + ", b, " is too large; allowed: up to 2^63 - 1");
  }
  return sum;
}

template <typename... What>
int64_t checked_product(int64_t a, int64_t b, const What&... what) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) [[unlikely]] {
    fail(what..., ": ", a, " times ", b, " is too large; allowed: up to 2^63 - 1");
  }
  return product;
}

// For costs, where more than can be counted is as good as the most.
inline int64_t saturated_product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

}  // namespace jenga
