// From a value to the slot of its field.
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "core/refinery/literal.h"
#include "core/refinery/number.h"
#include "core/refinery/parse.h"

namespace jenga::refinery {

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

// Of a port or a boolean, what no double can hold is but one more wrong value.
State overflow_of(const Field& field) {
  return field.kind == Kind::port || field.kind == Kind::boolean ? State::mismatch : State::overflow;
}

// 1 or 0 for the words of a boolean, else -1.
int truth(std::string_view text) {
  if (text.size() > 5) return -1;
  std::string word(text);
  for (char& c : word) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (word == "true" || word == "t" || word == "yes" || word == "1") return 1;
  if (word == "false" || word == "f" || word == "no" || word == "0") return 0;
  return -1;
}

}  // namespace

std::string_view stripped(std::string_view text) {
  const auto is_blank = [](char c) { return is_space(c) || c == '\v' || c == '\f'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Notes what a field holds; a second value of a row takes the place of the first.
bool BlockParser::put(int32_t index, State state) {
  if (static_cast<State>(states_[index]) != State::absent) {
    if (plan_->duplicates_are_errors) return fail(RowError::duplicate_key, key_position_);
    row_duplicates_.push_back(index);
    clear_field(index);
  }
  states_[index] = static_cast<uint8_t>(state);
  return true;
}

// Empties the slot of a field whose value counts no more.
void BlockParser::clear_field(int32_t index) {
  std::erase(row_coerced_, index);
  const Field& field = plan_->fields[static_cast<size_t>(index)];
  if (field.set >= 0) sets_[static_cast<size_t>(field.set)].members.clear();
  if (field.is_text()) {
    texts_[field.slot] = {};
  } else {
    numbers_[field.slot] = missing;
  }
}

bool BlockParser::set_string(int32_t index, uint32_t position, uint32_t next) {
  const Field& field = plan_->fields[static_cast<size_t>(index)];
  uint32_t end;
  if (!string_end(position, next, end) || !put(index, State::present)) return false;
  std::string_view text(piece_->source + position + 1, end - position - 1);
  if (field.kind == Kind::raw) {
    texts_[field.slot] = {piece_->source + position, end + 1 - position};
    return true;
  }
  if (piece_->has_escape(position + 1, end)) {
    char* const room = block_->arena.reserve(text.size());
    text = {room, unescape(text, room)};
    block_->arena.commit(text.size());
  }
  if (!field.is_text()) {
    set_number_text(field, index, text);
  } else if (field.kind == Kind::ip && (text.empty() || plan_->is_missing_word(stripped(text)))) {
    states_[index] = static_cast<uint8_t>(State::null);
  } else {
    texts_[field.slot] = text;
  }
  return true;
}

bool BlockParser::set_scalar(int32_t index, uint32_t position, uint32_t next) {
  const Field& field = plan_->fields[static_cast<size_t>(index)];
  const char* const base = piece_->base;
  const uint32_t end = trimmed_end(next);
  if (!field.is_text()) {
    double number;
    const bool is_short = end - position <= 8 && parse_short_number(base + position, end - position, number);
    const NumberResult result = is_short ? NumberResult::ok : parse_number(base + position, base + end, number);
    if (result != NumberResult::bad) {
      if (!put(index, result == NumberResult::ok ? State::present : overflow_of(field))) return false;
      if (result == NumberResult::ok) set_number(field, index, number, false);
      return true;
    }
  }
  const std::string_view text(piece_->source + position, end - position);
  if (!is_json_word(text) && !token(position, end)) return false;
  const Literal word = literal(text);
  if (word == Literal::null || word == Literal::nan) return put(index, State::null);
  if (!put(index, State::present)) return false;
  if (field.is_text()) {
    texts_[field.slot] = text;
  } else if (field.kind == Kind::numeric || field.kind == Kind::boolean) {
    // Neither a number nor null: true or false.
    set_number(field, index, word == Literal::yes ? 1 : 0, field.kind == Kind::numeric);
  } else {
    states_[index] = static_cast<uint8_t>(State::mismatch);
  }
  return true;
}

// A number that came as a string.
void BlockParser::set_number_text(const Field& field, int32_t index, std::string_view text) {
  if (text.empty()) {
    states_[index] = static_cast<uint8_t>(State::null);
    return;
  }
  text = stripped(text);
  if (plan_->is_missing_word(text)) {
    states_[index] = static_cast<uint8_t>(State::null);
    return;
  }
  double number = missing;
  if (field.kind == Kind::boolean) {
    const int answer = truth(text);
    if (answer < 0) {
      states_[index] = static_cast<uint8_t>(State::mismatch);
    } else {
      set_number(field, index, answer, true);
    }
    return;
  }
  const bool plus = text.starts_with('+');
  const char* const begin = text.data() + plus;
  const char* const end = text.data() + text.size();
  const NumberResult result =
      plus && begin < end && *begin == '-' ? NumberResult::bad : parse_number(begin, end, number);
  if (result == NumberResult::ok) {
    set_number(field, index, number, true);
  } else if (result == NumberResult::overflow) {
    states_[index] = static_cast<uint8_t>(overflow_of(field));
  } else if (field.kind == Kind::timestamp && parse_iso8601(text, number) && is_time(number)) {
    numbers_[field.slot] = number;
  } else {
    states_[index] = static_cast<uint8_t>(State::mismatch);
  }
}

void BlockParser::set_number(const Field& field, int32_t index, double number, bool coerced) {
  if (field.kind == Kind::timestamp) number = epoch_seconds(number, field.unit);
  const State state = number_state(field, number);
  states_[index] = static_cast<uint8_t>(state);
  if (state != State::present) return;
  numbers_[field.slot] = number;
  if (coerced) row_coerced_.push_back(index);
}

State number_state(const Field& field, double number) {
  if (std::isnan(number)) return State::null;
  if (std::isinf(number)) return overflow_of(field);
  const bool fits = field.kind == Kind::port        ? number >= 0 && number <= 65535 && number == std::floor(number)
                    : field.kind == Kind::boolean   ? number == 0 || number == 1
                    : field.kind == Kind::timestamp ? is_time(number)
                                                    : true;
  return fits ? State::present : State::mismatch;
}

}  // namespace jenga::refinery
