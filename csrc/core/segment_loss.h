// Losses over the column segments of one logits matrix, one segment a head. Raw pointers and no torch, so that it can
// be built and checked under sanitizers alone. Arithmetic runs in acc_t; logit_t may be narrower.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// The CUDA op shares the scalar formulas below.
#if defined(__CUDACC__)
#define JENGA_HOST_DEVICE __host__ __device__
#else
#define JENGA_HOST_DEVICE
#endif

namespace jenga::core {

enum class HeadKind : int64_t { cross_entropy = 0, binary_cross_entropy = 1, squared_error = 2 };

inline constexpr int64_t ignored_label = -100;

// One head's columns [offset, offset + size) of the logits, and its targets.
template <typename acc_t>
struct Segment {
  HeadKind kind;
  int64_t offset;
  int64_t size;
  const int64_t* labels;       // (rows,), cross-entropy only
  const acc_t* values;         // (rows, size), NaN masked, the other kinds
  const acc_t* label_weights;  // (size,) or null: class weights, or positive weights
  acc_t label_smoothing;       // cross-entropy only
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

template <typename acc_t>
JENGA_HOST_DEVICE acc_t label_weight(const Segment<acc_t>& segment, int64_t column) {
  return segment.label_weights == nullptr ? acc_t(1) : segment.label_weights[column];
}

template <typename acc_t>
acc_t label_weight_total(const Segment<acc_t>& segment) {
  acc_t total = 0;
  for (int64_t column = 0; column < segment.size; ++column) {
    total += label_weight(segment, column);
  }
  return total;
}

template <typename acc_t>
struct RowMax {
  acc_t value;
  int64_t column;
};

template <typename acc_t, typename logit_t>
RowMax<acc_t> row_max(const logit_t* logits, int64_t size) {
  RowMax<acc_t> max{static_cast<acc_t>(logits[0]), 0};
  for (int64_t column = 1; column < size; ++column) {
    const auto value = static_cast<acc_t>(logits[column]);
    if (value > max.value) {
      max = {value, column};
    }
  }
  return max;
}

template <typename acc_t, typename logit_t>
acc_t sum_exp(const logit_t* logits, int64_t size, acc_t max) {
  acc_t sum = 0;
  for (int64_t column = 0; column < size; ++column) {
    sum += std::exp(static_cast<acc_t>(logits[column]) - max);
  }
  return sum;
}

// -sum_c q_c w_c log p_c, with q = (1 - smoothing) one_hot(label) + smoothing / size.
template <typename acc_t, typename logit_t>
acc_t cross_entropy_row(const Segment<acc_t>& segment, const logit_t* logits, int64_t label, acc_t max) {
  const acc_t log_sum = max + std::log(sum_exp(logits, segment.size, max));
  const acc_t at_label = label_weight(segment, label) * (log_sum - static_cast<acc_t>(logits[label]));
  if (segment.label_smoothing == 0) {
    return at_label;
  }
  acc_t everywhere = 0;
  for (int64_t column = 0; column < segment.size; ++column) {
    everywhere += label_weight(segment, column) * (log_sum - static_cast<acc_t>(logits[column]));
  }
  return (1 - segment.label_smoothing) * at_label + segment.label_smoothing / segment.size * everywhere;
}

// Only exp(-|x|) is ever formed, so neither tail overflows.
template <typename acc_t>
JENGA_HOST_DEVICE acc_t binary_cross_entropy(acc_t logit, acc_t target, acc_t positive_weight) {
  const acc_t scale = 1 + (positive_weight - 1) * target;
  const acc_t log1p_tail = std::log1p(std::exp(-std::abs(logit)));
  return (1 - target) * logit + scale * (log1p_tail + (logit < 0 ? -logit : acc_t(0)));
}

// (1 - y) sigma(x) - w y sigma(-x): the form without cancellation at either end.
template <typename acc_t>
JENGA_HOST_DEVICE acc_t binary_cross_entropy_grad(acc_t logit, acc_t target, acc_t positive_weight) {
  const acc_t tail = std::exp(-std::abs(logit));
  const acc_t large = 1 / (1 + tail);
  const acc_t small = tail / (1 + tail);
  const acc_t sigma = logit >= 0 ? large : small;
  const acc_t one_minus_sigma = logit >= 0 ? small : large;
  return (1 - target) * sigma - positive_weight * target * one_minus_sigma;
}

template <typename acc_t, typename logit_t>
void cross_entropy_forward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride, int64_t row_begin,
                           int64_t row_end, int64_t* predictions, SegmentSum& sum) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    const logit_t* row_logits = logits + row * row_stride + segment.offset;
    const auto max = row_max<acc_t>(row_logits, segment.size);
    predictions[row] = max.column;
    const int64_t label = segment.labels[row];
    if (label == ignored_label) {
      continue;
    }
    if (label < 0 || label >= segment.size) {
      sum.error = {row, label};
      return;
    }
    sum.loss += cross_entropy_row(segment, row_logits, label, max.value);
    ++sum.count;
  }
}

