// The losses of one head over some rows, and their derivatives by the logits.
#pragma once

#include <cstdint>

#include "core/heads.h"
#include "core/isa.h"

namespace jenga::core {

// Rows [begin, begin + count) of a head. The pointers are those of the first of these rows; strides count elements.
template <typename acc_t>
struct HeadRows {
  int64_t begin;
  int64_t count;
  const acc_t* logits;  // all columns of the row
  int64_t logits_stride;
  const int64_t* row_tasks;  // null: every row belongs to every head
  acc_t* slope;              // all columns of the row; null: not wanted
  int64_t slope_stride;
  acc_t* scratch;  // head_scratch(size) values
};

// What `scratch` must hold for a head of `size` columns: a tile of at most 16 rows.
constexpr int64_t head_scratch(int64_t size) { return 16 * size; }

// Adds the rows to `sum` and writes predictions of classes and items, and d(summed loss)/d(logits) to the head's
// columns of `slope`, exactly 0 where masked. Stops at the first label out of range, which it leaves in `sum.error`.
struct HeadKernels {
  void (*rows_float)(const Segment<float>& segment, const HeadRows<float>& rows, SegmentSum& sum);
  void (*rows_double)(const Segment<double>& segment, const HeadRows<double>& rows, SegmentSum& sum);
  // scaled[r, c] = grad[head of c] * slope[r, c]; a slope of 0 stays 0 whatever `grad` is, since the mean over a head
  // without labels divides by 0, and its NaN must not reach the shared weights.
  void (*scale_float)(const float* slope, const float* column_grads, int64_t n_rows, int64_t n_columns, float* scaled);
  void (*scale_double)(const double* slope, const double* column_grads, int64_t n_rows, int64_t n_columns,
                       double* scaled);
};

JENGA_VECTOR_TABLE(HeadKernels, head_kernels)

}  // namespace jenga::core
