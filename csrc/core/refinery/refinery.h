// The security refinery: rows of JSON in, feature rows out. Torch-free; every function may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/refinery/parse.h"
#include "core/refinery/plan.h"

namespace jenga::refinery {

constexpr int64_t max_threads = 1024;

// Bytes and where rows lie in them: `n_rows` pairs [begin, end), ascending, not overlapping.
struct Rows {
  const char* data;
  int64_t size;
  const int64_t* offsets;
  int64_t n_rows;
};

// Raw columns: number slots (NaN missing), texts end to end, states; see Plan for the slots.
struct Columns {
  const double* numbers;
  const char* text;
  const int64_t* text_offsets;  // n_rows * n_texts + 1
  int64_t n_rows;
};

// What is known beside the features of `n_rows` rows. `counters (n_fields, n_counters)`; `last`: the last time of each
// inter-arrival field, NaN if there was none or the field counts by entity. Behind these are three numbers for each
// entity, by field the one that was heard of longest ago first: the field's place among these, the entity's key, its
// last time.
struct Summary {
  int64_t n_rows = 0;
  std::vector<int64_t> counters;
  std::vector<BadRow> bad;
  std::vector<double> last;
};

// Features of the good rows, in order, to the first rows of `features (n_rows, n_features)` and `states (n_rows,
// n_fields)`. `previous`: what is known from before the first row, as `last` has it; empty where nothing is. The result
// does not depend on `n_threads`.
Summary refine(const std::shared_ptr<const Plan>& plan, const Rows& rows, std::span<const double> previous,
               int n_threads, float* features, uint8_t* states);

// The raw columns of the good rows; `numbers (n_rows, n_numbers)` and `states` as above.
Summary extract(const std::shared_ptr<const Plan>& plan, const Rows& rows, int n_threads, double* numbers,
                uint8_t* states, std::string& text, std::vector<int64_t>& text_offsets);

// Features of raw columns; `states` are those of the columns and are brought up to date.
Summary encode(const std::shared_ptr<const Plan>& plan, const Columns& columns, std::span<const double> previous,
               int n_threads, float* features, uint8_t* states);

// Throws std::invalid_argument where `previous` is not laid out as `Summary::last` is.
void check_previous(const Plan& plan, std::span<const double> previous);

// Where the rows of a piece of a stream lie.
struct Split {
  std::vector<int64_t> offsets;   // pairs
  std::vector<int64_t> too_long;  // pairs
  int64_t consumed = 0;
  int64_t n_blank = 0;
  // Of an array: whether its end was seen, and where it is broken (-1: nowhere).
  bool closed = false;
  int64_t broken_at = -1;

  bool operator==(const Split&) const = default;
};

// The bytes that another thread of `split_lines` is worth starting for.
constexpr int64_t split_part_size = 1 << 20;

// Lines up to the last line break, or to the end where `final`. A line longer than `max_row_size` goes to `too_long`.
// `n_threads` share out parts of about `part_size` bytes; the result does not depend on either.
Split split_lines(std::string_view data, bool final, int64_t max_row_size, int n_threads = 1,
                  int64_t part_size = split_part_size);

// Elements of a JSON array, from its bracket (not yet `opened`) or from behind an element.
Split split_array(std::string_view data, bool opened, bool final, int64_t max_row_size);

// Why a row is bad, where in it, and the JSON pointer (RFC 6901) of the value there.
struct Location {
  RowError error;
  int64_t position;
  std::string pointer;
};

Location locate(const std::shared_ptr<const Plan>& plan, std::string_view row);

}  // namespace jenga::refinery
