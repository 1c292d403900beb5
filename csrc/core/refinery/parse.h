// From the bytes of rows to raw columns: one strict walk over simdjson's structural index.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/refinery/error.h"
#include "core/refinery/plan.h"
#include "core/refinery/structure.h"

namespace jenga::refinery {

// What a row holds for a field; everything but `present` and `unknown` counts as missing.
enum class State : uint8_t { present = 0, absent = 1, null = 2, mismatch = 3, overflow = 4, unknown = 5 };

// Counters of a field: its states, then values coerced from another type, then keys given again.
inline constexpr int n_counters = 8;
inline constexpr int coerced_counter = 6;
inline constexpr int duplicate_counter = 7;

// A text without the blanks around it.
std::string_view stripped(std::string_view text);

// What a number means for a field: present, or why it is none.
State number_state(const Field& field, double number);

// Strings that had escapes, at addresses that stay until `clear`.
class Arena {
 public:
  // Room for `size` bytes, to be kept with `commit`.
  char* reserve(size_t size);
  void commit(size_t size) { used_ += size; }
  void clear() { chunk_ = used_ = 0; }

 private:
  std::vector<std::pair<std::unique_ptr<char[]>, size_t>> chunks_;
  size_t chunk_ = 0;
  size_t used_ = 0;
};

struct BadRow {
  int64_t row;
  RowError error;
  // Absolute place in the data.
  int64_t position;
};

// The raw columns of some rows, row by row: number slots (NaN missing), text slots, states of fields.
struct RawBlock {
  int64_t n_rows = 0;
  std::vector<double> numbers;
  std::vector<std::string_view> texts;
  std::vector<uint8_t> states;
  std::vector<int64_t> coerced, duplicates;  // by field
  std::vector<BadRow> bad;
  Arena arena;

  void reset(const Plan& plan, int64_t capacity);
};

// Parses blocks of rows with one plan. Not shared between threads.
class BlockParser {
 public:
  explicit BlockParser(std::shared_ptr<const Plan> plan);

  // The path of the required field that the row read last had no value for; empty where it had them all.
  std::string_view lacking() const;

  // Rows [first, last) of `offsets` ([begin, end) pairs into `data`) into `block`; bad rows leave no trace there but
  // in `block.bad`. The texts of the block point into `data` and the block, until the next call.
  void parse(const char* data, int64_t data_size, const int64_t* offsets, int64_t first, int64_t last, RawBlock& block);

 private:
  // Sixteen bytes of a key.
  using Half = uint64_t __attribute__((vector_size(16)));

  // A key that was seen in an object, what it leads to, and which keys came after it: events repeat their order.
  struct Key {
    // The text with `":` behind it where that fits; other bytes are masked out.
    Half halves[2] = {};
    Half masks[2] = {};
    Key* next[2] = {nullptr, nullptr};
    bool fits = false;
    // Whether the field is a plain number, for which there is a short way.
    bool plain_number = false;
    int32_t field = -1;
    int32_t slot = -1;
    int32_t node = -1;
    std::string text;
  };
  struct KeyMemory {
    Key before_any;
    std::deque<Key> keys;  // at addresses that stay
    std::vector<Key*> slots;
  };

  // A value of a set, as its field reads it.
  struct Member {
    std::string_view text;
    double number;
    State state;
    bool coerced;
  };
  // `marks`: for each [*] of the path, how many members there were when the list's element that is read now began.
  struct Set {
    std::vector<Member> members;
    std::vector<size_t> marks;
  };
  // Where the reader is.
  struct Bookmark {
    uint32_t k;
    size_t next_bad_escape;
    uint32_t key_position;
  };

  void aim();
  void store();
  void choose();
  void judge_alone(const char* data, int64_t data_size, int64_t begin, int64_t end, int64_t row);
  bool try_row(const Piece& piece, uint32_t begin, uint32_t end);
  bool walk(uint32_t begin);
  bool object(int32_t node, int depth);

  bool short_member(int depth);
  Key* second_guess(int32_t node, Key& previous, uint32_t position);
  Key* resolve(int32_t node, std::string_view name, Key& key);
  static bool matches(const Key& key, const char* bytes);
  Key* look_up(int32_t node, Key& previous, uint32_t position, uint32_t end);
  static void grow(KeyMemory& memory);
  bool value(int32_t field, int32_t node, int depth);
  bool one_value(int32_t field, int32_t node, int depth);
  bool plain_value(int32_t field, int32_t node, int depth);
  bool key(int depth, bool& repeated);
  bool is_repeated(int depth, uint32_t position, uint32_t end);
  void enter(int32_t node);
  void forget(int32_t node, int32_t level);
  void forget_field(int32_t index, int32_t level);
  void clear_field(int32_t index);
  bool listed(int32_t field, int32_t node, int depth);
  bool elements(int32_t node, int depth);
  bool element(int32_t node, const Item& item, int depth);
  bool begin_sets(int32_t node, int32_t field, bool all);
  bool member(int32_t index, int32_t node, int depth);
  bool drop_members(int32_t index, int32_t level);
  void start_anew(const Target& target);
  void finish_set(int32_t index);
  bool reduce(const Field& field, const std::vector<Member>& members, double& number) const;
  std::string_view joined(const std::vector<Member>& members);
  std::string_view listing(const std::vector<Member>& members);
  Bookmark bookmark() const { return {k_, next_bad_escape_, key_position_}; }
  void go_to(const Bookmark& place);
  bool skip(int depth);
  bool skip_lazily(int depth);
  uint32_t trimmed_end(uint32_t next) const;
  bool string_end(uint32_t position, uint32_t next, uint32_t& end);
  bool scalar(uint32_t position, uint32_t next);
  bool token(uint32_t position, uint32_t end);
  bool put(int32_t index, State state);
  bool set_string(int32_t index, uint32_t position, uint32_t next);
  bool set_scalar(int32_t index, uint32_t position, uint32_t next);
  void set_number_text(const Field& field, int32_t index, std::string_view text);
  void set_number(const Field& field, int32_t index, double number, bool coerced);
  bool fail(RowError error, uint32_t position);
  bool fail_short() { return fail(RowError::truncated, row_end_); }

  char at(uint32_t k) const { return piece_->base[piece_->index[k]]; }

  std::shared_ptr<const Plan> plan_;
  std::vector<KeyMemory> memories_;
  Key unlisted_;
  PieceIndexer pieces_, alone_;

  // The row being read.
  const Piece* piece_ = nullptr;
  uint32_t k_ = 0;
  uint32_t row_end_ = 0;
  size_t next_bad_escape_ = 0;
  RowError error_ = RowError::none;
  uint32_t error_position_ = 0;

  // Where it goes.
  RawBlock* block_ = nullptr;
  double* numbers_ = nullptr;
  std::string_view* texts_ = nullptr;
  uint8_t* states_ = nullptr;
  std::vector<int32_t> row_coerced_, row_duplicates_;
  uint32_t key_position_ = 0;
  std::vector<Set> sets_;
  std::vector<std::string_view> sorted_;
  // A row, with the fields that stand in for others: slots and states of all fields.
  size_t n_numbers_ = 0;
  size_t n_texts_ = 0;
  std::vector<double> wide_numbers_;
  std::vector<std::string_view> wide_texts_;
  std::vector<uint8_t> wide_states_;
  // The row in which a node's key was seen last, by node, and the keys of the open objects, where none may come twice.
  uint64_t row_stamp_ = 0;
  std::vector<uint64_t> node_rows_;
  std::vector<std::unordered_set<std::string_view>> seen_keys_;
};

}  // namespace jenga::refinery