template <typename acc_t, typename logit_t>
void binary_cross_entropy_forward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride,
                                  int64_t row_begin, int64_t row_end, bool* predictions, SegmentSum& sum) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    const logit_t* row_logits = logits + row * row_stride + segment.offset;
    for (int64_t column = 0; column < segment.size; ++column) {
      const auto logit = static_cast<acc_t>(row_logits[column]);
      const acc_t target = segment.values[row * segment.size + column];
      predictions[row * segment.size + column] = logit > 0;
      if (!std::isnan(target)) {
        sum.loss += binary_cross_entropy(logit, target, label_weight(segment, column));
        ++sum.count;
      }
    }
  }
}

template <typename acc_t, typename logit_t>
void squared_error_forward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride, int64_t row_begin,
                           int64_t row_end, logit_t* predictions, SegmentSum& sum) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    const logit_t* row_logits = logits + row * row_stride + segment.offset;
    for (int64_t column = 0; column < segment.size; ++column) {
      const acc_t target = segment.values[row * segment.size + column];
      predictions[row * segment.size + column] = row_logits[column];
      if (!std::isnan(target)) {
        const acc_t difference = static_cast<acc_t>(row_logits[column]) - target;
        sum.loss += difference * difference;
        ++sum.count;
      }
    }
  }
}

template <typename acc_t, typename logit_t>
void segment_forward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride, int64_t row_begin,
                     int64_t row_end, void* predictions, SegmentSum& sum) {
  switch (segment.kind) {
    case HeadKind::cross_entropy:
      return cross_entropy_forward(segment, logits, row_stride, row_begin, row_end, static_cast<int64_t*>(predictions),
                                   sum);
    case HeadKind::binary_cross_entropy:
      return binary_cross_entropy_forward(segment, logits, row_stride, row_begin, row_end,
                                          static_cast<bool*>(predictions), sum);
    case HeadKind::squared_error:
      return squared_error_forward(segment, logits, row_stride, row_begin, row_end, static_cast<logit_t*>(predictions),
                                   sum);
  }
}

template <typename acc_t, typename logit_t>
void cross_entropy_row_grad(const Segment<acc_t>& segment, const logit_t* logits, int64_t label, acc_t weight_total,
                            acc_t grad, logit_t* dlogits) {
  const acc_t max = row_max<acc_t>(logits, segment.size).value;
  const acc_t inverse_sum = 1 / sum_exp(logits, segment.size, max);
  const acc_t uniform = segment.label_smoothing / segment.size;
  const acc_t at_label = (1 - segment.label_smoothing) * label_weight(segment, label);
  const acc_t p_scale = at_label + uniform * weight_total;
  for (int64_t column = 0; column < segment.size; ++column) {
    const acc_t p = std::exp(static_cast<acc_t>(logits[column]) - max) * inverse_sum;
    const acc_t y = (column == label ? at_label : acc_t(0)) + uniform * label_weight(segment, column);
    dlogits[column] = static_cast<logit_t>(grad * (p_scale * p - y));
  }
}

template <typename acc_t, typename logit_t>
LabelError cross_entropy_backward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride,
                                  int64_t row_begin, int64_t row_end, acc_t grad, logit_t* dlogits) {
  const acc_t weight_total = label_weight_total(segment);
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t first = row * row_stride + segment.offset;
    const int64_t label = segment.labels[row];
    if (label == ignored_label) {
      std::fill_n(dlogits + first, segment.size, static_cast<logit_t>(acc_t(0)));
    } else if (label < 0 || label >= segment.size) {
      return {row, label};
    } else {
      cross_entropy_row_grad(segment, logits + first, label, weight_total, grad, dlogits + first);
    }
  }
  return {};
}

template <typename acc_t, typename logit_t>
void values_backward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride, int64_t row_begin,
                     int64_t row_end, acc_t grad, logit_t* dlogits) {
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t first = row * row_stride + segment.offset;
    for (int64_t column = 0; column < segment.size; ++column) {
      const acc_t target = segment.values[row * segment.size + column];
      const auto value = static_cast<acc_t>(logits[first + column]);
      acc_t slope = 0;
      if (!std::isnan(target)) {
        slope = grad * (segment.kind == HeadKind::squared_error
                            ? 2 * (value - target)
                            : binary_cross_entropy_grad(value, target, label_weight(segment, column)));
      }
      dlogits[first + column] = static_cast<logit_t>(slope);
    }
  }
}

// Writes grad * d(sum of the head's loss)/d(logits) to its columns. A masked place gets an exact 0 whatever `grad` is:
// the mean over a head without labels divides by 0, and its NaN must not reach the shared weights.
template <typename acc_t, typename logit_t>
LabelError segment_backward(const Segment<acc_t>& segment, const logit_t* logits, int64_t row_stride, int64_t row_begin,
                            int64_t row_end, acc_t grad, logit_t* dlogits) {
  if (segment.kind == HeadKind::cross_entropy) {
    return cross_entropy_backward(segment, logits, row_stride, row_begin, row_end, grad, dlogits);
  }
  values_backward(segment, logits, row_stride, row_begin, row_end, grad, dlogits);
  return {};
}

}  // namespace jenga::core
