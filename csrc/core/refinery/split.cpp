// Where rows begin and end, and where in a bad row the trouble lies.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/refinery/refinery.h"
#include "core/refinery/structure.h"
#include "core/refinery/threads.h"

namespace jenga::refinery {

namespace {

void add_row(Split& split, int64_t begin, int64_t end, int64_t max_row_size) {
  auto& into = end - begin > max_row_size ? split.too_long : split.offsets;
  into.push_back(begin);
  into.push_back(end);
}

// A string's end: the place behind its closing quote, or -1 where the data ends first.
int64_t behind_string(std::string_view data, int64_t at) {
  const auto size = static_cast<int64_t>(data.size());
  for (++at; at < size; ++at) {
    const char c = data[static_cast<size_t>(at)];
    if (c == '\\') {
      ++at;
    } else if (c == '"') {
      return at + 1;
    }
  }
  return -1;
}

// The end of the array element at `at`: behind its closing bracket, or before the comma or bracket that ends a scalar.
// -1 where the data ends first.
int64_t behind_element(std::string_view data, int64_t at) {
  const auto size = static_cast<int64_t>(data.size());
  int64_t level = 0;
  while (at < size) {
    const char c = data[static_cast<size_t>(at)];
    if (c == '"') {
      at = behind_string(data, at);
      if (at < 0) return -1;
      continue;
    }
    if (c == '{' || c == '[') {
      ++level;
    } else if (c == '}' || c == ']') {
      if (level == 0) return at;
      if (--level == 0) return at + 1;
    } else if (c == ',' && level == 0) {
      return at;
    }
    ++at;
  }
  return -1;
}

void add_plain_key(std::string_view key, std::string& pointer) {
  pointer += '/';
  for (const char c : key) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
}

// Adds a key, as it stands between its quotes, to a JSON pointer.
void add_key(std::string_view raw, std::string& pointer) {
  std::string key(raw);
  if (has_good_escapes(raw)) key.resize(unescape(raw, key.data()));
  add_plain_key(key, pointer);
}

// Bytes that end a number or a word.
bool is_delimiter(char c) { return is_space(c) || std::string_view(",:{}[]\"").find(c) != std::string_view::npos; }

// The way to the value that byte `position` of a row belongs to; the row may be broken there and behind. Between values
// it is the way to the container.
std::string pointer_at(std::string_view row, int64_t position) {
  struct Level {
    bool is_object;
    bool in_value;
    int64_t place;
    std::string_view key;
  };
  std::vector<Level> levels;
  const auto end_value = [&] {
    if (!levels.empty()) levels.back().in_value = false;
  };
  for (int64_t at = 0; at < position;) {
    const char c = row[static_cast<size_t>(at)];
    if (c == '"') {
      int64_t end = behind_string(row, at);
      if (end < 0 || end > position) break;
      if (!levels.empty() && levels.back().is_object && !levels.back().in_value) {
        levels.back().key = row.substr(static_cast<size_t>(at + 1), static_cast<size_t>(end - at - 2));
      } else {
        end_value();
      }
      at = end;
    } else if (c == '{' || c == '[') {
      if (static_cast<int>(levels.size()) > max_depth) break;
      levels.push_back({c == '{', c == '[', 0, {}});
      ++at;
    } else if (c == '}' || c == ']') {
      if (!levels.empty()) levels.pop_back();
      end_value();
      ++at;
    } else if (c == ':' || c == ',') {
      if (!levels.empty()) {
        levels.back().in_value = c == ':' || !levels.back().is_object;
        levels.back().place += c == ',';
      }
      ++at;
    } else if (is_space(c)) {
      ++at;
    } else {
      while (at < position && !is_delimiter(row[static_cast<size_t>(at)])) ++at;
      if (at < static_cast<int64_t>(row.size()) && is_delimiter(row[static_cast<size_t>(at)])) end_value();
    }
  }
  std::string pointer;
  for (const Level& level : levels) {
    if (!level.in_value) continue;
    if (level.is_object) {
      add_key(level.key, pointer);
    } else {
      pointer += '/' + std::to_string(level.place);
    }
  }
  return pointer;
}

// The end of the line that `at` lies in: behind its line break; -1 where it has none.
int64_t behind_line(std::string_view data, int64_t at) {
  const auto rest = data.substr(static_cast<size_t>(at));
  const void* found = rest.empty() ? nullptr : std::memchr(rest.data(), '\n', rest.size());
  return found == nullptr ? -1 : static_cast<const char*>(found) + 1 - data.data();
}

// The lines in [begin, end), places as in `data`.
Split split_part(std::string_view data, int64_t begin, int64_t end, bool final, int64_t max_row_size) {
  Split split;
  split.consumed = begin;
  const auto part = data.substr(0, static_cast<size_t>(end));
  while (begin < end) {
    const int64_t behind = behind_line(part, begin);
    if (behind < 0 && !final) break;
    int64_t last = behind < 0 ? end : behind - 1;
    int64_t first = begin;
    while (first < last && is_space(data[static_cast<size_t>(first)])) ++first;
    while (last > first && is_space(data[static_cast<size_t>(last - 1)])) --last;
    if (first == last) {
      ++split.n_blank;
    } else {
      add_row(split, first, last, max_row_size);
    }
    split.consumed = begin = behind < 0 ? end : behind;
  }
  return split;
}

struct Part {
  int64_t begin, end;
  Split split;
};

// Parts of about `part_size` bytes that begin where lines do, so that a thread that is held up has the less to do; one
// part where one thread works.
std::vector<Part> parts_of(std::string_view data, int n_threads, int64_t part_size) {
  const auto size = static_cast<int64_t>(data.size());
  std::vector<Part> parts;
  int64_t begin = 0;
  while (n_threads > 1 && size - begin > part_size) {
    const int64_t end = behind_line(data, begin + part_size);
    if (end < 0) break;
    parts.push_back({.begin = begin, .end = end, .split = {}});
    begin = end;
  }
  if (begin < size || parts.empty()) parts.push_back({.begin = begin, .end = size, .split = {}});
  return parts;
}

// The pairs of all parts, in order.
std::vector<int64_t> joined(const std::vector<Part>& parts, std::vector<int64_t> Split::* pairs) {
  size_t size = 0;
  for (const Part& part : parts) size += (part.split.*pairs).size();
  std::vector<int64_t> all;
  all.reserve(size);
  for (const Part& part : parts) all.insert(all.end(), (part.split.*pairs).begin(), (part.split.*pairs).end());
  return all;
}

}  // namespace

Split split_lines(std::string_view data, bool final, int64_t max_row_size, int n_threads, int64_t part_size) {
  std::vector<Part> parts = parts_of(data, n_threads, part_size);
  for_each_item(parts, n_threads, [&] {
    return [&](Part& part, size_t) { part.split = split_part(data, part.begin, part.end, final, max_row_size); };
  });
  if (parts.size() == 1) return std::move(parts.front().split);
  // All but the last end with a line break.
  Split split;
  split.consumed = parts.back().split.consumed;
  split.offsets = joined(parts, &Split::offsets);
  split.too_long = joined(parts, &Split::too_long);
  for (const Part& part : parts) split.n_blank += part.split.n_blank;
  return split;
}

Split split_array(std::string_view data, bool opened, bool final, int64_t max_row_size) {
  Split split;
  const auto size = static_cast<int64_t>(data.size());
  const auto broken = [&](int64_t at) {
    split.broken_at = at;
    split.consumed = size;
  };
  // Between elements: `[` or `,` before one, `]` behind the last.
  for (int64_t at = 0;;) {
    while (at < size && is_space(data[static_cast<size_t>(at)])) ++at;
    split.consumed = at;
    if (at == size) {
      if (final) broken(at);
      break;
    }
    const char c = data[static_cast<size_t>(at)];
    if (c == ']' && opened) {
      ++at;
      while (at < size && is_space(data[static_cast<size_t>(at)])) ++at;
      if (at < size) {
        broken(at);
      } else {
        split.consumed = size;
        split.closed = true;
      }
      break;
    }
    if (c != (opened ? ',' : '[')) {
      broken(at);
      break;
    }
    int64_t begin = at + 1;
    while (begin < size && is_space(data[static_cast<size_t>(begin)])) ++begin;
    if (!opened && begin < size && data[static_cast<size_t>(begin)] == ']') {
      opened = true;
      at = begin;
      continue;
    }
    const int64_t end = behind_element(data, begin);
    if (end < 0) {
      if (final) broken(begin);
      break;
    }
    int64_t last = end;
    while (last > begin && is_space(data[static_cast<size_t>(last - 1)])) --last;
    // Nothing between two commas: the comma itself is what is bad.
    if (last == begin) {
      broken(begin);
      break;
    }
    add_row(split, begin, last, max_row_size);
    opened = true;
    at = end;
  }
  return split;
}

Location locate(const std::shared_ptr<const Plan>& plan, std::string_view row) {
  const int64_t offsets[] = {0, static_cast<int64_t>(row.size())};
  BlockParser parser(plan);
  RawBlock block;
  parser.parse(row.data(), static_cast<int64_t>(row.size()), offsets, 0, 1, block);
  if (block.bad.empty()) return {RowError::none, -1, ""};
  const BadRow& bad = block.bad.front();
  size_t size = row.size();
  while (size > 0 && is_space(row[size - 1])) --size;
  std::string pointer = pointer_at(row.substr(0, size), bad.position);
  if (bad.error == RowError::duplicate_key) {
    const int64_t end = behind_string(row, bad.position);
    add_key(row.substr(static_cast<size_t>(bad.position + 1), static_cast<size_t>(end - bad.position - 2)), pointer);
  } else if (bad.error == RowError::missing_field) {
    add_plain_key(parser.lacking(), pointer);
  }
  return {bad.error, bad.position, pointer};
}

}  // namespace jenga::refinery
