// The words that JSON has, and those that it has not but some write.
#pragma once

#include <cstdint>
#include <string_view>

namespace jenga::refinery {

enum class Literal : uint8_t { other, yes, no, null, nan };

inline bool is_json_word(std::string_view text) {
  return text.size() == 4 ? text == "true" || text == "null" : text.size() == 5 && text == "false";
}

inline Literal literal(std::string_view text) {
  if (text == "true") return Literal::yes;
  if (text == "false") return Literal::no;
  if (text == "null") return Literal::null;
  if (text == "NaN" || text == "Infinity" || text == "-Infinity") return Literal::nan;
  return Literal::other;
}

}  // namespace jenga::refinery
