// Why a row was set aside. The numbers are frozen: they stand in quarantine files.
#pragma once

#include <cstdint>

namespace jenga::refinery {

enum class RowError : int64_t {
  none = 0,
  invalid_utf8,
  control_character,
  unclosed_string,
  truncated,
  not_an_object,
  syntax,
  bad_number,
  bad_literal,
  bad_escape,
  lone_surrogate,
  nan_token,
  too_deep,
  trailing_bytes,
  duplicate_key,
  row_too_long,
  array_structure,
  missing_field,
};

struct RowErrorText {
  const char* name;
  const char* words;
};

// Indexed by the number of the error.
inline constexpr RowErrorText row_error_texts[] = {
    {"none", "the row is whole"},
    {"invalid_utf8", "bytes that are not UTF-8"},
    {"control_character", "a raw control character inside a string"},
    {"unclosed_string", "a string without its closing quote"},
    {"truncated", "the row ends before its object does"},
    {"not_an_object", "the row is no JSON object"},
    {"syntax", "a character that JSON does not allow here"},
    {"bad_number", "a number that JSON does not allow"},
    {"bad_literal", "a bare word other than true, false and null"},
    {"bad_escape", "an escape that JSON does not have"},
    {"lone_surrogate", "half of a surrogate pair"},
    {"nan_token", "NaN or Infinity, which JSON does not have"},
    {"too_deep", "nested deeper than 64 levels"},
    {"trailing_bytes", "more after the end of the object"},
    {"duplicate_key", "a field of the schema is given twice"},
    {"row_too_long", "the row is longer than allowed"},
    {"array_structure", "the array around the rows is broken here"},
    {"missing_field", "a field that the schema requires is missing"},
};

inline constexpr int64_t n_row_errors = sizeof(row_error_texts) / sizeof(row_error_texts[0]);

inline constexpr int max_depth = 64;

}  // namespace jenga::refinery
