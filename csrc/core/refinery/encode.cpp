#include "core/refinery/encode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>

#include "core/refinery/address.h"
#include "core/refinery/clones.h"
#include "core/refinery/parse.h"

namespace jenga::refinery {

namespace {

constexpr double largest = std::numeric_limits<float>::max();
// How far ahead of a row the memory of another is asked for.
constexpr int64_t rows_ahead = 8;

// log(1 + a) for a >= 0, to about 1e-15 relative, without a branch so that loops over it become vectors. The fraction's
// logarithm is the series of 2 atanh((m - 1) / (m + 1)) on [sqrt 1/2, sqrt 2).
inline double log1p_of(double a) {
  constexpr double ln2 = std::numbers::ln2;
  constexpr int64_t sqrt_half = 0x3fe6a09e667f3bcd;
  // Adding 2^52 + 2^51 to a small integer puts it into the low bits of a double.
  constexpr double shifter = 6755399441055744.0;
  const double u = 1 + a;
  const auto bits = std::bit_cast<int64_t>(u);
  const int64_t exponent = (bits - sqrt_half) >> 52;
  const double m = std::bit_cast<double>(bits - (exponent << 52));
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double series = 1.0 / 19;
  series = series * z + 1.0 / 17;
  series = series * z + 1.0 / 15;
  series = series * z + 1.0 / 13;
  series = series * z + 1.0 / 11;
  series = series * z + 1.0 / 9;
  series = series * z + 1.0 / 7;
  series = series * z + 1.0 / 5;
  series = series * z + 1.0 / 3;
  series = series * z + 1;
  const double k = std::bit_cast<double>(std::bit_cast<int64_t>(shifter) + exponent) - shifter;
  // What rounding 1 + a lost, to first order.
  const double lost = (a - (u - 1)) / u;
  return k * ln2 + (2 * s * series + lost);
}

// Pointers, not vectors: the compiler must see that nothing overlaps.
inline double clipped(double x, double low, double high) { return x < low ? low : (x > high ? high : x); }

inline float bounded(double x, double limit) {
  const double inside = x < -limit ? -limit : (x > limit ? limit : x);
  return static_cast<float>(inside == inside ? inside : 0);
}

JENGA_CLONES
void log_lanes(double* __restrict values, const double* __restrict low, const double* __restrict high, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double x = clipped(values[i], low[i], high[i]);
    values[i] = std::copysign(log1p_of(std::fabs(x)), x);
  }
}

JENGA_CLONES
void scale_lanes(const double* __restrict values, const double* __restrict offset, const double* __restrict scale,
                 const double* __restrict limit, float* __restrict results, int64_t n) {
  for (int64_t i = 0; i < n; ++i) results[i] = bounded((values[i] - offset[i]) * scale[i], limit[i]);
}

JENGA_CLONES
void clip_and_scale_lanes(const double* __restrict values, const double* __restrict low, const double* __restrict high,
                          const double* __restrict offset, const double* __restrict scale,
                          const double* __restrict limit, float* __restrict results, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    results[i] = bounded((clipped(values[i], low[i], high[i]) - offset[i]) * scale[i], limit[i]);
  }
}

// Asks for the cache lines of a row that is written soon. Features of many rows lie in no cache, and a row's own stores
// would wait for its lines. What lies behind the last row is asked for too, as a number: nothing reads or writes it.
inline void prefetch_row(const float* rows, int64_t row, int64_t n_features) {
  constexpr uintptr_t line_bytes = 64;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(rows) + static_cast<uintptr_t>(row * n_features) * sizeof(float);
  const uintptr_t end = begin + static_cast<uintptr_t>(n_features) * sizeof(float);
  for (uintptr_t at = begin; at < end; at += line_bytes) __builtin_prefetch(reinterpret_cast<const void*>(at), 1);
}

double scaled(const Field& field, double value) {
  const double limit = std::min(field.limit, largest);
  const double result = (value - field.offset) * field.scale;
  return result == result ? std::clamp(result, -limit, limit) : 0;
}

