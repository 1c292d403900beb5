// One row of one head on a CUDA device: its loss, prediction and d loss / d logits. A group of lanes shares the row.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "core/heads.h"
#include "cuda/label_errors.cuh"

namespace jenga::cuda {

constexpr int warp_size = 32;

template <typename acc_t>
struct ScalarMath {
  static JENGA_HOST_DEVICE acc_t one() { return acc_t(1); }
  static JENGA_HOST_DEVICE acc_t exp(acc_t x) { return std::exp(x); }
  static JENGA_HOST_DEVICE acc_t log(acc_t x) { return std::log(x); }
  static JENGA_HOST_DEVICE acc_t log1p(acc_t x) { return std::log1p(x); }
  static JENGA_HOST_DEVICE acc_t abs(acc_t x) { return std::abs(x); }
  static JENGA_HOST_DEVICE acc_t choose(bool condition, acc_t if_set, acc_t if_not) {
    return condition ? if_set : if_not;
  }
};

struct RowSum {
  double loss;
  int64_t count;
};

// A row as one lane of its group sees it. Groups beyond the last row repeat it, not `in_range`, and write nothing: all
// lanes of a warp have to take part in every exchange.
template <typename acc_t, typename logit_t>
struct HeadRow {
  const core::Segment<acc_t>& segment;
  int64_t head;
  int64_t row;
  bool in_range;
  bool own;  // of the head's task
  int lane;
  int width;              // lanes of the group, a power of two
  const logit_t* logits;  // the head's columns
  acc_t* slope;           // the head's columns; null: not wanted

  __device__ acc_t logit(int64_t column) const { return static_cast<acc_t>(logits[column]); }
  __device__ acc_t weight(int64_t column) const {
    return segment.label_weights == nullptr ? acc_t(1) : segment.label_weights[column];
  }
  __device__ bool is_writer() const { return in_range && lane == 0; }

  // Neighbouring lanes, so that lane ^ offset stays in the group.
  template <typename value_t>
  __device__ value_t sum(value_t value) const {
    for (int offset = width / 2; offset > 0; offset /= 2) {
      value += __shfl_xor_sync(0xffffffffu, value, offset);
    }
    return value;
  }

