// Arguments of multi_head_loss as the dispatcher hands them over, checked once for the CPU and the CUDA op.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "core/heads.h"
#include "jenga/arguments.h"

namespace jenga {

struct HeadArguments {
  const std::vector<Tensor>& targets;
  const std::vector<int64_t>& kinds;
  const std::vector<int64_t>& sizes;
  const std::vector<Tensor>& label_weights;
  const std::vector<int64_t>& weighted;   // the heads that label_weights belong to
  const std::vector<double>& parameters;  // none: all 0
  const std::optional<Tensor>& rows;
  const std::vector<int64_t>& tasks;  // read with rows only
  bool with_slope;
};

inline core::HeadKind kind_of(const HeadArguments& arguments, size_t head) {
  return static_cast<core::HeadKind>(arguments.kinds[head]);
}

// The details of an error are collected once there is one: this runs for every head of every step.
inline void check_target(const Tensor& logits, const Tensor& target, core::HeadKind kind, int64_t size, size_t head) {
  const auto shape = target.sizes();
  const int64_t n_rows = logits.size(0);
  const auto dtype = target.scalar_type();
  if (target.device() != logits.device()) {
    fail("targets[", head, "]: on another device than hidden");
  }
  const char* name = kind == core::HeadKind::focal ? "focal" : "ce";
  const bool has_labels = core::takes_labels(kind);
  if (has_labels && dtype != ScalarType::Long) {
    fail("targets[", head, "]: got dtype ", torch::headeronly::toString(dtype), "; a ", name,
         " head takes int64 class indices");
  }
  if (has_labels && (shape.size() != 1 || shape[0] != n_rows)) {
    fail("targets[", head, "]: a ", name, " head takes shape (", n_rows, ",); got ", shape.size(), " dimensions, ",
         target.numel(), " elements");
  }
  if (!has_labels && !is_floating(dtype)) {
    fail("targets[", head, "]: got dtype ", torch::headeronly::toString(dtype),
         "; a bce, mse or soft head takes floats, NaN where masked");
  }
  if (!has_labels && (shape.size() != 2 || shape[0] != n_rows || shape[1] != size)) {
    fail("targets[", head, "]: this head takes shape (", n_rows, ", ", size, "); got ", shape.size(), " dimensions, ",
         target.numel(), " elements");
  }
}

// The kernels count the columns of a head in 32 bits where logits are float32, and no sum of such sizes wraps round.
inline constexpr int64_t max_head_size = std::numeric_limits<int32_t>::max();

// Columns of all heads.
inline int64_t column_count(const std::vector<int64_t>& sizes) {
  check(!sizes.empty(), "heads: got none; allowed: 1 or more");
  int64_t n_columns = 0;
  for (size_t head = 0; head < sizes.size(); ++head) {
    check_range(sizes[head], 1, max_head_size, "heads[", head, "].size");
    n_columns += sizes[head];
  }
  return n_columns;
}

inline void check_label_weights(const Tensor& logits, const HeadArguments& arguments) {
  const auto n_heads = static_cast<int64_t>(arguments.sizes.size());
  check(arguments.label_weights.size() == arguments.weighted.size(),
        "heads: label_weights and weighted differ in length");
  for (size_t place = 0; place < arguments.weighted.size(); ++place) {
    const int64_t head = arguments.weighted[place];
    const Tensor& weights = arguments.label_weights[place];
    check_range(head, 0, n_heads - 1, "weighted[", place, "]");
    check_floating(weights, "heads[", head, "]: class_weight or pos_weight");
    check_shape(weights, {arguments.sizes[head]}, "heads[", head, "]: class_weight or pos_weight");
    check_device(weights, logits, "heads[", head, "]: class_weight or pos_weight");
  }
}

inline void check_heads(const Tensor& logits, const HeadArguments& arguments) {
  const size_t n_heads = arguments.sizes.size();
  const auto& rows = arguments.rows;
  check_dims(logits, 2, "logits");
  check_floating(logits, "hidden");
  const int64_t n_columns = column_count(arguments.sizes);
  check(arguments.targets.size() == n_heads, "targets: got ", arguments.targets.size(), " for ", n_heads, " heads");
  check(arguments.kinds.size() == n_heads && (arguments.parameters.empty() || arguments.parameters.size() == n_heads) &&
            (!rows || arguments.tasks.size() == n_heads),
        "heads: kinds, sizes, parameters and tasks differ in length");
  if (rows) {
    check_dtype(*rows, ScalarType::Long, "rows");
    check_shape(*rows, {logits.size(0)}, "rows");
    check_device(*rows, logits, "rows");
  }
  for (size_t head = 0; head < n_heads; ++head) {
    const int64_t kind = arguments.kinds[head];
    check(kind >= 0 && kind < core::n_head_kinds, "kinds[", head, "]: got ", kind,
          "; allowed: 0 (ce), 1 (bce), 2 (mse), 3 (focal), 4 (soft)");
    check_target(logits, arguments.targets[head], kind_of(arguments, head), arguments.sizes[head], head);
  }
  check_label_weights(logits, arguments);
  if (n_columns != logits.size(1)) {
    fail("weight: the heads have ", n_columns, " outputs in all, but weight has ", logits.size(1), " rows");
  }
}

struct HeadResults {
  Tensor loss_sum;  // (heads,)
  Tensor count;     // (heads,) float32
  Tensor slope;     // (rows, columns) or (0, 0)
  Tensor classes;   // int64 (heads that pick a class, rows)
  Tensor items;     // bool (rows, columns of binary cross-entropy)
  Tensor values;    // (rows, columns of squared error), in the logits' type
};

inline HeadResults empty_results(const Tensor& logits, const HeadArguments& arguments, ScalarType acc_dtype) {
  int64_t n_class_heads = 0;
  int64_t n_items = 0;
  int64_t n_values = 0;
  for (size_t head = 0; head < arguments.sizes.size(); ++head) {
    const auto kind = kind_of(arguments, head);
    n_class_heads += core::picks_class(kind) ? 1 : 0;
    n_items += kind == core::HeadKind::binary_cross_entropy ? arguments.sizes[head] : 0;
    n_values += kind == core::HeadKind::squared_error ? arguments.sizes[head] : 0;
  }
  const auto n_heads = static_cast<int64_t>(arguments.sizes.size());
  const int64_t n_rows = logits.size(0);
  const bool with_slope = arguments.with_slope;
  return {
      .loss_sum = empty_like_device<1>(logits, {n_heads}, acc_dtype),
      .count = empty_like_device<1>(logits, {n_heads}, ScalarType::Float),
      .slope = empty_like_device<2>(logits, {with_slope ? n_rows : 0, with_slope ? logits.size(1) : 0}, acc_dtype),
      .classes = empty_like_device<2>(logits, {n_class_heads, n_rows}, ScalarType::Long),
      .items = empty_like_device<2>(logits, {n_rows, n_items}, ScalarType::Bool),
      .values = empty_like_device<2>(logits, {n_rows, n_values}, logits.scalar_type()),
  };
}

// The core's view of the heads. Holds the copies whose pointers it gives out; what needs no copy the caller holds.
template <typename acc_t>
struct Segments {
  std::vector<core::Segment<acc_t>> heads;
  std::vector<Tensor> keep_alive;
  const int64_t* row_tasks = nullptr;