// Where `value` lies between the knots, as scikit-learn's QuantileTransformer has it: at the ends and in runs of equal
// knots the mean of the outer references.
double quantile_of(const Field& field, double value) {
  value = std::clamp(value, field.clip_low, field.clip_high);
  if (field.log1p) value = std::copysign(std::log1p(std::fabs(value)), value);
  const auto& knots = field.knots;
  // Another library's logarithm made the knots: its last bits may differ, and a value must still meet its own knot.
  const double slack = field.log1p ? 4 * std::numeric_limits<double>::epsilon() * std::fabs(value) : 0;
  if (value <= knots.front() + slack) return field.references.front();
  if (value >= knots.back() - slack) return field.references.back();
  const auto upper = static_cast<size_t>(std::upper_bound(knots.begin(), knots.end(), value + slack) - knots.begin());
  const auto lower = static_cast<size_t>(std::lower_bound(knots.begin(), knots.end(), value - slack) - knots.begin());
  if (lower < upper) return 0.5 * (field.references[lower] + field.references[upper - 1]);
  const double share = (value - knots[lower - 1]) / (knots[lower] - knots[lower - 1]);
  return field.references[lower - 1] + share * (field.references[lower] - field.references[lower - 1]);
}

void address(const Field& field, std::string_view value, uint8_t& state, float* row) {
  Address parsed;
  if (!parse_address(value, parsed)) {
    state = static_cast<uint8_t>(State::mismatch);
    return;
  }
  const AddressFlags flags = address_flags(parsed);
  float* out = row + field.column;
  for (const bool flag : {parsed.is_v6, flags.is_private, flags.loopback, flags.multicast, flags.link_local,
                          flags.reserved, flags.global}) {
    *out++ = flag ? 1.0f : 0.0f;
  }
  for (int i = 0; i < field.prefix_bits; ++i) *out++ = parsed.bit(i) ? 1.0f : 0.0f;
}

void port(const Field& field, double number, float* row) {
  float* const out = row + field.column;
  out[number < 1024 ? 0 : number < 49152 ? 1 : 2] = 1;
  if (field.n_buckets == 0) return;
  char text[8];
  const auto value = static_cast<unsigned>(number);
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out[3 + bucket_of({text, static_cast<size_t>(end - text)}, HashKind::jenga, field.n_buckets).index] = 1;
}

// Sine and cosine of the time of day: of the minute from a table, turned by the seconds with their Taylor series
// (the angle is under 0.0044, so what is left out is under 1e-14).
struct DayCircle {
  std::array<double, 1440> sines, cosines;
  std::array<float, 7> weekday_sines, weekday_cosines;

  DayCircle() {
    for (size_t i = 0; i < sines.size(); ++i) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(i) / 1440;
      sines[i] = std::sin(angle);
      cosines[i] = std::cos(angle);
    }
    for (size_t i = 0; i < weekday_sines.size(); ++i) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(i) / 7;
      weekday_sines[i] = static_cast<float>(std::sin(angle));
      weekday_cosines[i] = static_cast<float>(std::cos(angle));
    }
  }

  void write(double seconds, float* out) const {
    const double day = std::floor(seconds / 86400);
    const double second = std::clamp(seconds - day * 86400, 0.0, std::nextafter(86400.0, 0.0));
    const auto minute = static_cast<size_t>(second / 60);
    const double turn = (second - 60 * static_cast<double>(minute)) * (2 * std::numbers::pi / 86400);
    const double square = turn * turn;
    const double sine = turn * (1 - square / 6);
    const double cosine = 1 - square / 2 * (1 - square / 12);
    out[0] = static_cast<float>(sines[minute] * cosine + cosines[minute] * sine);
    out[1] = static_cast<float>(cosines[minute] * cosine - sines[minute] * sine);
    // 1970-01-01 was a Thursday.
    const auto weekday = static_cast<size_t>(((static_cast<int64_t>(day) + 3) % 7 + 7) % 7);
    out[2] = weekday_sines[weekday];
    out[3] = weekday_cosines[weekday];
  }
};

// Whether a text names somebody: a word for nothing, or blanks alone, do not.
bool is_entity(const Plan& plan, State state, std::string_view name) {
  if (state != State::present && state != State::unknown) return false;
  const std::string_view word = stripped(name);
  return !word.empty() && !plan.is_missing_word(word);
}

const DayCircle& day_circle() {
  static const DayCircle circle;
  return circle;
}

}  // namespace

