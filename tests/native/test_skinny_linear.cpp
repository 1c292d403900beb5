// Drives csrc/core/vector/skinny_linear.cpp under sanitizers: the three products at odd sizes against plain sums, with
// rows that lie apart, in buffers that are exactly as long as they must be, and dropout against a plain generator.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <vector>

#include "core/skinny_linear.h"

namespace {

namespace core = jenga::core;

int n_failed = 0;

void expect(bool right, const char* what, double got = 0, double wanted = 0) {
  if (!right) {
    std::fprintf(stderr, "FAILED: %s: %g, not %g\n", what, got, wanted);
    ++n_failed;
  }
}

// ---- dropout, as core/dropout.h describes it ------------------------------------------------------------------------

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint64_t seed, int rounds) {
  auto k0 = static_cast<uint32_t>(seed);
  auto k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < rounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(product0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return counter;
}

bool keeps(core::Dropout dropout, int64_t row, int64_t column) {
  if (dropout.threshold == 0) {
    return true;
  }
  const std::array<uint32_t, 4> counter{static_cast<uint32_t>(8 * (column / 64) + column % 8),
                                        static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), 0};
  const uint32_t word = philox(counter, dropout.seed, core::philox_rounds)[column / 8 % 4];
  return (column % 64 >= 32 ? word >> 16 : word & 0xffffU) >= dropout.threshold;
}

void check_generator() {
  // The answers that its authors publish with Random123.
  const auto zeros = philox({0, 0, 0, 0}, 0, 7);
  expect(zeros == std::array<uint32_t, 4>{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}, "Philox4x32-7 of zeros");
  const auto ones = philox({~0U, ~0U, ~0U, ~0U}, ~uint64_t{0}, 7);
  expect(ones == std::array<uint32_t, 4>{0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}, "Philox4x32-7 of ones");
  static_assert(core::philox_rounds == 7);
}

// ---- matrices -------------------------------------------------------------------------------------------------------

// Rows lie `gap` apart, and the last ends with its values.
template <typename T>
struct Rows {
  int64_t n_rows;
  int64_t n_columns;
  int64_t stride;
  std::vector<T> values;

  Rows(int64_t rows, int64_t columns, double phase, int64_t gap = 3)
      : n_rows(rows), n_columns(columns), stride(columns + gap), values(rows == 0 ? 0 : rows * stride - gap) {
    for (size_t place = 0; place < values.size(); ++place) {
      values[place] = static_cast<T>(std::sin(0.7 * static_cast<double>(place) + phase));
    }
  }

  double at(int64_t row, int64_t column) const { return static_cast<double>(values[row * stride + column]); }
  core::Matrix<const T> view() const { return {values.data(), stride}; }
  core::Matrix<T> out() { return {values.data(), stride}; }

  // Every value within `columns` as wanted(row, column) has it; all others, and what lies between rows, as before.
  template <typename Wanted>
  void expect_values(const Rows& before, int64_t first, int64_t last, const Wanted& wanted, const char* what) const {
    // Sums of up to 2000 products of at most 1: each addition rounds the sum so far.
    const double tolerance = std::is_same_v<T, float> ? 1e-4 : 1e-12;
    for (int64_t place = 0; place < static_cast<int64_t>(values.size()); ++place) {
      const int64_t row = place / stride;
      const int64_t column = place % stride;
      if (column < n_columns && column >= first && column < last) {
        const double sum = wanted(row, column);
        expect(std::abs(at(row, column) - sum) < tolerance * (1 + std::abs(sum) / 10), what, at(row, column), sum);
      } else {
        expect(values[place] == before.values[place], what, values[place], before.values[place]);
      }
    }
  }
};

struct Size {
  int64_t n_rows;
  int64_t n_outputs;
  int64_t n_inputs;
};

// ---- the products ---------------------------------------------------------------------------------------------------

template <typename T>
void check_narrow(Size size, core::Dropout dropout, bool with_bias) {
  const Rows<T> x(size.n_rows, size.n_inputs, 0.1);
  const Rows<T> weight(size.n_outputs, size.n_inputs, 0.2, 1);
  const Rows<T> bias(1, size.n_outputs, 0.3);
  Rows<T> y(size.n_rows, size.n_outputs, 0.4, 2);
  const Rows<T> before = y;
  const int64_t half = size.n_rows / 2;
  const T* addend = with_bias ? bias.values.data() : nullptr;
  for (const auto& [begin, end] : {std::array{int64_t{0}, half}, std::array{half, size.n_rows}}) {
    core::skinny_linear_kernels<T>().narrow(x.view(), weight.view(), addend, size.n_outputs, size.n_inputs, begin, end,
                                            dropout, y.out());
  }
  y.expect_values(
      before, 0, size.n_outputs,
      [&](int64_t row, int64_t output) {
        double sum = with_bias ? bias.at(0, output) : 0;
        for (int64_t k = 0; k < size.n_inputs; ++k) {
          sum += keeps(dropout, row, k) ? x.at(row, k) * weight.at(output, k) : 0;
        }
        return sum;
      },
      "narrow");
}

