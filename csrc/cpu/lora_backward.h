// The backward pass of lora_linear: the gradients of lora_bs, of the ranks, of lora_as and of x, to the last of which
// torch's GEMM adds the product with the base weight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/lora_operands.h"

namespace jenga {

template <typename T>
class LoraBackward {
 public:
  // grads: of the outputs.
  LoraBackward(const LoraArguments& arguments, const std::vector<Tensor>& grads)
      : operands_(arguments), raw_grads_(grads) {
    for (const Tensor& grad : grads) {
      grads_.push_back(as_dense_rows(grad, acc));
    }
  }

  // The gradients of x, of lora_as and of lora_bs; without elements where not wanted. projected: what forward gave.
  std::tuple<Tensor, std::vector<Tensor>, std::vector<Tensor>> run(const Tensor& projected,
                                                                   WantedGradients wanted) const {
    std::vector<Tensor> dbs;
    if (wanted.b) {
      dbs = b_gradients(as_dense_rows(projected, acc));
    }
    Tensor dprojected = operands_.empty(0, 0);
    if (wanted.x || wanted.a) {
      dprojected = projected_gradient();
    }
    std::vector<Tensor> das;
    if (wanted.a) {
      das = a_gradients(dprojected);
    }
    Tensor dx = wanted.x ? input_gradient(dprojected)
                         : empty_like_device<1>(operands_.x, {0}, operands_.arguments.x.scalar_type());
    return {std::move(dx), std::move(das), std::move(dbs)};
  }

 private:
  template <typename V>
  using Matrix = core::Matrix<V>;
  static constexpr ScalarType acc = Accumulate<T>::dtype;

  Tensor projected_gradient() const {
    Tensor ranks = operands_.empty_ranks();
    std::vector<Matrix<const T>> slopes;
    for (const Tensor& grad : grads_) {
      slopes.push_back(matrix<T>(grad));
    }
    const auto to = mutable_matrix<T>(ranks);
    operands_.for_runs(ranks, operands_.layout.n_b_values,
                       [&, narrow = operands_.kernels.narrow](const RowRun& run, int64_t first, int64_t last) noexcept {
                         for (const RankRange& range : run.by_projection) {
                           narrow(slopes[range.projection], operands_.b_rows(range), nullptr, range.rank,
                                  range.n_outputs, first, last, {}, column_of(to, range.offset));
                         }
                       });
    return ranks;
  }

  // to[range, k] = the sum over the rows that see the range of ranks[m, range] drop(values)[m, k].
  template <typename Ranges>
  void reduce_runs(const Tensor& ranks, const Tensor& values, core::Dropout dropout, const Ranges& ranges_of,
                   int64_t n_ranks, Tensor& to, int64_t first_rank) const {
    const auto& runs = operands_.runs;
    static_assert(noexcept(ranges_of(runs.front())), "mark it noexcept (jenga/parallel.h)");
    if (to.numel() == 0) {
      return;
    }
    const bool routed = operands_.arguments.rows.has_value();
    if (routed) {
      torch::stable::zero_(to);
    }
    const auto left = matrix<T>(ranks);
    const auto right = matrix<T>(values);
    const auto sums = mutable_matrix<T>(to);
    for_columns(values.size(1), saturated_product(operands_.n_rows, n_ranks),
                [&, reduce = operands_.kernels.reduce](int64_t first, int64_t last) noexcept {
                  for (const RowRun& run : runs) {
                    for (const RankRange& range : ranges_of(run)) {
                      const Matrix<T> rows{sums.row(range.offset - first_rank), sums.row_stride};
                      reduce(column_of(left, range.offset), right, range.rank, run.begin, run.end, first, last, dropout,
                             routed, rows);
                    }
                  }
                });
  }

