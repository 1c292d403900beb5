// The forward pass of lora_linear: x A^T of all updates, then each layer's updates and bias, to which torch's GEMM adds
// the product with the base weight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/lora_operands.h"

namespace jenga {

template <typename T>
class LoraForward {
 public:
  explicit LoraForward(const LoraArguments& arguments) : operands_(arguments) {}

  // Outputs (M, N_i), and drop(x) A^T of all updates.
  std::tuple<std::vector<Tensor>, Tensor> run(const std::vector<Tensor>& biases,
                                              const std::vector<int64_t>& biased) const {
    Tensor projected = projected_inputs();
    const size_t n_layers = operands_.arguments.weights.size();
    std::vector<Tensor> outputs;
    outputs.reserve(n_layers);
    for (size_t index = 0; index < n_layers; ++index) {
      const auto place = std::find(biased.begin(), biased.end(), static_cast<int64_t>(index));
      std::optional<Tensor> bias;
      if (place != biased.end()) {
        bias = as_contiguous(biases[place - biased.begin()], acc);
      }
      outputs.push_back(output(index, projected, bias));
    }
    return {std::move(outputs), std::move(projected)};
  }

 private:
  static constexpr ScalarType acc = Accumulate<T>::dtype;

  Tensor projected_inputs() const {
    Tensor projected = operands_.empty_ranks();
    const auto from = matrix<T>(operands_.x);
    const auto to = mutable_matrix<T>(projected);
    const int64_t n_inputs = operands_.n_inputs;
    operands_.for_runs(projected, operands_.layout.n_ranks * n_inputs,
                       [&, narrow = operands_.kernels.narrow](const RowRun& run, int64_t first, int64_t last) noexcept {
                         for (const RankRange& range : run.ranges) {
                           narrow(from, operands_.a_rows(range), nullptr, range.rank, n_inputs, first, last,
                                  operands_.dropout, column_of(to, range.offset));
                         }
                       });
    return projected;
  }

  // The updates and the bias of outputs [offset, offset + count) of a projection, (M, count).
  void write_updates(size_t projection, const Tensor& projected, const std::optional<Tensor>& bias, int64_t offset,
                     Tensor& to) const {
    const auto* bias_values = bias ? static_cast<const T*>(bias->const_data_ptr()) + offset : nullptr;
    const int64_t n_columns = to.size(1);
    const auto ranks = matrix<T>(projected);
    const auto outputs = mutable_matrix<T>(to);
    operands_.for_runs(to, saturated_product(operands_.layout.n_ranks, n_columns),
                       [&](const RowRun& run, int64_t first, int64_t last) noexcept {
                         const auto rows = [&](const RankRange& range) noexcept {
                           return operands_.b_rows(range, offset);
                         };
                         operands_.widen_ranges(run.by_projection, static_cast<int64_t>(projection), ranks, rows,
                                                bias_values, first, last, {}, n_columns, outputs);
                       });
  }

  Tensor output(size_t projection, const Tensor& projected, const std::optional<Tensor>& bias) const {
    const Tensor& x = operands_.arguments.x;
    const Tensor& weight = operands_.arguments.weights[projection];
    const int64_t n_outputs = weight.size(0);
    Tensor y = empty_like_device<2>(x, {operands_.n_rows, n_outputs}, x.scalar_type());
    if (y.numel() == 0) {
      return y;
    }
    if (x.scalar_type() == acc && weight.scalar_type() == acc) {
      write_updates(projection, projected, bias, 0, y);
      add_product(y, operands_.x, transposed(weight));
      return y;
    }
    const bool in_halves = operands_.multiplies(weight);
    const int64_t block = in_halves ? n_outputs : upcast_rows;
    for (int64_t offset = 0; offset < n_outputs; offset += block) {
      Tensor sums = operands_.empty(operands_.n_rows, std::min(block, n_outputs - offset));
      write_updates(projection, projected, bias, offset, sums);
      if (!in_halves) {
        const Tensor part = as_type(rows_of(weight, offset, sums.size(1)), acc);
        add_product(sums, operands_.x, transposed(part));
      }
      Tensor to = columns_of(y, offset, sums.size(1));
      torch::stable::copy_(to, sums);
    }
    if (in_halves) {
      add_product(y, x, transposed(weight));
    }
    return y;
  }

  const LoraOperands<T> operands_;
};

}  // namespace jenga
