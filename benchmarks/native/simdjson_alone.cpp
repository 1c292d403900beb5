// What simdjson alone costs: every value of every row decoded and dropped, a row at a time, as the refinery reads rows.
// bench_refinery.py compiles it together with simdjson.cpp and calls it through ctypes.

#include <simdjson.h>

#include <cstdint>
#include <cstring>
#include <string_view>

namespace {

namespace ondemand = simdjson::ondemand;

uint64_t decode_members(ondemand::object object);

// The sum hinders the compiler from dropping what is decoded.
uint64_t decode(ondemand::value value) {
  switch (value.type()) {
    case ondemand::json_type::object:
      return decode_members(value.get_object());
    case ondemand::json_type::array: {
      uint64_t sum = 0;
      for (auto element : value.get_array()) sum += decode(element.value());
      return sum;
    }
    case ondemand::json_type::number: {
      const double number = value.get_double();
      return number != 0.0;
    }
    case ondemand::json_type::string: {
      const std::string_view text = value.get_string();
      return text.size();
    }
    case ondemand::json_type::boolean:
      return bool(value.get_bool());
    default:
      return bool(value.is_null());
  }
}

uint64_t decode_members(ondemand::object object) {
  uint64_t sum = 0;
  for (auto member : object) {
    const std::string_view key = member.unescaped_key();
    sum += key.size() + decode(member.value().value());
  }
  return sum;
}

}  // namespace

// Decodes JSON Lines in data[0, size); `capacity` bytes are readable, SIMDJSON_PADDING more than `size`. Returns the
// number of rows; below zero, -n: row n is bad. `sum` gets what the values add up to.
extern "C" int64_t decode_lines(const char* data, int64_t size, int64_t capacity, uint64_t* sum) {
  ondemand::parser parser;
  int64_t n_rows = 0;
  *sum = 0;
  try {
    for (int64_t begin = 0; begin < size;) {
      const void* newline = std::memchr(data + begin, '\n', static_cast<size_t>(size - begin));
      const int64_t end = newline ? static_cast<const char*>(newline) - data : size;
      ++n_rows;
      const simdjson::padded_string_view row(data + begin, static_cast<size_t>(end - begin),
                                             static_cast<size_t>(capacity - begin));
      ondemand::document document = parser.iterate(row);
      *sum += decode_members(document.get_object());
      begin = end + 1;
    }
  } catch (const simdjson::simdjson_error&) {
    return -n_rows;
  }
  return n_rows;
}