  std::vector<Tensor> a_gradients(const Tensor& dprojected) const {
    const auto& layout = operands_.layout;
    const int64_t n_inputs = operands_.n_inputs;
    Tensor all = operands_.empty(layout.n_ranks, n_inputs);
    const auto all_ranges = [](const RowRun& run) noexcept { return std::span<const RankRange>(run.ranges); };
    reduce_runs(dprojected, operands_.x, operands_.dropout, all_ranges, layout.n_ranks, all, 0);
    const auto& parts = operands_.arguments.lora_as;
    if (parts.size() == 1) {
      return {as_type(all, parts[0].scalar_type())};
    }
    std::vector<Tensor> das;
    for (size_t part = 0; part < parts.size(); ++part) {
      const int64_t rank = parts[part].size(0);
      Tensor da = empty_like_device<2>(operands_.x, {rank, n_inputs}, parts[part].scalar_type());
      torch::stable::copy_(da, rows_of(all, layout.parts[part].offset, rank));
      das.push_back(std::move(da));
    }
    return das;
  }

  std::vector<Tensor> b_gradients(const Tensor& projected) const {
    std::vector<Tensor> dbs;
    for (size_t part = 0; part < operands_.layout.parts.size(); ++part) {
      const RankRange& own = operands_.layout.parts[part];
      const int64_t width = own.n_outputs;
      Tensor summed = operands_.empty(own.rank, width);
      const auto own_range = [&](const RowRun& run) noexcept {
        const bool seen = std::any_of(run.ranges.begin(), run.ranges.end(), [&](const RankRange& range) {
          return range.offset <= own.offset && own.offset < range.offset + range.rank;
        });
        return std::span<const RankRange>(&own, seen ? 1 : 0);
      };
      reduce_runs(projected, grads_[own.projection], {}, own_range, own.rank, summed, own.offset);
      Tensor db = operands_.empty(width, own.rank);
      transpose(static_cast<const T*>(summed.const_data_ptr()), own.rank, width,
                static_cast<T>(operands_.scale_of(part)), static_cast<T*>(db.mutable_data_ptr()));
      dbs.push_back(as_type(db, operands_.arguments.lora_bs[part].scalar_type()));
    }
    return dbs;
  }

  Tensor input_gradient(const Tensor& dprojected) const {
    const int64_t n_inputs = operands_.n_inputs;
    const ScalarType dtype = operands_.arguments.x.scalar_type();
    Tensor dx = operands_.empty(operands_.n_rows, n_inputs);
    if (dx.numel() == 0) {
      return as_type(dx, dtype);
    }
    const auto ranks = matrix<T>(dprojected);
    const auto to = mutable_matrix<T>(dx);
    operands_.for_runs(
        dx, operands_.layout.n_ranks * n_inputs, [&](const RowRun& run, int64_t first, int64_t last) noexcept {
          const auto rows = [&](const RankRange& range) noexcept { return operands_.a_rows(range); };
          operands_.widen_ranges(run.ranges, -1, ranks, rows, nullptr, first, last, operands_.dropout, n_inputs, to);
        });
    const auto& weights = operands_.arguments.weights;
    for (size_t index = 0; index < weights.size(); ++index) {
      if (!operands_.multiplies(weights[index])) {
        add_base_gradient(grads_[index], weights[index], dx);
      }
    }
    Tensor typed = as_type(dx, dtype);
    for (size_t index = 0; index < weights.size(); ++index) {
      if (operands_.multiplies(weights[index])) {
        add_product(typed, as_type(raw_grads_[index], ScalarType::BFloat16), weights[index]);
      }
    }
    return typed;
  }

  // dx += grad W, a half-precision weight some rows of it at a time.
  static void add_base_gradient(const Tensor& grad, const Tensor& weight, Tensor& dx) {
    const int64_t block = weight.scalar_type() == acc ? weight.size(0) : upcast_rows;
    for (int64_t offset = 0; offset < weight.size(0); offset += block) {
      const int64_t count = std::min(block, weight.size(0) - offset);
      add_product(dx, columns_of(grad, offset, count), as_type(rows_of(weight, offset, count), acc));
    }
  }

  const LoraOperands<T> operands_;
  const std::vector<Tensor>& raw_grads_;
  std::vector<Tensor> grads_;
};

}  // namespace jenga
