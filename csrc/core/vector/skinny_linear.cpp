#include "core/skinny_linear.h"

#include "core/vector/vec.h"

namespace jenga::core::JENGA_ISA {
namespace {

using V = Vec<float>;
constexpr int width = lanes<float>;

// A tile of sums fills the registers but for what it is made of: 12 of 16, or 24 of 32 with AVX-512.
constexpr int tile_rows = 4;
constexpr int tile_outputs = JENGA_VECTOR_BYTES == 64 ? 6 : 3;
constexpr int tile_vectors = tile_outputs;
constexpr int64_t panel_columns = tile_vectors * width;
// Rows that are worked on at once, so that their part of dx, or of x, stays in the second cache. The sum of a block
// begins at 0: added one after the other, many rows would lose digits.
constexpr int64_t block_rows = 128;

// y[0..rows) x [0..outputs): both operands run along k, one vector of partial sums for each pair.
template <int rows, int outputs>
void forward_tile(const float* x, int64_t x_stride, const float* weight, const float* bias, int64_t n_inputs, float* y,
                  int64_t y_stride) {
  V sums[rows][outputs] = {};
  const auto add = [&](const V(&w)[outputs], const auto& load_x) {
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      const V value = load_x(row);
#pragma GCC unroll 8
      for (int output = 0; output < outputs; ++output) {
        sums[row][output] += value * w[output];
      }
    }
  };
  int64_t k = 0;
  for (; k + width <= n_inputs; k += width) {
    V w[outputs];
#pragma GCC unroll 8
    for (int output = 0; output < outputs; ++output) {
      w[output] = load(weight + output * n_inputs + k);
    }
    add(w, [&](int row) { return load(x + row * x_stride + k); });
  }
  if (k < n_inputs) {
    V w[outputs];
    for (int output = 0; output < outputs; ++output) {
      w[output] = load_first(weight + output * n_inputs + k, n_inputs - k);
    }
    add(w, [&](int row) { return load_first(x + row * x_stride + k, n_inputs - k); });
  }
  for (int row = 0; row < rows; ++row) {
    for (int output = 0; output < outputs; ++output) {
      y[row * y_stride + output] = lane_sum(sums[row][output]) + (bias == nullptr ? 0.0F : bias[output]);
    }
  }
}

// Columns [0, n_columns) of `n_terms` rows, dense and filled up with zeros to `panel_columns`. Rows of x or weight lie
// a power of two apart or nearly so, and would evict each other from the first cache.
void pack(const float* from, int64_t stride, int64_t n_terms, int64_t n_columns, float* panel) {
  for (int64_t term = 0; term < n_terms; ++term) {
    // The columns that are packed next: no hardware prefetcher follows so long a stride.
    __builtin_prefetch(from + term * stride + panel_columns);
    __builtin_prefetch(from + term * stride + 2 * panel_columns - 1);
    for (int vector = 0; vector < tile_vectors; ++vector) {
      const int64_t left = n_columns - vector * width;
      const float* values = from + term * stride + vector * width;
      store(panel + term * panel_columns + vector * width, left >= width ? load(values)
                                                           : left > 0    ? load_first(values, left)
                                                                         : V{});
    }
  }
}

// out[0..rows) x [0, n_columns): the sum over terms of left(row, term) * panel[term, ...], added to `out` where `add`.
template <int rows, typename Left>
void outer_tile(const Left& left, const float* panel, int64_t n_terms, int64_t n_columns, float* out,
                int64_t out_stride, bool add) {
  V sums[rows][tile_vectors] = {};
  for (int64_t term = 0; term < n_terms; ++term) {
    V values[tile_vectors];
#pragma GCC unroll 8
    for (int vector = 0; vector < tile_vectors; ++vector) {
      values[vector] = load(panel + term * panel_columns + vector * width);
    }
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      const V factor = splat(left(row, term));
#pragma GCC unroll 8
      for (int vector = 0; vector < tile_vectors; ++vector) {
        sums[row][vector] += factor * values[vector];
      }
    }
  }
  for (int row = 0; row < rows; ++row) {
    for (int vector = 0; vector < tile_vectors; ++vector) {
      float* to = out + row * out_stride + vector * width;
      const int64_t left_over = n_columns - vector * width;
      if (left_over >= width) {
        store(to, add ? load(to) + sums[row][vector] : sums[row][vector]);
      } else if (left_over > 0) {
        const V before = add ? load_first(to, left_over) : V{};
        store_first(to, before + sums[row][vector], left_over);
      }
    }
  }
}

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

int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

void forward(Matrix x, const float* weight, const float* bias, int64_t n_outputs, int64_t n_inputs, int64_t begin,
             int64_t end, float* y) {
  for (int64_t row = begin; row < end; row += tile_rows) {
    with_count<tile_rows>(at_most(end - row, tile_rows), [&]<int rows>() {
      for (int64_t output = 0; output < n_outputs; output += tile_outputs) {
        with_count<tile_outputs>(at_most(n_outputs - output, tile_outputs), [&]<int outputs>() {
          forward_tile<rows, outputs>(x.data + row * x.row_stride, x.row_stride, weight + output * n_inputs,
                                      bias == nullptr ? nullptr : bias + output, n_inputs, y + row * n_outputs + output,
                                      n_outputs);
        });
      }
    });
  }
}

void backward_input(const float* grad, const float* weight, int64_t n_outputs, int64_t n_inputs, int64_t begin,
                    int64_t end, float* dx) {
  float panel[max_skinny_outputs * panel_columns];
  for (int64_t first = begin; first < end; first += block_rows) {
    const int64_t last = first + at_most(end - first, block_rows);
    for (int64_t k = 0; k < n_inputs; k += panel_columns) {
      pack(weight + k, n_inputs, n_outputs, n_inputs - k, panel);
      for (int64_t row = first; row < last; row += tile_rows) {
        with_count<tile_rows>(at_most(last - row, tile_rows), [&]<int rows>() {
          const auto left = [&](int each, int64_t output) { return grad[(row + each) * n_outputs + output]; };
          outer_tile<rows>(left, panel, n_outputs, n_inputs - k, dx + row * n_inputs + k, n_inputs, false);
        });
      }
    }
  }
}

void backward_weight(const float* grad, Matrix x, int64_t n_rows, int64_t n_outputs, int64_t n_inputs, int64_t begin,
                     int64_t end, float* dweight) {
  float panel[block_rows * panel_columns];
  // No rows: one empty block writes the zeros.
  for (int64_t first = 0; first < n_rows || first == 0; first += block_rows) {
    const int64_t n_block = at_most(n_rows - first, block_rows);
    for (int64_t k = begin; k < end; k += panel_columns) {
      pack(x.data + first * x.row_stride + k, x.row_stride, n_block, end - k, panel);
      for (int64_t output = 0; output < n_outputs; output += tile_rows) {
        with_count<tile_rows>(at_most(n_outputs - output, tile_rows), [&]<int rows>() {
          const auto left = [&](int each, int64_t row) { return grad[(first + row) * n_outputs + output + each]; };
          outer_tile<rows>(left, panel, n_block, end - k, dweight + output * n_inputs + k, n_inputs, first > 0);
        });
      }
    }
  }
}

}  // namespace
}  // namespace jenga::core::JENGA_ISA

namespace jenga::core {

const SkinnyLinearKernels JENGA_TABLE(skinny_linear_kernels){
    .forward = &JENGA_ISA::forward,
    .backward_input = &JENGA_ISA::backward_input,
    .backward_weight = &JENGA_ISA::backward_weight,
};

}  // namespace jenga::core
