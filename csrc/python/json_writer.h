#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace jenga::python {

// strict: only what JSON has, as Python's json module writes it with ensure_ascii and allow_nan off. Else NaN and
// Infinity are written by these names, keys of other types as their texts, and NumPy's scalars, dates and the like too.
struct JsonStyle {
  std::string_view item_separator;
  std::string_view key_separator;
  int max_depth;
  bool strict;
};

// Appends Python objects as JSON, UTF-8, half a character as its escape. Throws type_error for what has no form in
// JSON, value_error for what is nested too deeply (a dict that holds itself ends there) or is no finite number.
class JsonWriter {
 public:
  JsonWriter(std::string& out, const JsonStyle& style) : out_(out), style_(style) {}

  void write(pybind11::handle value, int depth = 0);

 private:
  void check_depth(int depth) const;
  void write_dict(pybind11::handle value, int depth);
  void write_key(pybind11::handle key);
  void write_list(pybind11::handle value, int depth);
  void write_integer(pybind11::handle value);
  void write_float(double number);
  void write_decimal(pybind11::handle value);
  void write_string(pybind11::handle value);
  void write_utf8(std::string_view text);
  void write_character(Py_UCS4 character);
  void write_other(pybind11::handle value, int depth);

  std::string& out_;
  const JsonStyle& style_;
};

}  // namespace jenga::python