  template <typename value_t>
  const value_t* hold(const Tensor& tensor, ScalarType dtype) {
    if (tensor.scalar_type() == dtype && tensor.is_contiguous()) {
      return static_cast<const value_t*>(tensor.const_data_ptr());
    }
    keep_alive.push_back(as_contiguous(tensor, dtype));
    return static_cast<const value_t*>(keep_alive.back().const_data_ptr());
  }
};

// logit_t is the type of the logits, in which squared error's predictions are.
template <typename logit_t>
auto make_segments(const HeadArguments& arguments, const HeadResults& results) {
  using acc_t = typename Accumulate<logit_t>::type;
  constexpr ScalarType acc_dtype = Accumulate<logit_t>::dtype;
  Segments<acc_t> segments;
  segments.heads.reserve(arguments.sizes.size());
  if (arguments.rows) {
    segments.row_tasks = segments.template hold<int64_t>(*arguments.rows, ScalarType::Long);
  }
  auto* classes = static_cast<int64_t*>(results.classes.mutable_data_ptr());
  auto* items = static_cast<bool*>(results.items.mutable_data_ptr());
  auto* values = static_cast<logit_t*>(results.values.mutable_data_ptr());
  int64_t offset = 0;
  for (size_t head = 0; head < arguments.sizes.size(); ++head) {
    const auto kind = kind_of(arguments, head);
    const int64_t size = arguments.sizes[head];
    const Tensor& target = arguments.targets[head];
    core::Segment<acc_t> segment{};
    segment.kind = kind;
    segment.offset = offset;
    segment.size = size;
    segment.parameter = arguments.parameters.empty() ? 0.0 : arguments.parameters[head];
    segment.task = arguments.rows ? arguments.tasks[head] : 0;
    segment.items_stride = results.items.size(1);
    segment.copies_stride = results.values.size(1);
    if (core::takes_labels(kind)) {
      segment.labels = segments.template hold<int64_t>(target, ScalarType::Long);
    } else {
      segment.values = segments.template hold<acc_t>(target, acc_dtype);
    }
    if (core::picks_class(kind)) {
      segment.classes = classes;
      classes += results.classes.size(1);
    } else if (kind == core::HeadKind::binary_cross_entropy) {
      segment.items = items;
      items += size;
    } else {
      segment.copies = values;
      values += size;
    }
    segments.heads.push_back(segment);
    offset += size;
  }
  for (size_t place = 0; place < arguments.weighted.size(); ++place) {
    segments.heads[arguments.weighted[place]].label_weights =
        segments.template hold<acc_t>(arguments.label_weights[place], acc_dtype);
  }
  return segments;
}

using HeadTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The op around a device's `rows_function(logit_t{}, logits, segments, results)`.
template <typename RowsFunction>
HeadTensors forward_op(const Tensor& logits, const HeadArguments& arguments, const RowsFunction& rows_function) {
  check_heads(logits, arguments);
  const Tensor rows = as_contiguous(logits, logits.scalar_type());
  const HeadResults results = visit_floating(logits.scalar_type(), "hidden", [&](auto zero) {
    using logit_t = decltype(zero);
    HeadResults made = empty_results(logits, arguments, Accumulate<logit_t>::dtype);
    rows_function(zero, rows, make_segments<logit_t>(arguments, made), made);
    return made;
  });
  return {results.loss_sum, results.count, results.slope, results.classes, results.items, results.values};
}

// The op around a device's `scale_function(logit_t{}, grad_loss_sum, slope, sizes, dlogits)`; dlogits has the type of
// `like`.
template <typename ScaleFunction>
Tensor backward_op(const Tensor& grad_loss_sum, const Tensor& slope, const std::vector<int64_t>& sizes,
                   const Tensor& like, const ScaleFunction& scale_function) {
  const int64_t n_columns = column_count(sizes);
  check_dims(slope, 2, "slope");
  check_shape(slope, {slope.size(0), n_columns}, "slope");
  check_floating(slope, "slope");
  check_shape(grad_loss_sum, {static_cast<int64_t>(sizes.size())}, "grad_loss_sum");
  check_floating(grad_loss_sum, "grad_loss_sum");
  check_floating(like, "like");
  check_device(grad_loss_sum, slope, "grad_loss_sum");
  Tensor dlogits = empty_like_device<2>(slope, {slope.size(0), n_columns}, like.scalar_type());
  if (dlogits.numel() == 0) {
    return dlogits;
  }
  visit_floating(like.scalar_type(), "like", [&](auto zero) {
    constexpr ScalarType acc_dtype = Accumulate<decltype(zero)>::dtype;
    scale_function(zero, as_contiguous(grad_loss_sum, acc_dtype), as_contiguous(slope, acc_dtype), sizes, dlogits);
  });
  return dlogits;
}

}  // namespace jenga
