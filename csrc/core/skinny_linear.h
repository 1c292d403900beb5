// Matrix products with one short side N (heads, LoRA ranks), where a general GEMM spends its time on packing and edges.
// Row-major float32 or float64. Every sum is added in one order, whatever the number of threads. Measured in
// benchmarks/README.md.
#pragma once

#include <cstdint>

#include "core/dropout.h"
#include "core/isa.h"

namespace jenga::core {

// Rows may be apart; the values of a row are not.
template <typename T>
struct Matrix {
  T* data;
  int64_t row_stride;

  T* row(int64_t index) const { return data + index * row_stride; }
};

// In all three, x is (M, K), weight (N, K) and y (M, N); N is the short side, K the long one.
template <typename T>
struct SkinnyLinearKernels {
  // y[m, n] = sum_k drop(x)[m, k] weight[n, k] + bias[n] for rows [begin, end); bias may be null.
  void (*narrow)(Matrix<const T> x, Matrix<const T> weight, const T* bias, int64_t n_outputs, int64_t n_inputs,
                 int64_t begin, int64_t end, Dropout dropout, Matrix<T> y);
  // x[m, k] = drop(sum_n y[m, n] weight[n, k]) + bias[k] for rows [begin, end); added to x where `add`.
  void (*widen)(Matrix<const T> y, Matrix<const T> weight, const T* bias, int64_t n_outputs, int64_t n_inputs,
                int64_t begin, int64_t end, Dropout dropout, bool add, Matrix<T> x);
  // weight[n, k] = sum_m y[m, n] drop(x)[m, k] over rows [begin, end), for columns k in [first, last); added to weight
  // where `add`.
  void (*reduce)(Matrix<const T> y, Matrix<const T> x, int64_t n_outputs, int64_t begin, int64_t end, int64_t first,
                 int64_t last, Dropout dropout, bool add, Matrix<T> weight);
};

JENGA_VECTOR_TABLE(SkinnyLinearKernels<float>, skinny_linear_float)
JENGA_VECTOR_TABLE(SkinnyLinearKernels<double>, skinny_linear_double)

template <typename T>
const SkinnyLinearKernels<T>& skinny_linear_kernels();
template <>
inline const SkinnyLinearKernels<float>& skinny_linear_kernels() {
  return skinny_linear_float();
}
template <>
inline const SkinnyLinearKernels<double>& skinny_linear_kernels() {
  return skinny_linear_double();
}

}  // namespace jenga::core
