// Products of tensors for the CPU ops: views without copies, the skinny kernels over threads, and torch's GEMM.
#pragma once

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/skinny_linear.h"
#include "jenga/check.h"
#include "jenga/parallel.h"
#include "jenga/tensors.h"

namespace jenga {

// Multiplications below which another thread costs more than it saves.
inline constexpr int64_t grain_products = 1 << 20;
// Threads begin on columns at multiples of this, where whole tiles and whole groups of dropout do.
inline constexpr int64_t column_unit = 192;

// Calls work(begin, end) for ranges of `n_units` units that cost `products` each.
template <typename Work>
void for_units(int64_t n_units, int64_t products, const Work& work) {
  parallel_for(n_units, std::max<int64_t>(1, grain_products / std::max<int64_t>(1, products)), work);
}

// Calls work(first, last) for ranges of columns.
template <typename Work>
void for_columns(int64_t n_columns, int64_t products, const Work& work) {
  static_assert(noexcept(work(int64_t{}, int64_t{})), "mark it noexcept (jenga/parallel.h)");
  for_units(
      (n_columns + column_unit - 1) / column_unit, saturated_product(products, column_unit),
      [&](int64_t begin, int64_t end) noexcept { work(begin * column_unit, std::min(n_columns, end * column_unit)); });
}

// A view of a matrix or of a part of it; `offset` counts elements from the tensor's own first one, as the shim does,
// whatever it calls its parameter.
inline Tensor matrix_view(const Tensor& tensor, int64_t rows, int64_t columns, int64_t row_stride,
                          int64_t column_stride, int64_t offset = 0) {
  const std::array<int64_t, 2> sizes{rows, columns};
  const std::array<int64_t, 2> strides{row_stride, column_stride};
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(
      aoti_torch__reinterpret_tensor(tensor.get(), 2, sizes.data(), strides.data(), offset, &handle));
  return Tensor(handle);
}

inline Tensor transposed(const Tensor& matrix) {
  return matrix_view(matrix, matrix.size(1), matrix.size(0), matrix.stride(1), matrix.stride(0));
}

// Columns [first, first + count).
inline Tensor columns_of(const Tensor& matrix, int64_t first, int64_t count) {
  return matrix_view(matrix, matrix.size(0), count, matrix.stride(0), matrix.stride(1), first * matrix.stride(1));
}

inline Tensor rows_of(const Tensor& matrix, int64_t first, int64_t count) {
  return matrix_view(matrix, count, matrix.size(1), matrix.stride(0), matrix.stride(1), first * matrix.stride(0));
}

// Rows may be apart, as those of a slice of hidden states are; the values of a row may not.
inline Tensor with_dense_rows(const Tensor& x) { return x.stride(1) == 1 || x.size(1) == 1 ? x : as_contiguous(x); }

template <typename T>
core::Matrix<const T> matrix(const Tensor& x, int64_t column = 0) {
  return {static_cast<const T*>(x.const_data_ptr()) + column, x.stride(0)};
}

template <typename T>
core::Matrix<T> mutable_matrix(Tensor& x, int64_t column = 0) {
  return {static_cast<T*>(x.mutable_data_ptr()) + column, x.stride(0)};
}

// y += a b, by torch's GEMM. Not through the dispatcher: neither autograd nor autocast has a say here.
inline void add_product(Tensor& y, const Tensor& a, const Tensor& b) {
  if (aoti_torch_cpu_addmm_out(y.get(), y.get(), a.get(), b.get(), 1.0, 1.0) != AOTI_TORCH_SUCCESS) [[unlikely]] {
    throw OutOfMemory("torch could not add the product of matrices " + shape_words(a.sizes()) + " and " +
                      shape_words(b.sizes()) + "; give fewer rows at a time, or free memory");
  }
}

}  // namespace jenga
