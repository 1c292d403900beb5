#include "core/refinery/refinery.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>

#include "core/refinery/clones.h"
#include "core/refinery/encode.h"
#include "core/refinery/entities.h"
#include "core/refinery/threads.h"
#include "jenga/check.h"

namespace jenga::refinery {

namespace {

// Rows are read in units of about this many bytes: their structural index and raw columns stay in the second cache.
constexpr int64_t unit_bytes = 32 * 1024;
constexpr int64_t unit_rows = 1024;
constexpr int64_t unit_columns_rows = 256;

struct Unit {
  int64_t first, last;
  int64_t n_good = 0;
  TimeSpan span;
};

std::vector<Unit> units_of(const Rows& rows) {
  std::vector<Unit> units;
  for (int64_t row = 0; row < rows.n_rows;) {
    const int64_t first = row;
    const int64_t limit = rows.offsets[2 * first] + unit_bytes;
    do {
      ++row;
    } while (row < rows.n_rows && row - first < unit_rows && rows.offsets[2 * row + 1] <= limit);
    units.push_back({.first = first, .last = row, .span = {}});
  }
  return units;
}

// Adds a row to the counts of its fields' states: those of a field are the bytes of a word, so that a vector of words
// takes a row's fields at once.
JENGA_CLONES
void count_row(const uint8_t* __restrict states, size_t n_fields, uint64_t* __restrict seen) {
  for (size_t i = 0; i < n_fields; ++i) seen[i] += uint64_t{1} << (8 * states[i]);
}

// Rows by field and state.
void count_states(const uint8_t* states, int64_t n_rows, size_t n_fields, std::vector<int64_t>& counts) {
  constexpr size_t n_states = static_cast<size_t>(State::unknown) + 1;
  static_assert(n_states <= sizeof(uint64_t), "a state's count is a byte of a word");
  constexpr int64_t most = std::numeric_limits<uint8_t>::max();
  std::vector<uint64_t> seen(n_fields);
  for (int64_t row = 0; row < n_rows;) {
    std::ranges::fill(seen, uint64_t{0});
    for (const int64_t last = std::min(row + most, n_rows); row < last; ++row, states += n_fields) {
      count_row(states, n_fields, seen.data());
    }
    for (size_t i = 0; i < n_fields; ++i) {
      for (size_t state = 0; state < n_states; ++state) {
        counts[i * n_counters + state] += static_cast<int64_t>(seen[i] >> (8 * state) & most);
      }
    }
  }
}

// Adds what worker threads counted; sums of integers do not depend on who counted first.
class Tally {
 public:
  explicit Tally(const Plan& plan) : counters_(static_cast<size_t>(plan.n_fields()) * n_counters) {}

  void add(const Plan& plan, const uint8_t* states, int64_t n_rows, const RawBlock* block) {
    const auto n_fields = static_cast<size_t>(plan.n_fields());
    std::vector<int64_t> counts(counters_.size());
    count_states(states, n_rows, n_fields, counts);
    for (size_t i = 0; block != nullptr && i < n_fields; ++i) {
      counts[i * n_counters + coerced_counter] = block->coerced[i];
      counts[i * n_counters + duplicate_counter] = block->duplicates[i];
    }
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < counts.size(); ++i) counters_[i] += counts[i];
    if (block != nullptr) bad_.insert(bad_.end(), block->bad.begin(), block->bad.end());
  }

  void finish(Summary& summary) {
    std::ranges::sort(bad_, {}, &BadRow::row);
    summary.counters = std::move(counters_);
    summary.bad = std::move(bad_);
  }