template <typename T>
void check_widen(Size size, core::Dropout dropout, bool with_bias, bool add) {
  const Rows<T> y(size.n_rows, size.n_outputs, 0.1, 2);
  const Rows<T> weight(size.n_outputs, size.n_inputs, 0.2, 1);
  const Rows<T> bias(1, size.n_inputs, 0.3);
  Rows<T> x(size.n_rows, size.n_inputs, 0.4);
  const Rows<T> before = x;
  const int64_t half = size.n_rows / 2;
  const T* addend = with_bias ? bias.values.data() : nullptr;
  for (const auto& [begin, end] : {std::array{int64_t{0}, half}, std::array{half, size.n_rows}}) {
    core::skinny_linear_kernels<T>().widen(y.view(), weight.view(), addend, size.n_outputs, size.n_inputs, begin, end,
                                           dropout, add, x.out());
  }
  x.expect_values(
      before, 0, size.n_inputs,
      [&](int64_t row, int64_t k) {
        double sum = 0;
        for (int64_t output = 0; output < size.n_outputs; ++output) {
          sum += y.at(row, output) * weight.at(output, k);
        }
        return (keeps(dropout, row, k) ? sum : 0) + (with_bias ? bias.at(0, k) : 0) + (add ? before.at(row, k) : 0);
      },
      "widen");
}

// Rows [begin, end) and columns [first, last).
template <typename T>
void check_reduce(Size size, core::Dropout dropout, bool add, int64_t begin, int64_t end, int64_t first, int64_t last) {
  const Rows<T> y(size.n_rows, size.n_outputs, 0.1, 2);
  const Rows<T> x(size.n_rows, size.n_inputs, 0.2);
  Rows<T> weight(size.n_outputs, size.n_inputs, 0.4, 1);
  const Rows<T> before = weight;
  core::skinny_linear_kernels<T>().reduce(y.view(), x.view(), size.n_outputs, begin, end, first, last, dropout, add,
                                          weight.out());
  weight.expect_values(
      before, first, last,
      [&](int64_t output, int64_t k) {
        double sum = add ? before.at(output, k) : 0;
        for (int64_t row = begin; row < end; ++row) {
          sum += keeps(dropout, row, k) ? y.at(row, output) * x.at(row, k) : 0;
        }
        return sum;
      },
      "reduce");
}

template <typename T>
void check(Size size, core::Dropout dropout) {
  for (const bool with_bias : {false, true}) {
    check_narrow<T>(size, dropout, with_bias);
    check_widen<T>(size, dropout, with_bias, false);
  }
  check_widen<T>(size, dropout, false, true);
  const int64_t columns = std::min<int64_t>(192, size.n_inputs);
  for (const bool add : {false, true}) {
    check_reduce<T>(size, dropout, add, 0, size.n_rows, 0, columns);
    check_reduce<T>(size, dropout, add, size.n_rows / 3, size.n_rows, columns, size.n_inputs);
  }
}

// A row whose number needs more than 32 bits: all rows lie on the same memory.
template <typename T>
void check_far_row() {
  const int64_t row = (int64_t{1} << 33) + 5;
  const core::Dropout dropout{.seed = 99, .threshold = 30000};
  const Rows<T> x(1, 100, 0.1);
  const std::vector<T> ones(100, T{1});
  T sum = 0;
  core::skinny_linear_kernels<T>().narrow({x.values.data(), 0}, {ones.data(), 100}, nullptr, 1, 100, row, row + 1,
                                          dropout, {&sum, 0});
  double wanted = 0;
  for (int64_t k = 0; k < 100; ++k) {
    wanted += keeps(dropout, row, k) ? x.at(0, k) : 0;
  }
  expect(std::abs(static_cast<double>(sum) - wanted) < 1e-5, "narrow of a far row", sum, wanted);
}

// What is dropped is 0 whatever it was, and does not spread.
void check_dropped_nan() {
  const core::Dropout dropout{.seed = 3, .threshold = 32768};
  std::vector<float> x(100);
  for (int64_t k = 0; k < 100; ++k) {
    x[k] = keeps(dropout, 0, k) ? 1.0F : std::nanf("");
  }
  const std::vector<float> ones(100, 1.0F);
  float sum = 0;
  core::skinny_linear_float().narrow({x.data(), 100}, {ones.data(), 100}, nullptr, 1, 100, 0, 1, dropout, {&sum, 1});
  const auto n_kept = std::count(x.begin(), x.end(), 1.0F);
  expect(n_kept > 20 && n_kept < 80, "kept elements", static_cast<double>(n_kept), 50);
  expect(sum == static_cast<float>(n_kept), "narrow of dropped NaN", sum, static_cast<double>(n_kept));
}

}  // namespace

int main() {
  check_generator();
  for (const int64_t n_rows : {0, 1, 5, 130}) {
    for (const int64_t n_outputs : {0, 1, 2, 7, 34, 128}) {
      for (const int64_t n_inputs : {1, 8, 97, 200}) {
        check<float>({n_rows, n_outputs, n_inputs}, {});
        check<double>({n_rows, n_outputs, n_inputs}, {});
      }
    }
  }
  // More rows than a block, more columns than `narrow` keeps; every part of a group of dropout.
  for (const core::Dropout dropout : {core::Dropout{}, core::Dropout{.seed = 0xfedcba9876543210, .threshold = 20000}}) {
    for (const Size size : {Size{3, 2, 63}, Size{3, 0, 64}, Size{0, 3, 65}, Size{67, 3, 191}, Size{2, 65, 193},
                            Size{5, 4, 1024}, Size{5, 7, 1100}, Size{259, 3, 50}, Size{1, 1, 2050}}) {
      check<float>(size, dropout);
      check<double>(size, dropout);
    }
  }
  check<float>({6, 3, 100}, {.seed = 1, .threshold = 1});
  check<float>({6, 3, 100}, {.seed = 1, .threshold = 65535});
  check_far_row<float>();
  check_far_row<double>();
  check_dropped_nan();
  std::printf("skinny_linear on %s: %d failures\n", core::isa_name(core::isa()), n_failed);
  return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
