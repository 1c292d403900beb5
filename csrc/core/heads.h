// Losses over the column segments of one logits matrix, one segment a head. Raw pointers and no torch. Arithmetic runs
// in acc_t: float, or double for double logits.
#pragma once

#include <cstdint>

// The CUDA op shares the formulas below.
#if defined(__CUDACC__)
#define JENGA_HOST_DEVICE __host__ __device__
#else
#define JENGA_HOST_DEVICE
#endif

namespace jenga::core {

enum class HeadKind : int64_t {
  cross_entropy = 0,
  binary_cross_entropy = 1,
  squared_error = 2,
  focal = 3,
  soft_cross_entropy = 4,
};
inline constexpr int64_t n_head_kinds = 5;
inline constexpr int64_t ignored_label = -100;

// Takes int64 labels, one a row; the other kinds take `size` values a row.
JENGA_HOST_DEVICE constexpr bool takes_labels(HeadKind kind) {
  return kind == HeadKind::cross_entropy || kind == HeadKind::focal;
}

// Picks one class a row.
JENGA_HOST_DEVICE constexpr bool picks_class(HeadKind kind) {
  return takes_labels(kind) || kind == HeadKind::soft_cross_entropy;
}

// One head's columns [offset, offset + size) of the logits, its targets and where its predictions go.
template <typename acc_t>
struct Segment {
  HeadKind kind;
  int64_t offset;
  int64_t size;
  const int64_t* labels;       // (rows,), kinds that take labels
  const acc_t* values;         // (rows, size), NaN masked, the other kinds
  const acc_t* label_weights;  // (size,) or null: class weights, or positive weights
  double parameter;            // label smoothing, or gamma of focal
  int64_t task;                // with `row_tasks`: the head sees rows of this task only
  int64_t* classes;            // (rows,), kinds that pick a class
  bool* items;                 // binary cross-entropy: this head's first column of (rows, items_stride)
  int64_t items_stride;
  void* copies;  // squared error, in the logits' type: this head's first column of (rows, copies_stride)
  int64_t copies_stride;
};

struct LabelError {
  int64_t row = -1;
  int64_t label = 0;
};

// Sums over a range of rows. The loss is summed in double so that the order of rows costs no float32 digits.
struct SegmentSum {
  double loss = 0;
  int64_t count = 0;
  LabelError error;
};

// ---- formulas, on scalars and on vectors: `Math` has exp, log, log1p, abs, choose(condition, a, b), one()

// A binary cross-entropy term of logit x, target y in [0, 1] and positive weight w. Only exp(-|x|) is formed, so
// neither tail overflows.
template <typename Math, typename value_t>
JENGA_HOST_DEVICE value_t binary_cross_entropy(value_t x, value_t y, value_t w) {
  const value_t one = Math::one();
  const value_t zero = one - one;
  const value_t below_zero = Math::choose(x < zero, -x, zero);
  return (one - y) * x + (one + (w - one) * y) * (Math::log1p(Math::exp(-Math::abs(x))) + below_zero);
}

// Its derivative in x, (1 - y) sigma(x) - w y sigma(-x): the form without cancellation at either end.
template <typename Math, typename value_t>
JENGA_HOST_DEVICE value_t binary_cross_entropy_slope(value_t x, value_t y, value_t w) {
  const value_t one = Math::one();
  const value_t tail = Math::exp(-Math::abs(x));
  const value_t large = one / (one + tail);
  const value_t small = tail * large;
  const auto positive = x >= one - one;
  const value_t sigma = Math::choose(positive, large, small);
  const value_t one_minus_sigma = Math::choose(positive, small, large);
  return (one - y) * sigma - w * y * one_minus_sigma;
}

// The focal loss -(1 - p)^gamma log p and what its derivative by logit c is over (c is the label) - p_c:
// gamma (1 - p)^(gamma - 1) p log p - (1 - p)^gamma. `rest` is 1 - p, above 0; of a large p it has to be computed as
// a sum, and p is not 1 - `rest`, which keeps no digit of a small one.
template <typename Math, typename value_t>
JENGA_HOST_DEVICE value_t focal_loss(value_t log_p, value_t rest, value_t gamma) {
  return -Math::exp(gamma * Math::log(rest)) * log_p;
}
template <typename Math, typename value_t>
JENGA_HOST_DEVICE value_t focal_slope(value_t log_p, value_t p, value_t rest, value_t gamma) {
  const value_t power = Math::exp((gamma - Math::one()) * Math::log(rest));
  return power * (gamma * p * log_p - rest);
}

}  // namespace jenga::core
