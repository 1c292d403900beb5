// The refinery's front for Python objects: lists of bytes, str and dict as one buffer; splitting; locating errors.
#include "rows.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/refinery/refinery.h"
#include "jenga/check.h"

namespace py = pybind11;
namespace refinery = jenga::refinery;

namespace {

// Deeper than the refinery reads, so that it still says "too deep"; a dict that holds itself ends here.
constexpr int max_written_depth = 80;

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  void write(py::handle value, int depth = 0) {
    PyObject* const object = value.ptr();
    if (object == Py_None) {
      out_ += "null";
    } else if (PyBool_Check(object)) {
      out_ += object == Py_True ? "true" : "false";
    } else if (PyUnicode_Check(object)) {
      write_string(value);
    } else if (PyLong_Check(object)) {
      write_integer(value);
    } else if (PyFloat_Check(object)) {
      write_float(PyFloat_AS_DOUBLE(object));
    } else if (PyDict_Check(object)) {
      write_dict(value, depth);
    } else if (PyList_Check(object) || PyTuple_Check(object)) {
      write_list(value, depth);
    } else {
      write_other(value, depth);
    }
  }

 private:
  static void check_depth(int depth) {
    if (depth >= max_written_depth) throw py::value_error("nested deeper than 80 levels, or holds itself");
  }

  void write_dict(py::handle value, int depth) {
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
      if (!first) out_ += ',';
      first = false;
      write_string(PyUnicode_Check(key.ptr()) ? key : py::object(py::str(key)));
      out_ += ':';
      write(item, depth + 1);
      if (PyDict_Size(value.ptr()) != n_items) throw py::value_error("changed while it was read");
    }
    out_ += '}';
  }

  void write_list(py::handle value, int depth) {
    check_depth(depth);
    out_ += '[';
    bool first = true;
    for (const py::object item : py::reinterpret_borrow<py::sequence>(value)) {
      if (!first) out_ += ',';
      first = false;
      write(item, depth + 1);
    }
    out_ += ']';
  }

  void write_integer(py::handle value) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow == 0) {
      out_ += std::to_string(number);
      return;
    }
    out_ += py::cast<std::string>(py::str(value));
  }

  void write_float(double number) {
    if (number != number) {
      out_ += "NaN";
      return;
    }
    char* const text = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, nullptr);
    if (text == nullptr) throw py::error_already_set();
    const std::string_view digits(text);
    out_ += digits == "inf" ? "Infinity" : digits == "-inf" ? "-Infinity" : digits;
    PyMem_Free(text);
  }

  void write_decimal(py::handle value) {
    if (py::cast<bool>(value.attr("is_finite")())) {
      out_ += py::cast<std::string>(py::str(value));
    } else if (py::cast<bool>(value.attr("is_nan")())) {
      out_ += "NaN";
    } else {
      out_ += py::cast<bool>(value.attr("is_signed")()) ? "-Infinity" : "Infinity";
    }
  }

  void write_string(py::handle value) {
    out_ += '"';
    Py_ssize_t size = 0;
    const char* const text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
    if (text != nullptr) {
      for (Py_ssize_t i = 0; i < size; ++i) write_byte(text[i]);
    } else {
      // Half a character has no UTF-8: its escape lets the refinery name it.
      PyErr_Clear();
      const Py_ssize_t length = PyUnicode_GetLength(value.ptr());
      for (Py_ssize_t i = 0; i < length; ++i) write_character(PyUnicode_ReadChar(value.ptr(), i));
    }
    out_ += '"';
  }

  void write_byte(char c) {
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      write_escape(static_cast<Py_UCS4>(c));
    } else {
      out_ += c;
    }
  }

  void write_character(Py_UCS4 c) {
    if (c < 0x80) {
      write_byte(static_cast<char>(c));
    } else if (c >= 0xd800 && c < 0xe000) {
      write_escape(c);
    } else {
      const py::str one = py::reinterpret_steal<py::str>(PyUnicode_FromOrdinal(static_cast<int>(c)));
      out_ += py::cast<std::string>(one);
    }
  }

  void write_escape(Py_UCS4 unit) {
    constexpr char digits[] = "0123456789abcdef";
    out_ += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out_ += digits[unit >> shift & 0xf];
  }

  // NumPy scalars have item(), arrays tolist(), dates isoformat(); pandas' missing values are neither number nor date.
  void write_other(py::handle value, int depth) {
    const auto type = py::cast<std::string>(py::str(py::type::of(value).attr("__name__")));
    if (type == "NAType" || type == "NaTType") {
      out_ += "null";
    } else if (py::hasattr(value, "isoformat")) {
      const py::object text = value.attr("isoformat")();
      if (!PyUnicode_Check(text.ptr())) throw_type(type);
      write_string(text);
    } else if (py::hasattr(value, "tolist") && py::hasattr(value, "dtype")) {
      const py::object item = value.attr("tolist")();
      if (py::type::of(item).is(py::type::of(value))) throw_type(type);
      check_depth(depth);
      write(item, depth + 1);
    } else if (type == "Decimal" && py::hasattr(value, "is_finite")) {
      write_decimal(value);
    } else {
      throw_type(type);
    }
  }

  [[noreturn]] static void throw_type(const std::string& type) {
    throw py::type_error(
        "holds a " + type +
        "; allowed: None, bool, int, float, Decimal, str, date, NumPy scalars and arrays, dict, list and "
        "tuple of these");
  }

  std::string& out_;
};

