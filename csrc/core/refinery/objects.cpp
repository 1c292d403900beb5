// Objects and their keys.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/refinery/number.h"
#include "core/refinery/parse.h"

namespace jenga::refinery {

namespace {

// An attacker may send a new key with each row; beyond this many, keys of an object are looked up one by one.
constexpr size_t max_remembered_keys = 1024;

}  // namespace

// The object whose bracket is at k_; leaves k_ behind its closing bracket. `k` mirrors k_: what is written into the
// rows may alias any member, so a member would be read again at every step.
bool BlockParser::object(int32_t node, int depth) {
  const uint32_t* const index = piece_->index;
  const char* const base = piece_->base;
  const uint32_t n = piece_->n_index;
  const uint32_t row_end = row_end_;
  static_assert(1 + sizeof(Key::halves) <= padding, "keys are compared past the end of a piece");
  if (depth > max_depth) return fail(RowError::too_deep, index[k_]);
  const bool refuses_repeats = plan_->duplicates_are_errors;
  if (refuses_repeats) seen_keys_[static_cast<size_t>(depth)].clear();
  uint32_t k = k_ + 1;
  if (k < n && base[index[k]] == '}') {
    k_ = k + 1;
    return true;
  }
  double* const numbers = numbers_;
  uint8_t* const states = states_;
  Key* previous = &memories_[static_cast<size_t>(node)].before_any;
  for (;;) {
    // A key, its colon and its value; a row that ends among them is short, but first errors come first.
    if (k + 2 >= n) [[unlikely]] {
      k_ = k;
      return short_member(depth);
    }
    const uint32_t position = index[k];
    const char* const bytes = base + position;
    Key* key = previous->next[0];
    if (*bytes != '"' || key == nullptr || position >= row_end || !matches(*key, bytes + 1)) [[unlikely]] {
      k_ = k;
      key = second_guess(node, *previous, position);
      if (key == nullptr) return false;
    }
    previous = key;
    bool repeated = false;
    if (refuses_repeats) {
      uint32_t end;
      k_ = k;
      if (!string_end(position, index[k + 1], end)) return false;
      repeated = is_repeated(depth, position, end);
    }
    k += 2;
    const uint32_t value_at = index[k];
    const uint32_t size = index[k + 1] - value_at;
    double number;
    if (key->plain_number && size <= 8 && states[key->field] == static_cast<uint8_t>(State::absent) &&
        parse_short_number(base + value_at, size, number)) {
      numbers[key->slot] = number;
      states[key->field] = static_cast<uint8_t>(State::present);
      ++k;
    } else {
      k_ = k;
      key_position_ = position;
      // A scalar is read first: what is wrong with it counts more.
      if (repeated && (base[value_at] == '{' || base[value_at] == '[')) return fail(RowError::duplicate_key, position);
      if (!value(key->field, key->node, depth)) return false;
      k = k_;
      if (k >= n) return fail_short();
    }
    if (repeated) return fail(RowError::duplicate_key, position);
    const char c = base[index[k]];
    ++k;
    if (c == ',') [[likely]]
      continue;
    k_ = k;
    return c == '}' || fail(RowError::syntax, index[k - 1]);
  }
}

// The key at `position`, which is not the one that came last time; null where there is none.
BlockParser::Key* BlockParser::second_guess(int32_t node, Key& previous, uint32_t position) {
  const uint32_t* const index = piece_->index;
  // Not into the next row, which would be walked again for each row that is cut off before it.
  if (position >= row_end_ || piece_->base[position] != '"') {
    fail(RowError::syntax, position);
    return nullptr;
  }
  Key* const second = previous.next[1];
  if (second != nullptr && matches(*second, piece_->base + position + 1)) {
    std::swap(previous.next[0], previous.next[1]);
    return second;
  }
  uint32_t end;
  if (!string_end(position, index[k_ + 1], end)) return nullptr;
  if (piece_->base[index[k_ + 1]] != ':') {
    fail(RowError::syntax, index[k_ + 1]);
    return nullptr;
  }
  return look_up(node, previous, position, end);
}

// The index ends within a member: what stands there may be wrong before it is short.
bool BlockParser::short_member(int depth) {
  bool repeated = false;
  return key(depth, repeated) && fail_short();
}

// Whether the key at [position + 1, end) stands in its object already, which is at `depth`.
bool BlockParser::is_repeated(int depth, uint32_t position, uint32_t end) {
  std::string_view text(piece_->base + position + 1, end - position - 1);
  if (piece_->has_escape(position + 1, end)) {
    char* const room = block_->arena.reserve(text.size());
    text = {room, unescape(text, room)};
    block_->arena.commit(text.size());
  }
  return !seen_keys_[static_cast<size_t>(depth)].insert(text).second;
}

// Notes that the key of `node` was seen; where it was in this row already, what its value held counts no more.
void BlockParser::enter(int32_t node) {
  uint64_t& row = node_rows_[static_cast<size_t>(node)];
  if (row == row_stamp_) forget(node, plan_->nodes[static_cast<size_t>(node)].level);
  row = row_stamp_;
}

// Forgets what was read beneath `node`, within the list's element that `level` of [*] lead to.
void BlockParser::forget(int32_t node, int32_t level) {
  const auto forget_target = [&](const Target& target) {
    if (target.field >= 0) forget_field(target.field, level);
    if (target.node >= 0) {
      node_rows_[static_cast<size_t>(target.node)] = 0;
      forget(target.node, level);
    }
  };
  for (const Edge& edge : plan_->nodes[static_cast<size_t>(node)].edges) forget_target(edge);
  for (const Item& item : plan_->nodes[static_cast<size_t>(node)].items) forget_target(item);
}

void BlockParser::forget_field(int32_t index, int32_t level) {
  if (level > 0) {
    if (drop_members(index, level)) row_duplicates_.push_back(index);
  } else if (static_cast<State>(states_[index]) != State::absent) {
    row_duplicates_.push_back(index);
    clear_field(index);
    states_[index] = static_cast<uint8_t>(State::absent);
  }
}

inline bool BlockParser::matches(const Key& key, const char* bytes) {
  // Two variables: an array would be put on the stack and read from there.
  Half first, second;
  std::memcpy(&first, bytes, sizeof(Half));
  std::memcpy(&second, bytes + sizeof(Half), sizeof(Half));
  const Half difference = ((first ^ key.halves[0]) & key.masks[0]) | ((second ^ key.halves[1]) & key.masks[1]);
  return (difference[0] | difference[1]) == 0;
}

// Finds the key at [position + 1, end), remembers it and that it came after `previous`. Where it cannot be remembered
// the answer is `unlisted_`.
BlockParser::Key* BlockParser::look_up(int32_t node, Key& previous, uint32_t position, uint32_t end) {
  KeyMemory& memory = memories_[static_cast<size_t>(node)];
  const std::string_view text(piece_->base + position + 1, end - position - 1);
  if (piece_->has_escape(position + 1, end)) {
    char* const room = block_->arena.reserve(text.size());
    return resolve(node, {room, unescape(text, room)}, unlisted_);
  }
  if (2 * memory.keys.size() > memory.slots.size()) grow(memory);
  const size_t mask = memory.slots.size() - 1;
  size_t slot = table_hash(text) & mask;
  while (memory.slots[slot] != nullptr && memory.slots[slot]->text != text) slot = (slot + 1) & mask;
  if (memory.slots[slot] == nullptr) {
    if (memory.keys.size() >= max_remembered_keys) return resolve(node, text, unlisted_);
    Key& key = memory.keys.emplace_back();
    memory.slots[slot] = &key;
    key.text = text;
    key.fits = text.size() + 2 <= sizeof(key.halves);
    if (key.fits) {
      char bytes[sizeof(key.halves)] = {};
      char ones[sizeof(key.masks)] = {};
      std::memcpy(bytes, text.data(), text.size());
      std::memcpy(bytes + text.size(), "\":", 2);
      std::memset(ones, 0xff, text.size() + 2);
      std::memcpy(key.halves, bytes, sizeof(bytes));
      std::memcpy(key.masks, ones, sizeof(ones));
    }
    resolve(node, text, key);
  }
  Key* const found = memory.slots[slot];
  // `unlisted_` stands for keys of all objects, which foretell nothing.
  if (found->fits && &previous != &unlisted_) {
    previous.next[1] = previous.next[0];
    previous.next[0] = found;
  }
  return found;
}

// Writes into `key` what `name` leads to.
BlockParser::Key* BlockParser::resolve(int32_t node, std::string_view name, Key& key) {
  const Edge* const edge = plan_->nodes[static_cast<size_t>(node)].find(name);
  key.field = edge == nullptr ? -1 : edge->field;
  key.node = edge == nullptr ? -1 : edge->node;
  key.plain_number = false;
  if (key.field >= 0) {
    const Field& field = plan_->fields[static_cast<size_t>(key.field)];
    key.slot = field.slot;
    // Where elements are asked for, what is no list is one of one element, which `value` sees to.
    const bool is_list = key.node >= 0 && !plan_->nodes[static_cast<size_t>(key.node)].items.empty();
    key.plain_number = field.kind == Kind::numeric && field.set < 0 && !is_list;
  }
  return &key;
}

void BlockParser::grow(KeyMemory& memory) {
  memory.slots.assign(2 * memory.slots.size(), nullptr);
  const size_t mask = memory.slots.size() - 1;
  for (Key& key : memory.keys) {
    size_t slot = table_hash(key.text) & mask;
    while (memory.slots[slot] != nullptr) slot = (slot + 1) & mask;
    memory.slots[slot] = &key;
  }
}

}  // namespace jenga::refinery
