// The structural index of a piece of JSON, and what the index alone says of its strings.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/refinery/error.h"

namespace simdjson::internal {
class dom_parser_implementation;
}

namespace jenga::refinery {

struct BadEscape {
  uint32_t position;
  RowError error;
};

// One or more rows with the places of their brackets, colons, commas and first bytes of values. `escapes` has a bit for
// each byte, set where a backslash escapes something; `bad_escapes` ascend and end with one at `size`.
struct Piece {
  const char* base = nullptr;
  // The same bytes in the data, which outlive a copy, and their place there.
  const char* source = nullptr;
  int64_t origin = 0;
  uint32_t size = 0;
  const uint32_t* index = nullptr;
  uint32_t n_index = 0;
  std::vector<uint64_t> escapes;
  std::vector<BadEscape> bad_escapes;

  // Whether something is escaped in [begin, end).
  bool has_escape(uint32_t begin, uint32_t end) const {
    if (begin >= end) return false;
    const uint32_t first = begin / 64;
    const uint32_t last = (end - 1) / 64;
    const uint64_t head = ~uint64_t{0} << (begin % 64);
    const uint64_t tail = ~uint64_t{0} >> (63 - (end - 1) % 64);
    if (first == last) return (escapes[first] & head & tail) != 0;
    uint64_t found = (escapes[first] & head) | (escapes[last] & tail);
    for (uint32_t i = first + 1; i < last; ++i) found |= escapes[i];
    return found != 0;
  }
};

// Bytes that must be readable behind a piece.
inline constexpr int64_t padding = 64;

// Makes pieces; holds the memory of one at a time. simdjson picks its instructions for the processor it runs on.
class PieceIndexer {
 public:
  PieceIndexer();
  ~PieceIndexer();
  PieceIndexer(PieceIndexer&&) noexcept;

  // The piece of bytes [begin, end) of `data`, or null where it is no UTF-8, or has a control character in a string or
  // an unclosed string. It is copied where it lies too near to the end of `data`.
  const Piece* make(const char* data, int64_t data_size, int64_t begin, int64_t end);

 private:
  void reserve(size_t size);

  Piece piece_;
  std::unique_ptr<simdjson::internal::dom_parser_implementation> index_;
  std::vector<char> copy_;
};

// Why `PieceIndexer::make` refused a row: the first byte that is no UTF-8, else the first control character in a
// string, else the opening quote of the unclosed string. `position` is relative to the row.
RowError diagnose_bytes(std::string_view row, uint32_t& position);

// Whether all escapes of the contents of a string are good.
bool has_good_escapes(std::string_view text);

// Decodes the contents of a string whose escapes have been found good. `out` needs as many bytes as `text`.
size_t unescape(std::string_view text, char* out);

inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

}  // namespace jenga::refinery