 private:
  std::mutex mutex_;
  std::vector<int64_t> counters_;
  std::vector<BadRow> bad_;
};

// Moves the good rows of the units together.
template <typename T>
void close_gaps(const std::vector<Unit>& units, T* values, int64_t width) {
  int64_t n_rows = 0;
  for (const Unit& unit : units) {
    if (n_rows != unit.first && unit.n_good > 0) {
      std::memmove(values + n_rows * width, values + unit.first * width,
                   static_cast<size_t>(unit.n_good * width) * sizeof(T));
    }
    n_rows += unit.n_good;
  }
}

// The entities of each inter-arrival field that counts by them, as `previous` has them.
std::vector<EntityTimes> entities_of(const Plan& plan, std::span<const double> previous) {
  std::vector<EntityTimes> entities;
  entities.reserve(plan.inter_arrival_fields.size());
  for (const int32_t i : plan.inter_arrival_fields) {
    entities.emplace_back(plan.fields[static_cast<size_t>(i)].max_entities);
  }
  for (size_t i = entities.size(); i < previous.size(); i += 3) {
    entities[static_cast<size_t>(previous[i])].exchange(static_cast<uint64_t>(previous[i + 1]), previous[i + 2]);
  }
  return entities;
}

// Joins the units' inter-arrival: the first row of each that has a time follows the last such row before it, and each
// row of an entity the one before of the same.
void join_spans(const Plan& plan, const std::vector<Unit>& units, std::span<const double> previous, float* features,
                std::vector<double>& last) {
  const size_t n = plan.inter_arrival_fields.size();
  const auto field_of = [&](size_t i) -> const Field& {
    return plan.fields[static_cast<size_t>(plan.inter_arrival_fields[i])];
  };
  last.assign(n, std::numeric_limits<double>::quiet_NaN());
  std::copy_n(previous.begin(), std::min(n, previous.size()), last.begin());
  std::vector<EntityTimes> entities = entities_of(plan, previous);
  int64_t first_row = 0;
  for (const Unit& unit : units) {
    for (size_t i = 0; i < n; ++i) {
      const int64_t row = unit.span.first_row[i];
      if (row < 0) continue;
      if (last[i] == last[i]) {
        set_inter_arrival(field_of(i), unit.span.first[i], last[i], features + (first_row + row) * plan.n_features);
      }
      last[i] = unit.span.last[i];
    }
    for (const Sighting& sighting : unit.span.sightings) {
      const auto at = static_cast<size_t>(sighting.at);
      const double before = entities[at].exchange(sighting.time.key, sighting.time.seconds);
      if (before == before) {
        set_inter_arrival(field_of(at), sighting.time.seconds, before,
                          features + (first_row + sighting.row) * plan.n_features);
      }
    }
    first_row += unit.n_good;
  }
  for (size_t i = 0; i < n; ++i) {
    if (field_of(i).by < 0) continue;
    last[i] = std::numeric_limits<double>::quiet_NaN();
    for (const EntityTime& time : entities[i].times()) {
      last.insert(last.end(), {static_cast<double>(i), static_cast<double>(time.key), time.seconds});
    }
  }
}

// Numbers and states that someone else made: what is missing by one of the two is missing by both.
void reconcile(const Plan& plan, double* numbers, uint8_t* states, int64_t n_rows) {
  for (int64_t row = 0; row < n_rows; ++row, numbers += plan.n_numbers, states += plan.n_fields()) {
    for (int32_t i = 0; i < plan.n_fields(); ++i) {
      const Field& field = plan.fields[static_cast<size_t>(i)];
      auto state = static_cast<State>(states[i]);
      if (state == State::unknown) state = State::present;
      if (!field.is_text()) {
        double& number = numbers[field.slot];
        if (state == State::present) state = number_state(field, number);
        if (state != State::present) number = std::numeric_limits<double>::quiet_NaN();
      }
      states[i] = static_cast<uint8_t>(state);
    }
  }
}

int64_t count_good(const std::vector<Unit>& units) {
  int64_t n_rows = 0;
  for (const Unit& unit : units) n_rows += unit.n_good;
  return n_rows;
}

}  // namespace

void check_previous(const Plan& plan, std::span<const double> previous) {
  const size_t n = plan.inter_arrival_fields.size();
  if (previous.empty()) return;
  check(previous.size() >= n && (previous.size() - n) % 3 == 0, "previous: got ", previous.size(),
        " numbers; allowed: ", n, ", one for each field with inter-arrival, and three for each entity");
  for (size_t i = n; i < previous.size(); i += 3) {
    const double at = previous[i];
    const double key = previous[i + 1];
    const double seconds = previous[i + 2];
    const bool is_field = at >= 0 && at < static_cast<double>(n) && at == std::floor(at);
    const bool by =
        is_field && plan.fields[static_cast<size_t>(plan.inter_arrival_fields[static_cast<size_t>(at)])].by >= 0;
    check(by && key >= 0 && key < n_entity_keys && key == std::floor(key) && seconds == seconds, "previous[", i,
          "]: got ", at, ", ", key, ", ", seconds,
          "; allowed: the place of a field that counts by entity, a key below 2^53, and a time");
  }
}

