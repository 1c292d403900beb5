// Numbers in JSON's grammar, correctly rounded.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

namespace jenga::refinery {

enum class NumberResult : uint8_t { ok, bad, overflow };

namespace detail {

inline constexpr double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                           1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

inline bool is_digit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

inline bool are_digits(uint64_t word) { return (((word + 0x7676767676767676u) | word) & 0x8080808080808080u) == 0; }

// The number that eight bytes of 0 to 9 make, the first in the lowest byte: pairs, then fours, then all of them.
inline uint64_t eight_digits(uint64_t word) {
  word = (word * 10 + (word >> 8)) & 0x00ff00ff00ff00ffu;
  word = (word * 100 + (word >> 16)) & 0x0000ffff0000ffffu;
  return (word * 10000 + (word >> 32)) & 0xffffffffu;
}

// Past the fast path: the library's conversion of a number whose grammar has been checked.
inline NumberResult convert(const char* begin, const char* end, double& value) {
  const auto result = std::from_chars(begin, end, value);
  if (result.ec != std::errc::result_out_of_range) {
    return NumberResult::ok;
  }
  // Out of range is too large or too small. Its decimal exponent tells: 0.001e-400 and 1000e400 are never near 1.
  int64_t exponent = 0;
  int64_t point = 0;
  bool seen_point = false;
  bool seen_digit = false;
  const char* at = begin + (*begin == '-');
  for (; at < end && *at != 'e' && *at != 'E'; ++at) {
    if (*at == '.') {
      seen_point = true;
    } else {
      seen_digit |= *at != '0';
      // Counts digits before the point from the first that is not 0; zeros after the point before it count down.
      point += seen_point ? (seen_digit ? 0 : -1) : (seen_digit ? 1 : 0);
    }
  }
  if (at < end) {
    const bool negative = at[1] == '-';
    for (at += 1 + (at[1] == '-' || at[1] == '+'); at < end; ++at) {
      exponent = exponent < 1'000'000'000 ? exponent * 10 + (*at - '0') : exponent;
    }
    exponent = negative ? -exponent : exponent;
  }
  if (point + exponent > 0) {
    return NumberResult::overflow;
  }
  value = *begin == '-' ? -0.0 : 0.0;
  return NumberResult::ok;
}

}  // namespace detail

// Reads the `size` (1 to 8) bytes at `at` if they are digits with at most one point among them, without a branch that
// depends on which: false for anything else, which needs the long way. Eight bytes must be readable. Both operands of
// the division are exact, so its one rounding is the correct one (Clinger, How to read floating point numbers
// accurately, 1990).
inline bool parse_short_number(const char* at, uint32_t size, double& value) {
  using detail::are_digits;
  using detail::eight_digits;
  if (size == 1) {
    const auto digit = static_cast<unsigned char>(*at - '0');
    value = digit;
    return digit <= 9;
  }
  constexpr uint64_t ones = 0x0101010101010101u;
  uint64_t word;
  std::memcpy(&word, at, 8);
  // Digits become 0 to 9, a point 0x1e; what stands behind the number is shifted out, so that its last byte is highest.
  const uint32_t spare = 64 - 8 * size;
  word = (word ^ (ones * '0')) << spare;
  const uint64_t points = word ^ (ones * ('.' ^ '0'));
  const uint64_t found = (points - ones) & ~points & (ones * 0x80);
  const uint32_t first = static_cast<uint32_t>(word >> spare) & 0xff;
  if (found == 0) {
    if (!are_digits(word) || first == 0) return false;
    value = static_cast<double>(static_cast<int64_t>(eight_digits(word)));
    return true;
  }
  // Bit of the point: at least one digit stands before it and one behind it.
  const uint32_t bit = static_cast<uint32_t>(std::countr_zero(found)) - 7;
  const uint64_t before = (uint64_t{1} << bit) - 1;
  // The bytes before the point move up over it.
  const uint64_t digits = (word & ~before & ~(uint64_t{0xff} << bit)) | ((word & before) << 8);
  if (!are_digits(digits) || bit == spare || bit == 56 || (first == 0 && bit != spare + 8)) return false;
  value = static_cast<double>(static_cast<int64_t>(eight_digits(digits))) / detail::powers_of_ten[(56 - bit) / 8];
  return true;
}

// Reads [begin, end), which must be one whole number. With `validate_only` the value is not made.
template <bool validate_only = false>
inline NumberResult parse_number(const char* begin, const char* end, double& value) {
  using detail::is_digit;
  const char* at = begin;
  const bool negative = at < end && *at == '-';
  at += negative;
  if (at == end || !is_digit(*at)) {
    return NumberResult::bad;
  }
  const char* const first_digit = at;
  uint64_t digits = static_cast<uint64_t>(*at - '0');
  ++at;
  if (digits == 0) {
    if (at < end && is_digit(*at)) {
      return NumberResult::bad;
    }
  } else {
    for (; at < end && is_digit(*at); ++at) {
      digits = digits * 10 + static_cast<uint64_t>(*at - '0');
    }
  }
  int64_t n_digits = at - first_digit;
  int64_t exponent = 0;
  if (at < end && *at == '.') {
    const char* const fraction = ++at;
    for (; at < end && is_digit(*at); ++at) {
      digits = digits * 10 + static_cast<uint64_t>(*at - '0');
    }
    if (at == fraction) {
      return NumberResult::bad;
    }
    exponent = fraction - at;
    n_digits += at - fraction;
  }
  bool written_exponent = false;
  if (at < end && (*at | 0x20) == 'e') {
    ++at;
    at += at < end && (*at == '-' || *at == '+');
    if (at == end || !is_digit(*at)) {
      return NumberResult::bad;
    }
    while (at < end && is_digit(*at)) {
      ++at;
    }
    written_exponent = true;
  }
  if (at != end) {
    return NumberResult::bad;
  }
  if constexpr (validate_only) {
    return NumberResult::ok;
  }
  // As above; eighteen digits cannot wrap around 64 bits.
  if (n_digits <= 18 && digits <= (uint64_t{1} << 53) && exponent >= -22 && !written_exponent) [[likely]] {
    value = static_cast<double>(digits);
    if (exponent != 0) {
      value /= detail::powers_of_ten[-exponent];
    }
    value = negative ? -value : value;
    return NumberResult::ok;
  }
  return detail::convert(begin, end, value);
}

}  // namespace jenga::refinery