void append_row(py::handle row, std::string& out) {
  char* bytes = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_Check(row.ptr())) {
    PyBytes_AsStringAndSize(row.ptr(), &bytes, &size);
    out.append(bytes, static_cast<size_t>(size));
  } else if (PyUnicode_Check(row.ptr())) {
    const char* const text = PyUnicode_AsUTF8AndSize(row.ptr(), &size);
    if (text != nullptr) {
      out.append(text, static_cast<size_t>(size));
      return;
    }
    PyErr_Clear();
    // No UTF-8: handed on as it is, for the refinery to refuse.
    const py::bytes encoded = row.attr("encode")("utf-8", "surrogatepass");
    out += static_cast<std::string_view>(encoded);
  } else {
    JsonWriter(out).write(row);
  }
}

py::bytearray bytes_of(const std::vector<int64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)};
}

// What counts rows or bytes; the largest that sums with sizes of what is in memory.
void check_count(int64_t value, const char* name) {
  jenga::check(value >= 0 && value <= INT64_MAX / 2, name, ": got ", value, "; allowed: 0 to 2^62 - 1");
}

py::tuple pack_rows(const py::iterable& rows, int64_t first) {
  check_count(first, "first");
  std::string out;
  std::vector<int64_t> offsets;
  const auto name_of_row = [&] { return "row " + std::to_string(first + static_cast<int64_t>(offsets.size() / 2)); };
  for (const py::handle row : rows) {
    offsets.push_back(static_cast<int64_t>(out.size()));
    try {
      append_row(row, out);
    } catch (const py::builtin_exception& error) {
      const std::string words = name_of_row() + ": " + error.what();
      if (dynamic_cast<const py::type_error*>(&error) != nullptr) throw py::type_error(words);
      throw py::value_error(words);
    } catch (py::error_already_set& error) {
      // Such as that of a number with too many digits: the same error, said of the row.
      py::raise_from(error, PyExc_ValueError, (name_of_row() + " has no JSON form").c_str());
      throw py::error_already_set();
    }
    offsets.push_back(static_cast<int64_t>(out.size()));
    out += '\n';
  }
  return py::make_tuple(py::bytearray(out.data(), out.size()), bytes_of(offsets));
}

py::tuple split_rows(const py::buffer& data, bool array, bool opened, bool final, int64_t max_row_bytes) {
  check_count(max_row_bytes, "max_row_bytes");
  const py::buffer_info info = data.request();
  if (info.ndim != 1 || info.itemsize != 1 || (info.size > 1 && info.strides[0] != 1)) {
    throw py::value_error("data: must be bytes that lie side by side (uint8, one dimension, contiguous)");
  }
  const std::string_view bytes(static_cast<const char*>(info.ptr), static_cast<size_t>(info.size * info.itemsize));
  refinery::Split split;
  {
    const py::gil_scoped_release release;
    split = array ? refinery::split_array(bytes, opened, final, max_row_bytes)
                  : refinery::split_lines(bytes, final, max_row_bytes);
  }
  return py::make_tuple(bytes_of(split.offsets), bytes_of(split.too_long), split.consumed, split.n_blank, split.closed,
                        split.broken_at);
}

py::tuple locate(const py::bytes& row, const py::bytes& plan) {
  const auto location =
      refinery::locate(refinery::cached_plan(static_cast<std::string_view>(plan)), static_cast<std::string_view>(row));
  // Bytes: a key of the pointer may be no UTF-8.
  return py::make_tuple(static_cast<int64_t>(location.error), location.position, py::bytes(location.pointer));
}

py::dict error_codes() {
  py::dict codes;
  for (int64_t code = 1; code < refinery::n_row_errors; ++code) {
    const auto& text = refinery::row_error_texts[code];
    codes[py::int_(code)] = py::make_tuple(text.name, text.words);
  }
  return codes;
}

}  // namespace

void bind_rows(py::module_& m) {
  m.def("pack_rows", &pack_rows, py::arg("rows"), py::arg("first"),
        "(bytearray, int64 pairs [begin, end) as bytearray) of an iterable of bytes, str or objects written as JSON.");
  m.def("split_rows", &split_rows, py::arg("data"), py::arg("array"), py::arg("opened"), py::arg("final"),
        py::arg("max_row_bytes"), "(row pairs, too long pairs, consumed, n_blank, closed, broken_at) of a buffer.");
  m.def("locate", &locate, py::arg("row"), py::arg("plan"),
        "(code, position, JSON pointer) of a bad row; code 0: good.");
  m.def("refinery_errors", &error_codes, "{code: (name, words)} of what can be wrong with a row.");
}
