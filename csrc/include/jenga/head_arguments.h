// Arguments of multi_head_loss as the dispatcher hands them over, checked once for the CPU and the CUDA op.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/segment_loss.h"
#include "jenga/check.h"
#include "jenga/tensors.h"

namespace jenga {

using OptionalTensors = std::vector<std::optional<Tensor>>;

struct HeadArguments {
  const std::vector<Tensor>& targets;
  const std::vector<int64_t>& kinds;
  const std::vector<int64_t>& sizes;
  const OptionalTensors& label_weights;
  const std::vector<double>& label_smoothing;
};

inline void check_target(const Tensor& logits, const Tensor& target, core::HeadKind kind, int64_t size, size_t head) {
  const auto shape = target.sizes();
  const int64_t n_rows = logits.size(0);
  check(target.device() == logits.device(), "targets[", head, "]: on another device than hidden");
  if (kind == core::HeadKind::cross_entropy) {
    check(target.scalar_type() == ScalarType::Long, "targets[", head, "]: got dtype ",
          torch::headeronly::toString(target.scalar_type()), "; a ce head takes int64 class indices");
    check(shape.size() == 1 && shape[0] == n_rows, "targets[", head, "]: a ce head takes shape (", n_rows, ",); got ",
          shape.size(), " dimensions, ", target.numel(), " elements");
    return;
  }
  check(is_floating(target.scalar_type()), "targets[", head, "]: got dtype ",
        torch::headeronly::toString(target.scalar_type()), "; a bce or mse head takes floats, NaN where masked");
  check(shape.size() == 2 && shape[0] == n_rows && shape[1] == size, "targets[", head, "]: this head takes shape (",
        n_rows, ", ", size, "); got ", shape.size(), " dimensions, ", target.numel(), " elements");
}

inline void check_heads(const Tensor& logits, const HeadArguments& arguments) {
  const size_t n_heads = arguments.sizes.size();
  check(logits.dim() == 2, "logits: got ", logits.dim(), " dimensions; allowed: 2 (rows, sum of head sizes)");
  check(n_heads > 0, "heads: got none; allowed: 1 or more");
  check(arguments.targets.size() == n_heads, "targets: got ", arguments.targets.size(), " for ", n_heads, " heads");
  check(arguments.kinds.size() == n_heads && arguments.label_weights.size() == n_heads &&
            arguments.label_smoothing.size() == n_heads,
        "heads: kinds, sizes, label_weights and label_smoothing differ in length");
  int64_t n_columns = 0;
  for (size_t head = 0; head < n_heads; ++head) {
    const int64_t kind = arguments.kinds[head];
    const int64_t size = arguments.sizes[head];
    check(kind >= 0 && kind <= 2, "kinds[", head, "]: got ", kind, "; allowed: 0 (ce), 1 (bce), 2 (mse)");
    check(size >= 1, "heads[", head, "].size: got ", size, "; allowed: 1 or more");
    n_columns += size;
    check_target(logits, arguments.targets[head], static_cast<core::HeadKind>(kind), size, head);
    const auto& weights = arguments.label_weights[head];
    check(!weights || (weights->dim() == 1 && weights->size(0) == size && weights->device() == logits.device()),
          "heads[", head, "]: class_weight or pos_weight must have shape (", size, ",) on the device of hidden");
  }
  check(n_columns == logits.size(1), "weight: the heads have ", n_columns, " outputs in all, but weight has ",
        logits.size(1), " rows");
}

// The core's view of the heads. Holds the tensors whose pointers it gives out.
template <typename acc_t>
struct Segments {
  std::vector<core::Segment<acc_t>> heads;
  std::vector<Tensor> keep_alive;
};

template <typename acc_t>
Segments<acc_t> make_segments(const HeadArguments& arguments, ScalarType acc_dtype) {
  Segments<acc_t> segments;
  const auto hold = [&](Tensor tensor) {
    segments.keep_alive.push_back(tensor);
    return tensor.const_data_ptr();
  };
  int64_t offset = 0;
  for (size_t head = 0; head < arguments.sizes.size(); ++head) {
    const auto kind = static_cast<core::HeadKind>(arguments.kinds[head]);
    const bool is_ce = kind == core::HeadKind::cross_entropy;
    const auto& weights = arguments.label_weights[head];
    const void* target = hold(as_contiguous(arguments.targets[head], is_ce ? ScalarType::Long : acc_dtype));
    segments.heads.push_back({
        .kind = kind,
        .offset = offset,
        .size = arguments.sizes[head],
        .labels = is_ce ? static_cast<const int64_t*>(target) : nullptr,
        .values = is_ce ? nullptr : static_cast<const acc_t*>(target),
        .label_weights = weights ? static_cast<const acc_t*>(hold(as_contiguous(*weights, acc_dtype))) : nullptr,
        .label_smoothing = static_cast<acc_t>(arguments.label_smoothing[head]),
    });
    offset += arguments.sizes[head];
  }
  return segments;
}

// One prediction tensor a head: int64 (rows,) for ce, bool (rows, size) for bce, the logits' type for mse.
inline std::vector<Tensor> empty_predictions(const Tensor& logits, const HeadArguments& arguments) {
  std::vector<Tensor> predictions;
  predictions.reserve(arguments.sizes.size());
  const int64_t n_rows = logits.size(0);
  for (size_t head = 0; head < arguments.sizes.size(); ++head) {
    const auto kind = static_cast<core::HeadKind>(arguments.kinds[head]);
    if (kind == core::HeadKind::cross_entropy) {
      predictions.push_back(empty_like_device<1>(logits, {n_rows}, ScalarType::Long));
    } else {
      const bool is_bce = kind == core::HeadKind::binary_cross_entropy;
      predictions.push_back(empty_like_device<2>(logits, {n_rows, arguments.sizes[head]},
                                                 is_bce ? ScalarType::Bool : logits.scalar_type()));
    }
  }
  return predictions;
}

// The op around a device's `rows_function(logit_t{}, logits, arguments, loss_sum, count, predictions)`.
template <typename RowsFunction>
std::tuple<Tensor, Tensor, std::vector<Tensor>> forward_op(const Tensor& logits, const HeadArguments& arguments,
                                                           const RowsFunction& rows_function) {
  check_heads(logits, arguments);
  const auto n_heads = static_cast<int64_t>(arguments.sizes.size());
  const Tensor rows = as_contiguous(logits, logits.scalar_type());
  std::vector<Tensor> predictions = empty_predictions(logits, arguments);
  const Tensor count = empty_like_device<1>(logits, {n_heads}, ScalarType::Float);
  const Tensor loss_sum = visit_floating(logits.scalar_type(), "hidden", [&](auto zero) {
    Tensor sums = empty_like_device<1>(logits, {n_heads}, Accumulate<decltype(zero)>::dtype);
    rows_function(zero, rows, arguments, sums, count, predictions);
    return sums;
  });
  return {loss_sum, count, std::move(predictions)};
}

// The op around a device's `rows_function(logit_t{}, grad_loss_sum, logits, arguments, dlogits)`.
template <typename RowsFunction>
Tensor backward_op(const Tensor& grad_loss_sum, const Tensor& logits, const HeadArguments& arguments,
                   const RowsFunction& rows_function) {
  check_heads(logits, arguments);
  check(grad_loss_sum.numel() == static_cast<int64_t>(arguments.sizes.size()), "grad_loss_sum: got ",
        grad_loss_sum.numel(), " elements for ", arguments.sizes.size(), " heads");
  check(grad_loss_sum.device() == logits.device(), "grad_loss_sum: on another device than logits");
  const Tensor rows = as_contiguous(logits, logits.scalar_type());
  Tensor dlogits = empty_like_device<2>(logits, {logits.size(0), logits.size(1)}, logits.scalar_type());
  visit_floating(logits.scalar_type(), "hidden",
                 [&](auto zero) { rows_function(zero, grad_loss_sum, rows, arguments, dlogits); });
  return dlogits;
}

}  // namespace jenga