Encoder::Encoder(std::shared_ptr<const Plan> plan)
    : plan_(std::move(plan)),
      lane_values_(static_cast<size_t>(std::max(plan_->log_lanes.n, plan_->plain_lanes.n)) * Lanes::row_group),
      lane_results_(lane_values_.size()),
      byte_counts_(256) {}

void Encoder::encode(const double* numbers, const std::string_view* texts, uint8_t* states, int64_t n_rows,
                     float* features, TimeSpan& span) {
  const Plan& plan = *plan_;
  const size_t n_times = plan.inter_arrival_fields.size();
  span.first_row.assign(n_times, -1);
  span.first.assign(n_times, std::numeric_limits<double>::quiet_NaN());
  span.last = span.first;
  span.sightings.clear();
  recent_.assign(static_cast<size_t>(plan.n_texts), {});
  for (int64_t r = 0; r < n_rows; ++r) {
    float* const row = features + r * plan.n_features;
    if (r % Lanes::row_group == 0) {
      const int64_t n_group = std::min<int64_t>(Lanes::row_group, n_rows - r);
      std::memset(row, 0, static_cast<size_t>(n_group * plan.n_features) * sizeof(float));
      lanes(plan.log_lanes, true, numbers, n_group, row);
      lanes(plan.plain_lanes, false, numbers, n_group, row);
    }
    prefetch_row(features, r + rows_ahead, plan.n_features);
    for (const int32_t i : plan.quantile_fields) {
      const Field& field = plan.fields[static_cast<size_t>(i)];
      const double value = numbers[field.slot];
      if (value == value) row[field.column] = static_cast<float>(scaled(field, quantile_of(field, value)));
    }
    for (const int32_t i : plan.port_fields) {
      const Field& field = plan.fields[static_cast<size_t>(i)];
      if (const double value = numbers[field.slot]; value == value) port(field, value, row);
    }
    for (const int32_t i : plan.text_fields) {
      const Field& field = plan.fields[static_cast<size_t>(i)];
      if (static_cast<State>(states[i]) != State::present) continue;
      text_field(field, texts[field.slot], states[i], row);
    }
    // Behind the texts: an address that is none is nobody's.
    if (!plan.time_fields.empty()) times(numbers, texts, states, r, row, span);
    for (const int32_t i : plan.indicator_fields) {
      const auto state = static_cast<State>(states[i]);
      row[plan.fields[static_cast<size_t>(i)].indicator] =
          state == State::present || state == State::unknown ? 0.0f : 1.0f;
    }
    numbers += plan.n_numbers;
    texts += plan.n_texts;
    states += plan.n_fields();
  }
}

void Encoder::text_field(const Field& field, std::string_view value, uint8_t& state, float* row) {
  Recent& recent = recent_[static_cast<size_t>(field.slot)];
  const bool again = recent.row != nullptr && recent.value == value;
  if (field.kind == Kind::categorical && field.n_levels == 0) {
    if (!again) recent.place = field.encoding == Encoding::hash ? -1 : field.vocabulary.find(value);
    categorical(field, value, state, row);
  } else if (again) {
    state = recent.state;
    std::copy_n(recent.row + field.column, field.n_columns, row + field.column);
  } else if (field.kind == Kind::categorical) {
    members(field, value, state, row);
  } else if (field.kind == Kind::ip) {
    address(field, value, state, row);
  } else {
    text(field, value, row);
  }
  recent.value = value;
  recent.row = row;
  recent.state = state;
}

// The numeric columns of up to a group of rows.
void Encoder::lanes(const Lanes& lanes, bool with_log, const double* numbers, int64_t n_rows, float* rows) {
  double* values = lane_values_.data();
  for (int64_t r = 0; r < n_rows; ++r, numbers += plan_->n_numbers) {
    for (const int32_t slot : lanes.slot) *values++ = numbers[slot];
  }
  const int64_t n = n_rows * lanes.n;
  if (with_log) {
    log_lanes(lane_values_.data(), lanes.low.data(), lanes.high.data(), n);
    scale_lanes(lane_values_.data(), lanes.offset.data(), lanes.scale.data(), lanes.limit.data(), lane_results_.data(),
                n);
  } else {
    clip_and_scale_lanes(lane_values_.data(), lanes.low.data(), lanes.high.data(), lanes.offset.data(),
                         lanes.scale.data(), lanes.limit.data(), lane_results_.data(), n);
  }
  const float* results = lane_results_.data();
  for (int64_t r = 0; r < n_rows; ++r, rows += plan_->n_features) {
    // A missing value is NaN, which the lanes turn into 0.
    for (const int32_t column : lanes.column) rows[column] = *results++;
  }
}