Summary refine(const std::shared_ptr<const Plan>& plan, const Rows& rows, std::span<const double> previous,
               int n_threads, float* features, uint8_t* states) {
  std::vector<Unit> units = units_of(rows);
  Tally tally(*plan);
  for_each_item(units, n_threads, [&] {
    return [&, parser = BlockParser(plan), encoder = Encoder(plan), block = RawBlock()](Unit& unit, size_t) mutable {
      parser.parse(rows.data, rows.size, rows.offsets, unit.first, unit.last, block);
      unit.n_good = block.n_rows;
      encoder.encode(block.numbers.data(), block.texts.data(), block.states.data(), block.n_rows,
                     features + unit.first * plan->n_features, unit.span);
      std::memcpy(states + unit.first * plan->n_fields(), block.states.data(),
                  static_cast<size_t>(block.n_rows * plan->n_fields()));
      tally.add(*plan, block.states.data(), block.n_rows, &block);
    };
  });
  Summary summary;
  summary.n_rows = count_good(units);
  if (summary.n_rows < rows.n_rows) {
    close_gaps(units, features, plan->n_features);
    close_gaps(units, states, plan->n_fields());
  }
  join_spans(*plan, units, previous, features, summary.last);
  tally.finish(summary);
  return summary;
}

Summary extract(const std::shared_ptr<const Plan>& plan, const Rows& rows, int n_threads, double* numbers,
                uint8_t* states, std::string& text, std::vector<int64_t>& text_offsets) {
  std::vector<Unit> units = units_of(rows);
  std::vector<std::string> texts(units.size());
  std::vector<std::vector<int64_t>> ends(units.size());
  Tally tally(*plan);
  for_each_item(units, n_threads, [&] {
    return [&, parser = BlockParser(plan), block = RawBlock()](Unit& unit, size_t index) mutable {
      parser.parse(rows.data, rows.size, rows.offsets, unit.first, unit.last, block);
      check_addresses(*plan, block.texts.data(), block.states.data(), block.n_rows);
      unit.n_good = block.n_rows;
      std::copy_n(block.numbers.data(), block.n_rows * plan->n_numbers, numbers + unit.first * plan->n_numbers);
      std::memcpy(states + unit.first * plan->n_fields(), block.states.data(),
                  static_cast<size_t>(block.n_rows * plan->n_fields()));
      for (int64_t i = 0; i < block.n_rows * plan->n_texts; ++i) {
        texts[index] += block.texts[static_cast<size_t>(i)];
        ends[index].push_back(static_cast<int64_t>(texts[index].size()));
      }
      tally.add(*plan, block.states.data(), block.n_rows, &block);
    };
  });
  Summary summary;
  summary.n_rows = count_good(units);
  close_gaps(units, numbers, plan->n_numbers);
  close_gaps(units, states, plan->n_fields());
  text_offsets.assign(1, 0);
  for (size_t i = 0; i < units.size(); ++i) {
    for (const int64_t end : ends[i]) text_offsets.push_back(static_cast<int64_t>(text.size()) + end);
    text += texts[i];
    texts[i] = {};
  }
  tally.finish(summary);
  return summary;
}

Summary encode(const std::shared_ptr<const Plan>& plan, const Columns& columns, std::span<const double> previous,
               int n_threads, float* features, uint8_t* states) {
  std::vector<Unit> units;
  for (int64_t first = 0; first < columns.n_rows; first += unit_columns_rows) {
    const int64_t last = std::min(first + unit_columns_rows, columns.n_rows);
    units.push_back({.first = first, .last = last, .n_good = last - first, .span = {}});
  }
  Tally tally(*plan);
  for_each_item(units, n_threads, [&] {
    return [&, encoder = Encoder(plan), texts = std::vector<std::string_view>(), numbers = std::vector<double>()](
               Unit& unit, size_t) mutable {
      const int64_t first_text = unit.first * plan->n_texts;
      const int64_t n_texts = unit.n_good * plan->n_texts;
      texts.resize(static_cast<size_t>(n_texts));
      for (int64_t i = 0; i < n_texts; ++i) {
        const int64_t begin = columns.text_offsets[first_text + i];
        const int64_t end = columns.text_offsets[first_text + i + 1];
        texts[static_cast<size_t>(i)] = {columns.text + begin, static_cast<size_t>(end - begin)};
      }
      uint8_t* const unit_states = states + unit.first * plan->n_fields();
      const double* const given = columns.numbers + unit.first * plan->n_numbers;
      numbers.assign(given, given + unit.n_good * plan->n_numbers);
      reconcile(*plan, numbers.data(), unit_states, unit.n_good);
      encoder.encode(numbers.data(), texts.data(), unit_states, unit.n_good, features + unit.first * plan->n_features,
                     unit.span);
      tally.add(*plan, unit_states, unit.n_good, nullptr);
    };
  });
  Summary summary;
  summary.n_rows = columns.n_rows;
  join_spans(*plan, units, previous, features, summary.last);
  tally.finish(summary);
  return summary;
}

}  // namespace jenga::refinery
