// What forward and backward of lora_linear share: x and the updates as matrices of the type that sums are computed in,
// and work over the runs of rows that see the same updates.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/skinny_linear.h"
#include "cpu/lora_ranks.h"
#include "jenga/lora_arguments.h"
#include "jenga/products.h"
#include "jenga/tensors.h"

namespace jenga {

// Rows of a half-precision base weight that are in float32 at a time.
inline constexpr int64_t upcast_rows = 1024;

inline Tensor as_dense_rows(const Tensor& tensor, ScalarType dtype) { return with_dense_rows(as_type(tensor, dtype)); }

// to (columns, rows) = scale * from (rows, columns) transposed, by blocks of rows: one of a cache line is written
// whole, and what is read of a block stays in the first cache.
template <typename T>
void transpose(const T* from, int64_t rows, int64_t columns, T scale, T* to) {
  constexpr int64_t block = 16;
  if (columns == 0) {
    return;
  }
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < count; ++row) {
        to[column * rows + first + row] = from[(first + row) * columns + column] * scale;
      }
    }
  }
}

template <typename V>
core::Matrix<V> column_of(core::Matrix<V> values, int64_t column) noexcept {
  return {values.data + column, values.row_stride};
}

template <typename T>
class LoraOperands {
 public:
  template <typename V>
  using Matrix = core::Matrix<V>;
  static constexpr ScalarType acc = Accumulate<T>::dtype;

  explicit LoraOperands(const LoraArguments& given)
      : arguments(given),
        layout(given),
        runs(row_runs(given, layout)),
        dropout(dropout_of(given)),
        n_rows(given.x.size(0)),
        n_inputs(given.x.size(1)),
        kernels(core::skinny_linear_kernels<T>()),
        x(as_dense_rows(given.x, acc)),
        a_(stacked_a()),
        b_(transposed_b()),
        a_values_(static_cast<const T*>(a_.const_data_ptr())),
        b_values_(static_cast<const T*>(b_.const_data_ptr())) {}

  Tensor empty(int64_t rows, int64_t columns) const { return empty_like_device<2>(x, {rows, columns}, acc); }

  // (M, all ranks); a row's ranks of other adapters than its own stay 0.
  Tensor empty_ranks() const {
    Tensor ranks = empty(n_rows, layout.n_ranks);
    if (arguments.rows) {
      torch::stable::zero_(ranks);
    }
    return ranks;
  }

  double scale_of(size_t part) const { return arguments.scales[part] * keep_scale(dropout); }

  // Rows of all adapters' A, (R, K).
  Matrix<const T> a_rows(const RankRange& range) const noexcept {
    return {a_values_ + range.offset * n_inputs, n_inputs};
  }

  // B transposed and scaled, (R, N), from an output on.
  Matrix<const T> b_rows(const RankRange& range, int64_t first_output = 0) const noexcept {
    return {b_values_ + range.b_offset + first_output, range.n_outputs};
  }

  // Whether torch multiplies x with the weight fast as they are; elsewhere half precision is upcast.
  bool multiplies(const Tensor& weight) const {
    return arguments.x.scalar_type() == ScalarType::BFloat16 && weight.scalar_type() == ScalarType::BFloat16 &&
           core::multiplies_bfloat16();
  }

  // Calls work(run, first, last) for the part of each run in rows [begin, end), over threads; not at all where `result`
  // has no element, since its rows may then be more than can be counted through.
  template <typename Work>
  void for_runs(const Tensor& result, int64_t products, const Work& work) const {
    static_assert(noexcept(work(runs.front(), int64_t{}, int64_t{})), "mark it noexcept (jenga/parallel.h)");
    if (result.numel() == 0) {
      return;
    }
    for_units(n_rows, products, [&](int64_t begin, int64_t end) noexcept {
      auto run = std::partition_point(runs.begin(), runs.end(), [&](const RowRun& each) { return each.end <= begin; });
      for (; run != runs.end() && run->begin < end; ++run) {
        work(*run, std::max(begin, run->begin), std::min(end, run->end));
      }
    });
  }

  // to (.., n_columns) = bias + the sum over the ranges of ranks times their weights, for rows [first, last); all 0
  // without ranges. A projection below 0 is all of them.
  template <typename Weight>
  void widen_ranges(const std::vector<RankRange>& ranges, int64_t projection, Matrix<const T> ranks,
                    const Weight& weight, const T* bias, int64_t first, int64_t last, core::Dropout dropped,
                    int64_t n_columns, Matrix<T> to) const noexcept {
    bool add = false;
    for (const RankRange& range : ranges) {
      if (projection < 0 || range.projection == projection) {
        kernels.widen(column_of(ranks, range.offset), weight(range), bias, range.rank, n_columns, first, last, dropped,
                      add, to);
        add = true;
      }
    }
    if (!add) {
      kernels.widen({nullptr, 0}, {nullptr, 0}, bias, 0, n_columns, first, last, {}, false, to);
    }
  }

  const LoraArguments& arguments;
  const RankLayout layout;
  const std::vector<RowRun> runs;
  const core::Dropout dropout;
  const int64_t n_rows;
  const int64_t n_inputs;
  const core::SkinnyLinearKernels<T>& kernels;
  const Tensor x;  // (M, K), rows may be apart

 private:
  // All adapters' A, (all ranks, K).
  Tensor stacked_a() const {
    const auto& parts = arguments.lora_as;
    if (parts.size() == 1) {
      return as_contiguous(parts[0], acc);
    }
    Tensor stacked = empty(layout.n_ranks, n_inputs);
    auto* to = static_cast<T*>(stacked.mutable_data_ptr());
    for (const Tensor& part : parts) {
      const Tensor dense = as_contiguous(part, acc);
      std::memcpy(to, dense.const_data_ptr(), dense.numel() * sizeof(T));
      to += dense.numel();
    }
    return stacked;
  }

  // All adapters' B, each transposed to (R, N) and scaled, one after the other.
  Tensor transposed_b() const {
    Tensor all = empty_like_device<1>(x, {layout.n_b_values}, acc);
    auto* to = static_cast<T*>(all.mutable_data_ptr());
    for (size_t part = 0; part < layout.parts.size(); ++part) {
      const Tensor dense = as_contiguous(arguments.lora_bs[part], acc);
      transpose(static_cast<const T*>(dense.const_data_ptr()), dense.size(0), dense.size(1),
                static_cast<T>(scale_of(part)), to);
      to += dense.numel();
    }
    return all;
  }

  Tensor a_;
  Tensor b_;
  // What threads use: they ask nothing of a Tensor.
  const T* a_values_;
  const T* b_values_;
};

}  // namespace jenga