void Encoder::categorical(const Field& field, std::string_view value, uint8_t& state, float* row) {
  float* const out = row + field.column;
  if (field.encoding == Encoding::hash) {
    const Bucket bucket = bucket_of(value, field.hash, field.n_buckets);
    out[bucket.index] = field.has_sign && bucket.negative ? -1.0f : 1.0f;
    return;
  }
  const int32_t place = recent_[static_cast<size_t>(field.slot)].place;
  if (place < 0) state = static_cast<uint8_t>(State::unknown);
  if (field.encoding == Encoding::onehot) {
    out[place < 0 ? field.vocabulary.size() : place] = 1;
  } else if (place >= 0) {
    out[0] = static_cast<float>(std::clamp(field.frequencies[static_cast<size_t>(place)], -largest, largest));
  }
}

// The values of a set, each with `set_mark` behind it; one that was not seen in training makes the field's state
// unknown.
void Encoder::members(const Field& field, std::string_view values, uint8_t& state, float* row) {
  float* const out = row + field.column;
  while (!values.empty()) {
    const size_t end = std::min(values.find(set_mark), values.size());
    const std::string_view value = values.substr(0, end);
    values.remove_prefix(std::min(end + 1, values.size()));
    if (field.encoding == Encoding::hash) {
      const Bucket bucket = bucket_of(value, field.hash, field.n_buckets);
      out[bucket.index] += field.has_sign && bucket.negative ? -1.0f : 1.0f;
      continue;
    }
    const int32_t place = field.vocabulary.find(value);
    if (place < 0) state = static_cast<uint8_t>(State::unknown);
    out[place < 0 ? field.vocabulary.size() : place] = 1;
  }
}

void Encoder::times(const double* numbers, const std::string_view* texts, const uint8_t* states, int64_t row_number,
                    float* row, TimeSpan& span) const {
  size_t i = 0;
  for (const int32_t index : plan_->time_fields) {
    const Field& field = plan_->fields[static_cast<size_t>(index)];
    const size_t at = i;
    i += field.inter_arrival ? 1 : 0;
    const double seconds = numbers[field.slot];
    if (!(seconds == seconds)) continue;
    day_circle().write(seconds, row + field.column);
    if (!field.inter_arrival) continue;
    if (field.by >= 0) {
      const std::string_view name = texts[plan_->fields[static_cast<size_t>(field.by)].slot];
      if (!is_entity(*plan_, static_cast<State>(states[field.by]), name)) continue;
      span.sightings.push_back({row_number, static_cast<int32_t>(at), {entity_key(name), seconds}});
      continue;
    }
    if (span.first_row[at] < 0) {
      span.first_row[at] = row_number;
      span.first[at] = seconds;
    } else {
      set_inter_arrival(field, seconds, span.last[at], row);
    }
    span.last[at] = seconds;
  }
}

void set_inter_arrival(const Field& field, double seconds, double previous, float* row) {
  row[field.column + 4] = static_cast<float>(scaled(field, std::log1p(std::max(0.0, seconds - previous))));
}

void check_addresses(const Plan& plan, std::string_view* texts, uint8_t* states, int64_t n_rows) {
  for (int32_t i = 0; i < plan.n_fields(); ++i) {
    const Field& field = plan.fields[static_cast<size_t>(i)];
    if (field.kind != Kind::ip) continue;
    for (int64_t r = 0; r < n_rows; ++r) {
      uint8_t& state = states[r * plan.n_fields() + i];
      std::string_view& text = texts[r * plan.n_texts + field.slot];
      Address parsed;
      if (static_cast<State>(state) == State::present && !parse_address(text, parsed)) {
        state = static_cast<uint8_t>(State::mismatch);
        text = {};
      }
    }
  }
}

}  // namespace jenga::refinery
