// Timestamps as seconds since 1970-01-01T00:00:00Z.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

namespace jenga::refinery {

// The years 1 to 9999: what calendars, and Python's datetime, hold.
inline constexpr double first_second = -62135596800.0;
inline constexpr double end_of_time = 253402300800.0;

inline bool is_time(double seconds) { return seconds >= first_second && seconds < end_of_time; }

enum class TimeUnit : uint8_t { automatic, seconds, milliseconds, microseconds, nanoseconds };

inline double epoch_seconds(double value, TimeUnit unit) {
  if (unit == TimeUnit::automatic) {
    const double size = std::fabs(value);
    unit = size < 1e11   ? TimeUnit::seconds
           : size < 1e14 ? TimeUnit::milliseconds
           : size < 1e17 ? TimeUnit::microseconds
                         : TimeUnit::nanoseconds;
  }
  switch (unit) {
    case TimeUnit::milliseconds:
      return value / 1e3;
    case TimeUnit::microseconds:
      return value / 1e6;
    case TimeUnit::nanoseconds:
      return value / 1e9;
    default:
      return value;
  }
}

// Days from 1970-01-01 in the proleptic Gregorian calendar, by counting from March so that leap days come last.
inline int64_t days_from_civil(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

namespace detail {

struct TimeReader {
  const char* at;
  const char* end;

  bool digits(int count, int64_t& value) {
    if (end - at < count) return false;
    value = 0;
    for (int i = 0; i < count; ++i) {
      const auto digit = static_cast<unsigned char>(at[i] - '0');
      if (digit > 9) return false;
      value = value * 10 + digit;
    }
    at += count;
    return true;
  }

  bool take(char c) {
    if (at == end || *at != c) return false;
    ++at;
    return true;
  }
};

}  // namespace detail

// Reads `YYYY-MM-DD[(T| )HH:MM[:SS[(.|,)fraction]][Z|(+|-)HH[:]MM]]`; without a zone it is UTC.
inline bool parse_iso8601(std::string_view text, double& seconds) {
  detail::TimeReader in{text.data(), text.data() + text.size()};
  int64_t year, month, day, hour = 0, minute = 0, second = 0, offset = 0;
  double fraction = 0;
  if (!in.digits(4, year) || !in.take('-') || !in.digits(2, month) || !in.take('-') || !in.digits(2, day)) return false;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  constexpr int64_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1] + (month == 2 && leap)) {
    return false;
  }
  if (in.at != in.end) {
    if (!in.take('T') && !in.take(' ')) return false;
    if (!in.digits(2, hour) || !in.take(':') || !in.digits(2, minute)) return false;
    const bool has_seconds = in.take(':');
    if (has_seconds && !in.digits(2, second)) return false;
    if (has_seconds && (in.take('.') || in.take(','))) {
      const char* const first = in.at;
      int64_t digits = 0;
      double unit = 1;
      for (; in.at != in.end && static_cast<unsigned char>(*in.at - '0') < 10; ++in.at) {
        if (in.at - first < 15) {
          digits = digits * 10 + (*in.at - '0');
          unit *= 10;
        }
      }
      if (in.at == first) return false;
      fraction = static_cast<double>(digits) / unit;
    }
    if (hour > 23 || minute > 59 || second > 59) return false;
    if (!in.take('Z') && in.at != in.end) {
      const bool west = *in.at == '-';
      if (!in.take('+') && !in.take('-')) return false;
      int64_t zone_hour, zone_minute;
      if (!in.digits(2, zone_hour)) return false;
      in.take(':');
      if (!in.digits(2, zone_minute) || zone_hour > 23 || zone_minute > 59) return false;
      offset = (zone_hour * 60 + zone_minute) * 60 * (west ? -1 : 1);
    }
    if (in.at != in.end) return false;
  }
  const int64_t whole = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
  seconds = static_cast<double>(whole) + fraction;
  return true;
}

}  // namespace jenga::refinery
