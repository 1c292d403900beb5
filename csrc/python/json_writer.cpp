// Python objects as JSON.
#include "python/json_writer.h"

#include <charconv>
#include <cmath>

namespace py = pybind11;

namespace jenga::python {
namespace {

constexpr char hex_digits[] = "0123456789abcdef";

void append_escape(Py_UCS4 unit, std::string& out) {
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += hex_digits[unit >> shift & 0xf];
}

bool is_plain(char c) { return c != '"' && c != '\\' && static_cast<unsigned char>(c) >= 0x20; }

void append_special(char c, std::string& out) {
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      append_escape(static_cast<Py_UCS4>(c), out);
  }
}

// As Python's repr: the fewest digits that give the number back, with an exponent below 1e-4 and from 1e16 on.
void append_finite(double number, std::string& out) {
  char text[32];
  const std::string_view written(
      text,
      static_cast<size_t>(std::to_chars(text, text + sizeof(text), number, std::chars_format::scientific).ptr - text));
  const size_t mark = written.find('e');
  int exponent = 0;
  std::from_chars(written.data() + mark + 2, written.data() + written.size(), exponent);
  if (written[mark + 1] == '-') exponent = -exponent;
  if (exponent < -4 || exponent >= 16) {
    out += written;
    return;
  }
  std::string_view mantissa = written.substr(0, mark);
  if (mantissa.front() == '-') {
    out += '-';
    mantissa.remove_prefix(1);
  }
  const char first = mantissa.front();
  const std::string_view rest = mantissa.size() > 2 ? mantissa.substr(2) : std::string_view{};
  if (exponent < 0) {
    out += "0.";
    out.append(static_cast<size_t>(-exponent - 1), '0');
    out += first;
    out += rest;
    return;
  }
  const auto before_point = static_cast<size_t>(exponent);
  out += first;
  if (rest.size() <= before_point) {
    out += rest;
    out.append(before_point - rest.size(), '0');
    out += ".0";
    return;
  }
  out += rest.substr(0, before_point);
  out += '.';
  out += rest.substr(before_point);
}

[[noreturn]] void throw_type(const std::string& type, bool strict) {
  const char* const others = strict
                                 ? "int, float, str, dict, list and tuple of these"
                                 : "int, float, Decimal, str, date, NumPy scalars and arrays, dict, list and tuple of "
                                   "these";
  throw py::type_error("holds a " + type + "; allowed: None, bool, " + others);
}

std::string type_name(py::handle value) { return py::cast<std::string>(py::str(py::type::of(value).attr("__name__"))); }

}  // namespace

void JsonWriter::write(py::handle value, int depth) {
  PyObject* const object = value.ptr();
  if (PyUnicode_Check(object)) {
    write_string(value);
  } else if (PyFloat_Check(object)) {
    write_float(PyFloat_AS_DOUBLE(object));
  } else if (object == Py_None) {
    out_ += "null";
  } else if (PyBool_Check(object)) {
    out_ += object == Py_True ? "true" : "false";
  } else if (PyLong_Check(object)) {
    write_integer(value);
  } else if (PyDict_Check(object)) {
    write_dict(value, depth);
  } else if (PyList_Check(object) || PyTuple_Check(object)) {
    write_list(value, depth);
  } else if (style_.strict) {
    throw_type(type_name(value), true);
  } else {
    write_other(value, depth);
  }
}

void JsonWriter::check_depth(int depth) const {
  if (depth >= style_.max_depth) {
    throw py::value_error("nested deeper than " + std::to_string(style_.max_depth) + " levels, or holds itself");
  }
}

void JsonWriter::write_dict(py::handle value, int depth) {
  check_depth(depth);
  out_ += '{';
  bool first = true;
  const Py_ssize_t n_items = PyDict_Size(value.ptr());
  PyObject* borrowed_key = nullptr;
  PyObject* borrowed_item = nullptr;
  for (Py_ssize_t at = 0; PyDict_Next(value.ptr(), &at, &borrowed_key, &borrowed_item) != 0;) {
    // Writing may run Python code, which may change the dict: what is written is held, and a change is an error.
    const auto key = py::reinterpret_borrow<py::object>(borrowed_key);
    const auto item = py::reinterpret_borrow<py::object>(borrowed_item);
    if (!first) out_ += style_.item_separator;
    first = false;
    write_key(key);
    out_ += style_.key_separator;
    write(item, depth + 1);
    if (PyDict_Size(value.ptr()) != n_items) throw py::value_error("changed while it was read");
  }
  out_ += '}';
}

