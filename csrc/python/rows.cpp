// The refinery's front for Python objects: lists of bytes, str and dict as one buffer; splitting; locating errors.
#include "rows.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/refinery/refinery.h"
#include "jenga/check.h"
#include "python/json_writer.h"

namespace py = pybind11;
namespace refinery = jenga::refinery;

namespace {

// Deeper than the refinery reads, so that it still says "too deep".
constexpr jenga::python::JsonStyle row_style{
    .item_separator = ",", .key_separator = ":", .max_depth = 80, .strict = false};

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
    jenga::python::JsonWriter(out, row_style).write(row);
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

// Deeper than Python's own writer goes without an error of its recursion.
constexpr jenga::python::JsonStyle line_style{
    .item_separator = ", ", .key_separator = ": ", .max_depth = 1000, .strict = true};

py::bytes json_lines(const py::list& rows) {
  std::string out;
  jenga::python::JsonWriter writer(out, line_style);
  for (size_t at = 0; at < rows.size(); ++at) {
    // Held: writing runs no code of the rows', but another thread may change the list.
    const py::object row = rows[at];
    writer.write(row);
    out += '\n';
  }
  return out;
}

py::tuple split_rows(const py::buffer& data, bool array, bool opened, bool final, int64_t max_row_bytes,
                     int64_t n_threads) {
  check_count(max_row_bytes, "max_row_bytes");
  jenga::check(n_threads >= 1 && n_threads <= refinery::max_threads, "n_threads: got ", n_threads, "; allowed: 1 to ",
               refinery::max_threads);
  const py::buffer_info info = data.request();
  if (info.ndim != 1 || info.itemsize != 1 || (info.size > 1 && info.strides[0] != 1)) {
    throw py::value_error("data: must be bytes that lie side by side (uint8, one dimension, contiguous)");
  }
  const std::string_view bytes(static_cast<const char*>(info.ptr), static_cast<size_t>(info.size * info.itemsize));
  refinery::Split split;
  {
    const py::gil_scoped_release release;
    split = array ? refinery::split_array(bytes, opened, final, max_row_bytes)
                  : refinery::split_lines(bytes, final, max_row_bytes, static_cast<int>(n_threads));
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
  m.def("json_lines", &json_lines, py::arg("rows"), "bytes: the rows of a list as JSON, each with a line break.");
  m.def("split_rows", &split_rows, py::arg("data"), py::arg("array"), py::arg("opened"), py::arg("final"),
        py::arg("max_row_bytes"), py::arg("n_threads"),
        "(row pairs, too long pairs, consumed, n_blank, closed, broken_at) of a buffer.");
  m.def("locate", &locate, py::arg("row"), py::arg("plan"),
        "(code, position, JSON pointer) of a bad row; code 0: good.");
  m.def("refinery_errors", &error_codes, "{code: (name, words)} of what can be wrong with a row.");
}
