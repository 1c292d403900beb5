// Matrix products with few outputs N (heads, LoRA ranks), where a general GEMM spends its time on packing and edges.
// Row-major float32. Every sum is added in one order, whatever the number of threads. Measured in benchmarks/README.md.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace jenga::core {

inline constexpr int64_t max_skinny_outputs = 128;

struct Matrix {
  const float* data;
  int64_t row_stride;
};

struct SkinnyLinearKernels {
  // y[m, n] = sum_k x[m, k] weight[n, k] + bias[n] for rows [begin, end); bias may be null; y is (M, N) dense.
  void (*forward)(Matrix x, const float* weight, const float* bias, int64_t n_outputs, int64_t n_inputs, int64_t begin,
                  int64_t end, float* y);
  // dx[m, k] = sum_n grad[m, n] weight[n, k] for rows [begin, end); grad is (M, N) and dx (M, K), both dense;
  // N is at most max_skinny_outputs.
  void (*backward_input)(const float* grad, const float* weight, int64_t n_outputs, int64_t n_inputs, int64_t begin,
                         int64_t end, float* dx);
  // dweight[n, k] = sum_m grad[m, n] x[m, k] for columns k in [begin, end); dweight is (N, K) dense.
  void (*backward_weight)(const float* grad, Matrix x, int64_t n_rows, int64_t n_outputs, int64_t n_inputs,
                          int64_t begin, int64_t end, float* dweight);
};

JENGA_VECTOR_TABLE(SkinnyLinearKernels, skinny_linear_kernels)

}  // namespace jenga::core