void JsonWriter::write_key(py::handle key) {
  if (PyUnicode_Check(key.ptr())) {
    write_string(key);
  } else if (style_.strict) {
    throw py::type_error("holds a key that is a " + type_name(key) + "; allowed: str");
  } else {
    write_string(py::str(key));
  }
}

void JsonWriter::write_list(py::handle value, int depth) {
  check_depth(depth);
  out_ += '[';
  bool first = true;
  for (const py::object item : py::reinterpret_borrow<py::sequence>(value)) {
    if (!first) out_ += style_.item_separator;
    first = false;
    write(item, depth + 1);
  }
  out_ += ']';
}

void JsonWriter::write_integer(py::handle value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow == 0) {
    char text[24];
    out_.append(text, std::to_chars(text, text + sizeof(text), number).ptr);
    return;
  }
  out_ += py::cast<std::string>(py::str(value));
}

void JsonWriter::write_float(double number) {
  if (std::isfinite(number)) {
    append_finite(number, out_);
  } else if (style_.strict) {
    throw py::value_error("holds NaN or an infinity, which JSON does not have");
  } else {
    out_ += std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  }
}

void JsonWriter::write_decimal(py::handle value) {
  if (py::cast<bool>(value.attr("is_finite")())) {
    out_ += py::cast<std::string>(py::str(value));
  } else if (py::cast<bool>(value.attr("is_nan")())) {
    out_ += "NaN";
  } else {
    out_ += py::cast<bool>(value.attr("is_signed")()) ? "-Infinity" : "Infinity";
  }
}

void JsonWriter::write_string(py::handle value) {
  out_ += '"';
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text != nullptr) {
    write_utf8({text, static_cast<size_t>(size)});
  } else {
    // Half a character has no UTF-8.
    PyErr_Clear();
    const Py_ssize_t length = PyUnicode_GetLength(value.ptr());
    for (Py_ssize_t i = 0; i < length; ++i) write_character(PyUnicode_ReadChar(value.ptr(), i));
  }
  out_ += '"';
}

void JsonWriter::write_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t n_plain = 0;
    while (n_plain < text.size() && is_plain(text[n_plain])) ++n_plain;
    out_ += text.substr(0, n_plain);
    if (n_plain == text.size()) return;
    append_special(text[n_plain], out_);
    text.remove_prefix(n_plain + 1);
  }
}

void JsonWriter::write_character(Py_UCS4 character) {
  if (character >= 0xd800 && character < 0xe000) {
    append_escape(character, out_);
    return;
  }
  const auto one = py::reinterpret_steal<py::str>(PyUnicode_FromOrdinal(static_cast<int>(character)));
  write_utf8(py::cast<std::string>(one));
}

// NumPy scalars have item(), arrays tolist(), dates isoformat(); pandas' missing values are neither number nor date.
void JsonWriter::write_other(py::handle value, int depth) {
  const std::string type = type_name(value);
  if (type == "NAType" || type == "NaTType") {
    out_ += "null";
  } else if (py::hasattr(value, "isoformat")) {
    const py::object text = value.attr("isoformat")();
    if (!PyUnicode_Check(text.ptr())) throw_type(type, false);
    write_string(text);
  } else if (py::hasattr(value, "tolist") && py::hasattr(value, "dtype")) {
    const py::object item = value.attr("tolist")();
    if (py::type::of(item).is(py::type::of(value))) throw_type(type, false);
    check_depth(depth);
    write(item, depth + 1);
  } else if (type == "Decimal" && py::hasattr(value, "is_finite")) {
    write_decimal(value);
  } else {
    throw_type(type, false);
  }
}

}  // namespace jenga::python
