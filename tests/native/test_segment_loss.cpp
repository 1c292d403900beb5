// Drives csrc/core/segment_loss.h under sanitizers: every kind of head at odd sizes, masked and out-of-range labels.
// Buffers are exactly as long as they must be, so that one element too far is a finding.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "core/segment_loss.h"

namespace {

namespace core = jenga::core;

int n_failed = 0;

void expect(bool condition, const char* claim) {
  if (!condition) {
    std::fprintf(stderr, "FAILED: %s\n", claim);
    ++n_failed;
  }
}

template <typename acc_t>
struct Problem {
  int64_t n_rows;
  int64_t n_columns;
  std::vector<acc_t> logits;
  std::vector<int64_t> labels;
  std::vector<acc_t> values;
  std::vector<acc_t> weights;
  core::Segment<acc_t> segment;
};

// A head in the last `size` columns of a matrix: one element too far in the last row leaves the buffer.
template <typename acc_t>
Problem<acc_t> make_problem(core::HeadKind kind, int64_t n_rows, int64_t size, bool weighted) {
  Problem<acc_t> problem{n_rows, size + 1, {}, {}, {}, {}, {}};
  for (int64_t place = 0; place < n_rows * problem.n_columns; ++place) {
    problem.logits.push_back(static_cast<acc_t>(std::sin(0.7 * static_cast<double>(place)) * 5));
  }
  for (int64_t row = 0; row < n_rows; ++row) {
    problem.labels.push_back(row % 3 == 1 ? core::ignored_label : row % size);
  }
  for (int64_t place = 0; place < n_rows * size; ++place) {
    const bool masked = place % 4 == 3;
    problem.values.push_back(masked ? std::numeric_limits<acc_t>::quiet_NaN() : acc_t(place % 2));
  }
  for (int64_t column = 0; column < size; ++column) {
    problem.weights.push_back(acc_t(0.5) + acc_t(column));
  }
  problem.logits.shrink_to_fit();
  problem.labels.shrink_to_fit();
  problem.values.shrink_to_fit();
  problem.weights.shrink_to_fit();
  problem.segment = {kind,
                     1,
                     size,
                     problem.labels.data(),
                     problem.values.data(),
                     weighted && kind != core::HeadKind::squared_error ? problem.weights.data() : nullptr,
                     kind == core::HeadKind::cross_entropy ? acc_t(0.1) : acc_t(0)};
  return problem;
}

template <typename acc_t>
core::SegmentSum forward(const Problem<acc_t>& problem) {
  core::SegmentSum sum;
  const int64_t n_predictions = problem.n_rows * problem.segment.size;
  std::vector<int64_t> argmax(problem.n_rows);
  std::vector<acc_t> copies(n_predictions);
  std::vector<unsigned char> positive(n_predictions);
  static_assert(sizeof(bool) == sizeof(unsigned char));
  void* predictions = argmax.data();
  if (problem.segment.kind == core::HeadKind::binary_cross_entropy) {
    predictions = positive.data();
  } else if (problem.segment.kind == core::HeadKind::squared_error) {
    predictions = copies.data();
  }
  core::segment_forward(problem.segment, problem.logits.data(), problem.n_columns, 0, problem.n_rows, predictions, sum);
  return sum;
}

// The gradient agrees with central differences, and columns outside the segment stay as they were.
void check_gradient(core::HeadKind kind, int64_t n_rows, int64_t size, bool weighted) {
  auto problem = make_problem<double>(kind, n_rows, size, weighted);
  const double untouched = 42;
  std::vector<double> dlogits(problem.logits.size(), untouched);
  core::segment_backward(problem.segment, problem.logits.data(), problem.n_columns, 0, n_rows, 2.0, dlogits.data());
  const double step = 1e-5;
  for (size_t place = 0; place < problem.logits.size(); ++place) {
    const auto column = static_cast<int64_t>(place) % problem.n_columns - 1;
    if (column < 0 || column >= size) {
      expect(dlogits[place] == untouched, "columns of other heads are not written");
      continue;
    }
    const double logit = problem.logits[place];
    problem.logits[place] = logit + step;
    const double above = forward(problem).loss;
    problem.logits[place] = logit - step;
    const double below = forward(problem).loss;
    problem.logits[place] = logit;
    // Central differences err by step^2 and by the rounding of the loss over step: about 1e-8 here.
    expect(std::abs(dlogits[place] - (above - below) / step) < 1e-6, "the gradient agrees with differences");
  }
}

void check_float32_follows_float64(core::HeadKind kind, int64_t n_rows, int64_t size, bool weighted) {
  const auto narrow = forward(make_problem<float>(kind, n_rows, size, weighted));
  const auto wide = forward(make_problem<double>(kind, n_rows, size, weighted));
  expect(narrow.count == wide.count, "float32 and float64 count the same labels");
  expect(std::abs(narrow.loss - wide.loss) <= 1e-5 * (1 + std::abs(wide.loss)), "float32 follows float64");
}

void check_label_errors() {
  for (const int64_t label :
       {int64_t(5), int64_t(-1), std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    auto problem = make_problem<float>(core::HeadKind::cross_entropy, 9, 5, true);
    problem.labels[6] = label;
    const auto error = forward(problem).error;
    expect(error.row == 6 && error.label == label, "the forward pass reports a label out of range");
    std::vector<float> dlogits(problem.logits.size());
    const auto backward_error =
        core::segment_backward(problem.segment, problem.logits.data(), problem.n_columns, 0, 9, 1.0F, dlogits.data());
    expect(backward_error.row == 6 && backward_error.label == label, "and so does the backward pass");
  }
}

}  // namespace

int main() {
  for (const auto kind :
       {core::HeadKind::cross_entropy, core::HeadKind::binary_cross_entropy, core::HeadKind::squared_error}) {
    for (const int64_t n_rows : {0, 1, 7}) {
      for (const int64_t size : {1, 2, 3, 17}) {
        for (const bool weighted : {false, true}) {
          check_gradient(kind, n_rows, size, weighted);
          check_float32_follows_float64(kind, n_rows, size, weighted);
        }
      }
    }
  }
  check_label_errors();
  return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
