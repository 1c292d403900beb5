// Values: those nobody asks for, which are only checked, and what of a scalar is wrong.
#include <string>
#include <string_view>

#include "core/refinery/literal.h"
#include "core/refinery/number.h"
#include "core/refinery/parse.h"

namespace jenga::refinery {

namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool begins_literal(std::string_view text) {
  for (const std::string_view word : {"true", "false", "null"}) {
    if (word.starts_with(text)) return true;
  }
  return false;
}

// Whether a digit behind `text` would make it a number.
bool begins_number(std::string_view text) {
  const std::string more = std::string(text) + '0';
  double ignored;
  return parse_number<true>(more.data(), more.data() + more.size(), ignored) == NumberResult::ok;
}

bool starts_number(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.'; }

}  // namespace

// The value at k_ of a key that leads to `field` and `node` (-1: to none); leaves k_ behind the value.
bool BlockParser::value(int32_t field, int32_t node, int depth) {
  if (node >= 0) {
    enter(node);
    if (!plan_->nodes[static_cast<size_t>(node)].items.empty()) [[unlikely]]
      return listed(field, node, depth);
  }
  return one_value(field, node, depth);
}

// The same, whatever is asked for of its elements.
bool BlockParser::one_value(int32_t field, int32_t node, int depth) {
  if (field >= 0 && !sets_.empty() && plan_->fields[static_cast<size_t>(field)].set >= 0) [[unlikely]]
    return member(field, node, depth);
  return plain_value(field, node, depth);
}

// The same, of a field with a single value.
bool BlockParser::plain_value(int32_t field, int32_t node, int depth) {
  const uint32_t position = piece_->index[k_];
  const char c = piece_->base[position];
  if (c != '{' && c != '[') {
    const uint32_t next = k_ + 1 < piece_->n_index ? piece_->index[k_ + 1] : piece_->size;
    ++k_;
    if (field < 0) return plan_->strict ? scalar(position, next) : true;
    return c == '"' ? set_string(field, position, next) : set_scalar(field, position, next);
  }
  if (field >= 0 && !put(field, State::mismatch)) return false;
  const bool good = c == '{' && node >= 0 ? object(node, depth + 1) : plan_->strict ? skip(depth) : skip_lazily(depth);
  if (good && field >= 0 && plan_->fields[static_cast<size_t>(field)].kind == Kind::raw) {
    states_[field] = static_cast<uint8_t>(State::present);
    const uint32_t end = piece_->index[k_ - 1] + 1;
    texts_[plan_->fields[static_cast<size_t>(field)].slot] = {piece_->source + position, end - position};
  }
  return good;
}

// Walks over the container at k_, checking all of it; `depth` is that of the object around it.
bool BlockParser::skip(int depth) {
  const uint32_t* const index = piece_->index;
  const uint32_t n = piece_->n_index;
  uint64_t objects = 0;  // a bit for each open container, the innermost lowest
  int level = 0;
  bool repeated = false;
  uint32_t key_position = 0;
  const auto next_key = [&] {
    key_position = k_ < n ? index[k_] : 0;
    return key(depth + level, repeated);
  };
  for (;;) {
    // A value.
    if (k_ >= n) return fail_short();
    uint32_t position = index[k_];
    // Not into the next row, see `second_guess`.
    if (position >= row_end_) return fail_short();
    char c = piece_->base[position];
    if (c == '{' || c == '[') {
      if (repeated) return fail(RowError::duplicate_key, key_position);
      ++level;
      if (depth + level > max_depth) return fail(RowError::too_deep, position);
      if (plan_->duplicates_are_errors) seen_keys_[static_cast<size_t>(depth + level)].clear();
      objects = objects << 1 | (c == '{');
      ++k_;
      if (k_ >= n) return fail_short();
      if (at(k_) != (c == '{' ? '}' : ']')) {
        if (c == '{' && !next_key()) return false;
        continue;
      }
    } else {
      ++k_;
      if (!scalar(position, k_ < n ? index[k_] : piece_->size)) return false;
      if (repeated) return fail(RowError::duplicate_key, key_position);
    }
    // What stands behind it; closing brackets end values too.
    for (;;) {
      if (k_ >= n) return fail_short();
      position = index[k_];
      c = piece_->base[position];
      const bool in_object = (objects & 1) != 0;
      if (c == (in_object ? '}' : ']')) {
        ++k_;
        objects >>= 1;
        if (--level == 0) return true;
        continue;
      }
      if (c != ',') return fail(RowError::syntax, position);
      ++k_;
      if (in_object && !next_key()) return false;
      break;
    }
  }
}

// A key nobody asks for in an object at `depth`, and its colon. `repeated`: whether it stands there already, where that
// counts.
bool BlockParser::key(int depth, bool& repeated) {
  const uint32_t n = piece_->n_index;
  if (k_ >= n) return fail_short();
  const uint32_t position = piece_->index[k_];
  const uint32_t colon = k_ + 1 < n ? piece_->index[k_ + 1] : piece_->size;
  uint32_t end;
  if (piece_->base[position] != '"') return fail(RowError::syntax, position);
  if (!string_end(position, colon, end)) return false;
  if (k_ + 1 >= n) return fail_short();
  if (piece_->base[colon] != ':') return fail(RowError::syntax, colon);
  k_ += 2;
  repeated = plan_->duplicates_are_errors && is_repeated(depth, position, end);
  return true;
}

// Counts brackets only.
bool BlockParser::skip_lazily(int depth) {
  for (int level = 0; k_ < piece_->n_index && piece_->index[k_] < row_end_;) {
    const char c = at(k_);
    if (c == '{' || c == '[') {
      ++level;
      if (depth + level > max_depth) return fail(RowError::too_deep, piece_->index[k_]);
    } else if (c == '}' || c == ']') {
      --level;
    }
    ++k_;
    if (level == 0) return true;
  }
  return fail_short();
}

// The end of the value that stands before `next`.
uint32_t BlockParser::trimmed_end(uint32_t next) const {
  while (is_space(piece_->base[next - 1])) --next;
  return next;
}

// `end`: of the string that opens at `position`, its closing quote. Checks its escapes.
bool BlockParser::string_end(uint32_t position, uint32_t next, uint32_t& end) {
  end = trimmed_end(next) - 1;
  if (!piece_->has_escape(position + 1, end)) return true;
  const auto& bad = piece_->bad_escapes;
  while (bad[next_bad_escape_].position < position) ++next_bad_escape_;
  const BadEscape& first = bad[next_bad_escape_];
  return first.position >= end || fail(first.error, first.position);
}

// A scalar nobody asks for.
bool BlockParser::scalar(uint32_t position, uint32_t next) {
  const char* const base = piece_->base;
  uint32_t end;
  if (base[position] == '"') return string_end(position, next, end);
  end = trimmed_end(next);
  if (is_json_word({base + position, end - position})) return true;
  double ignored;
  return parse_number<true>(base + position, base + end, ignored) == NumberResult::ok || token(position, end);
}

// Judges what stands at [position, end) and is no string; true for a good scalar.
bool BlockParser::token(uint32_t position, uint32_t end) {
  const char* const base = piece_->base;
  constexpr std::string_view delimiters = " \t\n\r,:{}[]\"";
  uint32_t run_end = position;
  while (run_end < end && delimiters.find(base[run_end]) == std::string_view::npos) ++run_end;
  const std::string_view run(base + position, run_end - position);
  if (run.empty()) return fail(RowError::syntax, position);
  const bool is_number = starts_number(run.front());
  double ignored;
  switch (literal(run)) {
    case Literal::nan:
      if (!plan_->nan_is_missing) return fail(RowError::nan_token, position);
      break;
    case Literal::other:
      if (is_number && parse_number<true>(run.data(), run.data() + run.size(), ignored) == NumberResult::ok) break;
      // What the end of the row cut off is short rather than wrong.
      if (run_end == row_end_ && (is_number ? begins_number(run) : begins_literal(run))) return fail_short();
      if (is_number) return fail(RowError::bad_number, position);
      return fail(is_letter(run.front()) ? RowError::bad_literal : RowError::syntax, position);
    default:
      break;
  }
  return run_end == end || fail(RowError::syntax, run_end);
}

}  // namespace jenga::refinery