  template <typename Slope>
  __device__ void write_slope(bool active, const Slope& slope_at) const {
    if (slope == nullptr || !in_range) {
      return;
    }
    for (int64_t column = lane; column < segment.size; column += width) {
      slope[column] = active ? slope_at(column) : acc_t(0);
    }
  }
};

template <typename acc_t>
struct Softmax {
  acc_t max;
  acc_t sum;
  acc_t log_sum;   // log of `sum`
  int64_t argmax;  // the first column that holds the largest value, as on the CPU
};

template <typename acc_t, typename logit_t>
__device__ Softmax<acc_t> softmax_of(const HeadRow<acc_t, logit_t>& row) {
  // Every lane starts at the first column: a -inf in its place would make exp(-inf + inf) of a row of -inf.
  acc_t max = row.logit(0);
  int64_t argmax = 0;
  for (int64_t column = row.lane; column < row.segment.size; column += row.width) {
    const acc_t value = row.logit(column);
    if (value > max) {
      max = value;
      argmax = column;
    }
  }
  for (int offset = row.width / 2; offset > 0; offset /= 2) {
    const acc_t other = __shfl_xor_sync(0xffffffffu, max, offset);
    const int64_t other_column = __shfl_xor_sync(0xffffffffu, argmax, offset);
    if (other > max || (other == max && other_column < argmax)) {
      max = other;
      argmax = other_column;
    }
  }
  acc_t sum = 0;
  for (int64_t column = row.lane; column < row.segment.size; column += row.width) {
    sum += std::exp(row.logit(column) - max);
  }
  sum = row.sum(sum);
  return {max, sum, std::log(sum), argmax};
}

template <typename acc_t, typename logit_t>
__device__ void add_loss(const HeadRow<acc_t, logit_t>& row, bool active, acc_t loss, RowSum& sum) {
  if (active && row.is_writer()) {
    sum.loss += static_cast<double>(loss);
    sum.count += 1;
  }
}

// -w log p at the label, part of it spread over all classes by label smoothing.
template <typename acc_t, typename logit_t>
__device__ void cross_entropy_row(const HeadRow<acc_t, logit_t>& row, const Softmax<acc_t>& softmax, bool active,
                                  int64_t label, RowSum& sum) {
  const double smoothing = row.segment.parameter;
  const auto uniform = static_cast<acc_t>(smoothing / static_cast<double>(row.segment.size));
  const acc_t at_label = static_cast<acc_t>(1 - smoothing) * row.weight(label);
  // In double: a float sum of a class's many small shares would add its roundings to every slope.
  double spread_loss = 0;
  double spread_weight = 0;
  if (smoothing != 0) {
    for (int64_t column = row.lane; column < row.segment.size; column += row.width) {
      spread_loss += row.weight(column) * (softmax.log_sum - (row.logit(column) - softmax.max));
      spread_weight += row.weight(column);
    }
    spread_loss = row.sum(spread_loss);
    spread_weight = row.sum(spread_weight);
  }
  const acc_t label_loss = softmax.log_sum - (row.logit(label) - softmax.max);
  add_loss(row, active, at_label * label_loss + static_cast<acc_t>(uniform * spread_loss), sum);
  const auto scale = static_cast<acc_t>(at_label + uniform * spread_weight) / softmax.sum;
  row.write_slope(active, [&](int64_t column) {
    const acc_t target = (column == label ? at_label : acc_t(0)) + uniform * row.weight(column);
    return std::exp(row.logit(column) - softmax.max) * scale - target;
  });
}

template <typename acc_t, typename logit_t>
__device__ void focal_row(const HeadRow<acc_t, logit_t>& row, const Softmax<acc_t>& softmax, bool active, int64_t label,
                          RowSum& sum) {
  using Math = ScalarMath<acc_t>;
  acc_t others = 0;
  for (int64_t column = row.lane; column < row.segment.size; column += row.width) {
    others += column == label ? acc_t(0) : std::exp(row.logit(column) - softmax.max);
  }
  others = row.sum(others);
  // 1 - p of a certain row is 0, whose power below gamma = 1 has no derivative.
  const acc_t least = sizeof(acc_t) == 4 ? acc_t(1.17549435e-38) : acc_t(2.2250738585072014e-308);
  const acc_t p = std::exp(row.logit(label) - softmax.max) / softmax.sum;
  // Of a small p, 1 - p is nearly exact, and a power repeats a rounding gamma times.
  const acc_t share = p < acc_t(0.5) ? 1 - p : others / softmax.sum;
  const acc_t rest = share < least ? least : share;
  const acc_t log_p = row.logit(label) - softmax.max - softmax.log_sum;
  const auto gamma = static_cast<acc_t>(row.segment.parameter);
  const acc_t weight = row.weight(label);
  add_loss(row, active, weight * core::focal_loss<Math>(log_p, rest, gamma), sum);
  const acc_t slope = weight * core::focal_slope<Math>(log_p, p, rest, gamma);
  row.write_slope(active, [&](int64_t column) {
    return slope * (column == label ? rest : -std::exp(row.logit(column) - softmax.max) / softmax.sum);
  });
}

// -sum_c q_c log p_c, q = w ((1 - smoothing) target + smoothing / size). A row with a NaN anywhere is masked.
template <typename acc_t, typename logit_t>
__device__ void soft_row(const HeadRow<acc_t, logit_t>& row, const Softmax<acc_t>& softmax, RowSum& sum) {
  const acc_t* values = row.segment.values + row.row * row.segment.size;
  const double smoothing = row.segment.parameter;
  const auto uniform = static_cast<acc_t>(smoothing / static_cast<double>(row.segment.size));
  const auto kept = static_cast<acc_t>(1 - smoothing);
  const auto target_of = [&](int64_t column) { return row.weight(column) * (kept * values[column] + uniform); };
  double loss = 0;
  double total = 0;
  int n_missing = 0;
  for (int64_t column = row.lane; row.own && column < row.segment.size; column += row.width) {
    const acc_t target = target_of(column);
    n_missing += std::isnan(values[column]) ? 1 : 0;
    loss += target * (softmax.log_sum - (row.logit(column) - softmax.max));
    total += target;
  }
  loss = row.sum(loss);
  total = row.sum(total);
  const bool active = row.sum(n_missing) == 0 && row.own;
  add_loss(row, active, static_cast<acc_t>(loss), sum);
  const acc_t scale = static_cast<acc_t>(total) / softmax.sum;
  row.write_slope(
      active, [&](int64_t column) { return std::exp(row.logit(column) - softmax.max) * scale - target_of(column); });
}

template <typename acc_t, typename logit_t>
__device__ void class_row(const HeadRow<acc_t, logit_t>& row, LabelErrorSlot* errors, RowSum& sum) {
  const Softmax<acc_t> softmax = softmax_of(row);
  if (row.is_writer()) {
    row.segment.classes[row.row] = row.own ? softmax.argmax : core::ignored_label;
  }
  if (!core::takes_labels(row.segment.kind)) {
    return soft_row(row, softmax, sum);
  }
  const int64_t label = row.own ? row.segment.labels[row.row] : core::ignored_label;
  const bool active = label >= 0 && label < row.segment.size;
  if (!active && label != core::ignored_label && row.is_writer()) {
    report_label(errors, row.head, row.row, label, row.segment.size);
    sum.loss = NAN;
  }
  const int64_t known_label = active ? label : 0;
  if (row.segment.kind == core::HeadKind::focal) {
    focal_row(row, softmax, active, known_label, sum);
  } else {
    cross_entropy_row(row, softmax, active, known_label, sum);
  }
}

// Independent values of a row: binary cross-entropy, squared error.
template <typename acc_t, typename logit_t>
__device__ void value_row(const HeadRow<acc_t, logit_t>& row, RowSum& sum) {
  using Math = ScalarMath<acc_t>;
  const core::Segment<acc_t>& segment = row.segment;
  const bool is_binary = segment.kind == core::HeadKind::binary_cross_entropy;
  for (int64_t column = row.lane; row.in_range && column < segment.size; column += row.width) {
    const acc_t x = row.logit(column);
    const acc_t y = row.own ? segment.values[row.row * segment.size + column] : acc_t(NAN);
    const acc_t w = row.weight(column);
    if (is_binary) {
      segment.items[row.row * segment.items_stride + column] = row.own && x > 0;
    } else {
      static_cast<logit_t*>(segment.copies)[row.row * segment.copies_stride + column] =
          row.own ? row.logits[column] : static_cast<logit_t>(acc_t(NAN));
    }
    acc_t slope = 0;
    if (!std::isnan(y)) {
      sum.loss += static_cast<double>(is_binary ? core::binary_cross_entropy<Math>(x, y, w) : (x - y) * (x - y));
      sum.count += 1;
      slope = is_binary ? core::binary_cross_entropy_slope<Math>(x, y, w) : 2 * (x - y);
    }
    if (row.slope != nullptr) {
      row.slope[column] = slope;
    }
  }
}

}  // namespace jenga::cuda
