#include "core/skinny_linear.h"

#include "core/vector/dropout.h"
#include "core/vector/vec.h"

namespace jenga::core::JENGA_ISA {
namespace {

// A tile of sums fills the registers but for what it is made of: 12 of 16, or 24 of 32 with AVX-512.
constexpr int tile_rows = 4;
constexpr int tile_outputs = JENGA_VECTOR_BYTES == 64 ? 6 : 3;
constexpr int tile_vectors = tile_outputs;
template <typename T>
constexpr int64_t tile_columns = tile_vectors * int64_t{lanes<T>};
// Columns of the long side that are worked on at once: whole tiles of every width, and whole groups of dropout. Reading
// so much of a row before the next one is what the hardware prefetches.
constexpr int64_t chunk_columns = 192;
static_assert(chunk_columns % tile_columns<float> == 0 && chunk_columns % tile_columns<double> == 0);
static_assert(chunk_columns % dropout_group == 0);
// Rows that are worked on at once, so that their part of x stays in the second cache. The sum of a block begins at 0:
// added one after the other, many rows would lose digits.
constexpr int64_t block_rows = 64;
// Terms of a sum in `widen` whose weights are packed at once.
constexpr int64_t block_terms = 64;
// Columns of x that four rows keep in the first cache.
constexpr int64_t narrow_columns = 1024;

int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

// Calls function.operator()<count>() for a count in [1, most] that is known at run time only.
template <int most, typename Function>
void with_count(int64_t count, const Function& function) {
  if constexpr (most > 1) {
    if (count < most) {
      return with_count<most - 1>(count, function);
    }
  }
  function.template operator()<most>();
}

// The next `count` values as a vector; lanes beyond them are 0.
template <typename T>
Vec<T> load_at_most(const T* from, int64_t count) {
  return count >= lanes<T> ? load(from) : count > 0 ? load_first(from, count) : Vec<T>{};
}

// Columns [first, first + n_columns) of a row, filled up with zeros to `n_filled`; dropped elements become 0. `first`
// is a multiple of dropout_group, and `n_filled` of the lanes.
template <typename T>
void copy_row(const T* row_values, int64_t row, int64_t first, int64_t n_columns, int64_t n_filled, Dropout dropout,
              T* to) {
  const T* from = row_values + first;
  if (dropout.threshold == 0) {
    for (int64_t column = 0; column < n_filled; column += lanes<T>) {
      store(to + column, load_at_most(from + column, n_columns - column));
    }
    return;
  }
  uint32_t masks[dropout_group];
  for (int64_t group = 0; group < n_filled; group += dropout_group) {
    keep_masks(dropout, row, (first + group) / dropout_group, masks);
    const int64_t end = at_most(n_filled - group, dropout_group);
    for (int64_t column = 0; column < end; column += lanes<T>) {
      const Vec<T> values = load_at_most(from + group + column, n_columns - group - column);
      store(to + group + column, masked(values, masks + column));
    }
  }
}

// ---- narrow: many columns to few ------------------------------------------------------------------------------------

// y[0..rows) x [0..outputs): both operands run along k, one vector of partial sums for each pair.
template <typename T, int rows, int outputs>
void narrow_tile(Matrix<const T> x, Matrix<const T> weight, const T* bias, int64_t n_columns, bool add, Matrix<T> y) {
  Vec<T> sums[rows][outputs] = {};
  const auto accumulate = [&](const auto& load_values) {
    Vec<T> w[outputs];
#pragma GCC unroll 8
    for (int output = 0; output < outputs; ++output) {
      w[output] = load_values(weight.data + output * weight.row_stride);
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      const Vec<T> value = load_values(x.data + row * x.row_stride);
#pragma GCC unroll 8
      for (int output = 0; output < outputs; ++output) {
        sums[row][output] += value * w[output];
      }
    }
  };
  int64_t k = 0;
  for (; k + lanes<T> <= n_columns; k += lanes<T>) {
    accumulate([&](const T* values) { return load(values + k); });
  }
  if (k < n_columns) {
    accumulate([&](const T* values) { return load_first(values + k, n_columns - k); });
  }
  for (int row = 0; row < rows; ++row) {
    for (int output = 0; output < outputs; ++output) {
      T& to = y.data[row * y.row_stride + output];
      to = lane_sum(sums[row][output]) + (add ? to : bias == nullptr ? T{} : bias[output]);
    }
  }
}

// A tile of rows and all outputs, over columns that stay in the first cache.
template <typename T, int rows>
void narrow_rows(Matrix<const T> x, Matrix<const T> weight, const T* bias, int64_t n_outputs, int64_t n_columns,
                 bool add, Matrix<T> y) {
  // Tiles of nearly equal size: one output left over would leave most of the registers idle.
  const int64_t n_tiles = (n_outputs + tile_outputs - 1) / tile_outputs;
  for (int64_t tile = 0; tile < n_tiles; ++tile) {
    const int64_t output = tile * n_outputs / n_tiles;
    const int64_t count = (tile + 1) * n_outputs / n_tiles - output;
    with_count<tile_outputs>(count, [&]<int outputs>() {
      narrow_tile<T, rows, outputs>(x, {weight.data + output * weight.row_stride, weight.row_stride},
                                    bias == nullptr ? nullptr : bias + output, n_columns, add,
                                    {y.data + output, y.row_stride});
    });
  }
}

template <typename T>
void narrow(Matrix<const T> x, Matrix<const T> weight, const T* bias, int64_t n_outputs, int64_t n_inputs,
            int64_t begin, int64_t end, Dropout dropout, Matrix<T> y) {
  T kept[tile_rows * narrow_columns];
  for (int64_t row = begin; row < end; row += tile_rows) {
    const int64_t n_rows = at_most(end - row, tile_rows);
    // No columns: one empty pass writes the bias.
    for (int64_t first = 0; first < n_inputs || first == 0; first += narrow_columns) {
      const int64_t n_columns = at_most(n_inputs - first, narrow_columns);
      Matrix<const T> values{x.data + row * x.row_stride + first, x.row_stride};
      if (dropout.threshold != 0) {
        const int64_t n_filled = (n_columns + lanes<T> - 1) / lanes<T> * lanes<T>;
        for (int64_t each = 0; each < n_rows; ++each) {
          copy_row(x.data + (row + each) * x.row_stride, row + each, first, n_columns, n_filled, dropout,
                   kept + each * narrow_columns);
        }
        values = {kept, narrow_columns};
      }
      with_count<tile_rows>(n_rows, [&]<int rows>() {
        narrow_rows<T, rows>(values, {weight.data + first, weight.row_stride}, bias, n_outputs, n_columns, first > 0,
                             {y.data + row * y.row_stride, y.row_stride});
      });
    }
  }
}

// ---- sums of outer products: `widen` and `reduce` -------------------------------------------------------------------

// Sums over terms of left(row, term) * panel[term, ...], for one tile. `finish` takes each vector of sums to its place.
template <typename T, int rows, typename Left, typename Finish>
void outer_tile(const Left& left, const T* panel, int64_t n_terms, const Finish& finish) {
  Vec<T> sums[rows][tile_vectors] = {};
  for (int64_t term = 0; term < n_terms; ++term) {
    Vec<T> values[tile_vectors];
#pragma GCC unroll 8
    for (int vector = 0; vector < tile_vectors; ++vector) {
      values[vector] = load(panel + term * chunk_columns + vector * lanes<T>);
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      const Vec<T> factor = splat(left(row, term));
#pragma GCC unroll 8
      for (int vector = 0; vector < tile_vectors; ++vector) {
        sums[row][vector] += factor * values[vector];
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 8
    for (int vector = 0; vector < tile_vectors; ++vector) {
      finish(row, vector * lanes<T>, sums[row][vector]);
    }
  }
}

// Writes `values` and what is to be added to them, unless that is null, to the next `count` places, which hold at least
// a vector where `whole`.
template <bool whole, typename T>
void put(T* to, Vec<T> values, const T* addend, int64_t count) {
  if (whole || count >= lanes<T>) {
    store(to, addend == nullptr ? values : values + load(addend));
  } else if (count > 0) {
    store_first(to, addend == nullptr ? values : values + load_first(addend, count), count);
  }
}

// Calls function.operator()<whole>() for tiles of n_columns, `whole` for all but the last where that is narrower.
template <typename T, typename Function>
void for_tiles(int64_t n_columns, const Function& function) {
  int64_t column = 0;
  for (; column + tile_columns<T> <= n_columns; column += tile_columns<T>) {
    function.template operator()<true>(column);
  }
  if (column < n_columns) {
    function.template operator()<false>(column);
  }
}

template <typename T>
int64_t filled(int64_t n_columns) {
  return at_most((n_columns + tile_columns<T> - 1) / tile_columns<T> * tile_columns<T>, chunk_columns);
}

// Rows [begin, end), at most block_rows, of columns [first, first + n_columns), for some of the terms of the sum.
template <bool drops, typename T>
void widen_block(Matrix<const T> y, const T* panel, const T* bias, int64_t n_terms, int64_t first, int64_t n_columns,
                 int64_t begin, int64_t end, Dropout dropout, bool add, Matrix<T> x) {
  [[maybe_unused]] uint32_t masks[drops ? tile_rows * chunk_columns : 1];
  for (int64_t row = begin; row < end; row += tile_rows) {
    const int64_t n_rows = at_most(end - row, tile_rows);
    if constexpr (drops) {
      for (int64_t each = 0; each < n_rows; ++each) {
        for (int64_t column = 0; column < n_columns; column += dropout_group) {
          keep_masks(dropout, row + each, (first + column) / dropout_group, masks + each * chunk_columns + column);
        }
      }
    }
    with_count<tile_rows>(n_rows, [&]<int rows>() {
      const auto left = [&](int each, int64_t term) { return y.data[(row + each) * y.row_stride + term]; };
      for_tiles<T>(n_columns, [&]<bool whole>(int64_t column) {
        outer_tile<T, rows>(left, panel + column, n_terms, [&](int each, int64_t offset, Vec<T> sums) {
          const int64_t place = column + offset;
          if constexpr (drops) {
            sums = masked(sums, masks + each * chunk_columns + place);
          }
          T* to = x.data + (row + each) * x.row_stride + first + place;
          put<whole>(to, sums, add ? to : bias == nullptr ? nullptr : bias + first + place, n_columns - place);
        });
      });
    });
  }
}

template <typename T>
void widen(Matrix<const T> y, Matrix<const T> weight, const T* bias, int64_t n_outputs, int64_t n_inputs, int64_t begin,
           int64_t end, Dropout dropout, bool add, Matrix<T> x) {
  T panel[block_terms * chunk_columns];
  for (int64_t row = begin; row < end; row += block_rows) {
    const int64_t last = row + at_most(end - row, block_rows);
    for (int64_t first = 0; first < n_inputs; first += chunk_columns) {
      const int64_t n_columns = at_most(n_inputs - first, chunk_columns);
      // No terms: one empty block writes the bias.
      for (int64_t term = 0; term < n_outputs || term == 0; term += block_terms) {
        const int64_t n_terms = at_most(n_outputs - term, block_terms);
        for (int64_t each = 0; each < n_terms; ++each) {
          copy_row(weight.data + (term + each) * weight.row_stride, 0, first, n_columns, filled<T>(n_columns), {},
                   panel + each * chunk_columns);
        }
        const auto block = dropout.threshold == 0 ? widen_block<false, T> : widen_block<true, T>;
        block({y.data + term, y.row_stride}, panel, bias, n_terms, first, n_columns, row, last, dropout,
              add || term > 0, x);
      }
    }
  }
}

template <typename T>
void reduce(Matrix<const T> y, Matrix<const T> x, int64_t n_outputs, int64_t begin, int64_t end, int64_t first,
            int64_t last, Dropout dropout, bool add, Matrix<T> weight) {
  T panel[block_rows * chunk_columns];
  // No rows: one empty block writes the zeros.
  for (int64_t row = begin; row < end || row == begin; row += block_rows) {
    const int64_t n_rows = at_most(end - row, block_rows);
    for (int64_t column_begin = first; column_begin < last; column_begin += chunk_columns) {
      const int64_t n_columns = at_most(last - column_begin, chunk_columns);
      for (int64_t each = 0; each < n_rows; ++each) {
        copy_row(x.data + (row + each) * x.row_stride, row + each, column_begin, n_columns, filled<T>(n_columns),
                 dropout, panel + each * chunk_columns);
      }
      for_tiles<T>(n_columns, [&]<bool whole>(int64_t column) {
        for (int64_t output = 0; output < n_outputs; output += tile_rows) {
          with_count<tile_rows>(at_most(n_outputs - output, tile_rows), [&]<int rows>() {
            const auto left = [&](int each, int64_t term) {
              return y.data[(row + term) * y.row_stride + output + each];
            };
            outer_tile<T, rows>(left, panel + column, n_rows, [&](int each, int64_t offset, Vec<T> sums) {
              const int64_t place = column + offset;
              T* to = weight.data + (output + each) * weight.row_stride + column_begin + place;
              put<whole>(to, sums, add || row > begin ? to : nullptr, n_columns - place);
            });
          });
        }
      });
    }
  }
}

}  // namespace
}  // namespace jenga::core::JENGA_ISA

namespace jenga::core {

const SkinnyLinearKernels<float> JENGA_TABLE(skinny_linear_float){
    .narrow = &JENGA_ISA::narrow<float>,
    .widen = &JENGA_ISA::widen<float>,
    .reduce = &JENGA_ISA::reduce<float>,
};
const SkinnyLinearKernels<double> JENGA_TABLE(skinny_linear_double){
    .narrow = &JENGA_ISA::narrow<double>,
    .widen = &JENGA_ISA::widen<double>,
    .reduce = &JENGA_ISA::reduce<double>,
};

}  // namespace jenga::core
