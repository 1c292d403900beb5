// The compiled plan: what a schema and a fitted state say to the parser and the encoder.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/refinery/hash.h"
#include "core/refinery/time.h"

namespace jenga::refinery {

enum class Kind : uint8_t { numeric, boolean, port, timestamp, categorical, ip, text, raw };
enum class Encoding : uint8_t { onehot, hash, frequency };
// What of the numbers that a path with [*] leads to is the field's value.
enum class Reduce : uint8_t { count, sum, mean, min, max };

// Behind each value of a set of texts; UTF-8 has no such byte.
inline constexpr char set_mark = '\xff';

// Byte strings to their place in a list.
class Vocabulary {
 public:
  void build(std::vector<std::string> values);
  // The place of `value`, or -1.
  int32_t find(std::string_view value) const;
  int32_t size() const { return static_cast<int32_t>(values_.size()); }

 private:
  struct Slot {
    uint32_t tag;
    int32_t place;
  };
  std::vector<std::string> values_;
  std::vector<Slot> slots_;
};

struct Field {
  std::string path;
  Kind kind = Kind::numeric;
  bool required = false;
  // First output column, -1 before fitting; n_columns from there; the indicator's column or -1.
  int32_t column = -1;
  int32_t n_columns = 0;
  int32_t indicator = -1;
  // Place among the number slots or the text slots.
  int32_t slot = 0;
  // How many [*] its path has; above 0 the field holds all values that the path leads to, and `set` is its place among
  // such fields.
  int32_t n_levels = 0;
  int32_t set = -1;
  Reduce reduce = Reduce::count;
  // Fields of other paths that stand in where this one has no value, in this order; they are not among those that a
  // plan gives out.
  std::vector<int32_t> alternatives;

  double clip_low = -std::numeric_limits<double>::infinity();
  double clip_high = std::numeric_limits<double>::infinity();
  bool log1p = false;
  double offset = 0;
  double scale = 1;
  double limit = std::numeric_limits<double>::infinity();
  std::vector<double> knots;
  std::vector<double> references;

  Encoding encoding = Encoding::onehot;
  Vocabulary vocabulary;
  std::vector<double> frequencies;

  HashKind hash = HashKind::jenga;
  uint32_t n_buckets = 0;
  bool has_sign = false;

  int32_t prefix_bits = 0;
  TimeUnit unit = TimeUnit::automatic;
  bool inter_arrival = false;
  // The field whose text tells whose moment it is, -1: the whole stream's; and how many entities are kept.
  int32_t by = -1;
  int64_t max_entities = 0;
  int32_t ngram = 0;
  bool lower = false;
  bool l2 = false;

  bool is_text() const { return kind >= Kind::categorical; }
};

// All elements of a list, where others are numbered.
inline constexpr int64_t every = -1;

// What a key, or an element of a list, leads to; -1: to none.
struct Target {
  int32_t field = -1;
  int32_t node = -1;
};

struct Edge : Target {
  std::string key;
};

struct Item : Target {
  int64_t index = every;
};

// An object or a list on the way to fields.
struct Node {
  std::vector<Edge> edges;
  Vocabulary keys;
  // Of a list, ascending.
  std::vector<Item> items;
  // How many [*] lead here, and the fields beneath the item that is one.
  int32_t level = 0;
  std::vector<int32_t> sets;

  const Edge* find(std::string_view key) const {
    const int32_t place = keys.find(key);
    return place < 0 ? nullptr : &edges[static_cast<size_t>(place)];
  }
};

// Numeric columns laid out for vectors: `n` lanes, once for each row of a group.
struct Lanes {
  // Rows that go through the lanes together: one row would wait for its own divisions, and for its own stores.
  static constexpr int32_t row_group = 8;
  int32_t n = 0;
  std::vector<double> low, high, offset, scale, limit;
  // Number slot and output column of each lane.
  std::vector<int32_t> slot, column;
};

struct Plan {
  bool strict = true;
  bool nan_is_missing = false;
  bool duplicates_are_errors = false;
  bool has_required = false;
  int32_t n_features = 0;
  int32_t n_numbers = 0;
  int32_t n_texts = 0;
  // The fields, and behind them those that only stand in for others, which have slots behind those of the others.
  std::vector<Field> fields;
  int32_t n_given = 0;
  int32_t n_stand_in_numbers = 0;
  int32_t n_stand_in_texts = 0;
  // Those whose path has [*].
  std::vector<int32_t> set_fields;
  std::vector<Node> nodes;
  // Texts that stand for nothing, to all kinds but categories and texts.
  Vocabulary missing_words;
  size_t longest_missing_word = 0;
  Lanes log_lanes, plain_lanes;
  // Fields by what the encoder does with them beyond the lanes.
  std::vector<int32_t> quantile_fields, text_fields, port_fields, time_fields, inter_arrival_fields, indicator_fields;

  bool is_missing_word(std::string_view text) const {
    return text.size() <= longest_missing_word && missing_words.find(text) >= 0;
  }
  int32_t n_fields() const { return n_given; }
  bool has_stand_ins() const { return fields.size() > static_cast<size_t>(n_given); }
  bool fitted() const { return n_features > 0; }
};

// Reads a plan. Throws std::invalid_argument with what is wrong and where.
std::shared_ptr<const Plan> parse_plan(std::string_view json);

// The same, remembering the last plans: a stream brings the same bytes with each chunk.
std::shared_ptr<const Plan> cached_plan(std::string_view json);

}  // namespace jenga::refinery
