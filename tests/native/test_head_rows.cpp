// Drives csrc/core/vector/head_rows.cpp under sanitizers: every kind of head at odd sizes, masked, routed and
// out-of-range labels. Buffers are exactly as long as they must be, so that one element too far is a finding.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <vector>

#include "core/head_rows.h"

namespace {

namespace core = jenga::core;
using core::HeadKind;

constexpr HeadKind every_kind[] = {HeadKind::cross_entropy, HeadKind::binary_cross_entropy, HeadKind::squared_error,
                                   HeadKind::focal, HeadKind::soft_cross_entropy};
constexpr double untouched = 42;

int n_failed = 0;

void expect(bool condition, const char* claim) {
  if (!condition) {
    std::fprintf(stderr, "FAILED: %s\n", claim);
    ++n_failed;
  }
}

struct Setting {
  HeadKind kind;
  int64_t n_rows;
  int64_t size;
  bool weighted;
  bool routed;
};

// A head in the last `size` of size + 1 columns: one element too far in the last row leaves the buffer.
template <typename acc_t>
struct Problem {
  Setting setting;
  std::vector<acc_t> logits;
  std::vector<int64_t> labels;
  std::vector<acc_t> values;
  std::vector<acc_t> weights;
  std::vector<int64_t> row_tasks;

  explicit Problem(const Setting& of) : setting(of) {
    const auto [kind, n_rows, size, weighted, routed] = setting;
    logits.reserve(n_rows * (size + 1));
    labels.reserve(n_rows);
    values.reserve(n_rows * size);
    row_tasks.reserve(n_rows);
    for (int64_t place = 0; place < n_rows * (size + 1); ++place) {
      logits.push_back(static_cast<acc_t>(std::sin(0.7 * static_cast<double>(place)) * 5));
    }
    for (int64_t row = 0; row < n_rows; ++row) {
      row_tasks.push_back(row % 4 == 2 ? 8 : 7);
      const bool is_foreign = routed && row_tasks.back() == 8;
      labels.push_back(is_foreign ? 1'000'000 : row % 3 == 1 ? core::ignored_label : row % size);
    }
    for (int64_t place = 0; place < n_rows * size; ++place) {
      values.push_back(place % 4 == 3 ? std::numeric_limits<acc_t>::quiet_NaN() : acc_t(place % 2));
    }
    for (int64_t column = 0; column < size; ++column) {
      weights.push_back(acc_t(0.5) + acc_t(column));
    }
  }

  core::SegmentSum run(std::vector<acc_t>* slope) const {
    const auto [kind, n_rows, size, weighted, routed] = setting;
    std::vector<int64_t> classes(n_rows);
    const std::unique_ptr<bool[]> items(new bool[n_rows * size]);
    std::vector<acc_t> scratch(core::head_scratch(size));
    core::Segment<acc_t> segment{};
    segment.kind = kind;
    segment.offset = 1;
    segment.size = size;
    segment.labels = labels.data();
    segment.values = core::takes_labels(kind) ? nullptr : values.data();
    segment.label_weights = weighted && kind != HeadKind::squared_error ? weights.data() : nullptr;
    segment.parameter = kind == HeadKind::focal ? 1.7 : 0.1;
    segment.task = 7;
    segment.classes = classes.data();
    segment.items = items.get();
    segment.items_stride = size;
    core::SegmentSum sum;
    // Two calls, as of two chunks: the second must find its own rows.
    for (const auto& [begin, end] : {std::pair{int64_t(0), n_rows / 2}, std::pair{n_rows / 2, n_rows}}) {
      const core::HeadRows<acc_t> rows{
          begin,
          end - begin,
          logits.data() + begin * (size + 1),
          size + 1,
          routed ? row_tasks.data() + begin : nullptr,
          slope == nullptr ? nullptr : slope->data() + begin * (size + 1),
          size + 1,
          scratch.data(),
      };
      if constexpr (sizeof(acc_t) == sizeof(double)) {
        core::head_kernels().rows_double(segment, rows, sum);
      } else {
        core::head_kernels().rows_float(segment, rows, sum);
      }
    }
    return sum;
  }
};

// The slope agrees with central differences of the loss, and columns outside the head stay as they were.
void check_slopes(const Setting& setting) {
  Problem<double> problem(setting);
  std::vector<double> slope(problem.logits.size(), untouched);
  problem.run(&slope);
  const double step = 1e-5;
  for (size_t place = 0; place < problem.logits.size(); ++place) {
    if (static_cast<int64_t>(place) % (setting.size + 1) == 0) {
      expect(slope[place] == untouched, "columns of other heads are not written");
      continue;
    }
    const double logit = problem.logits[place];
    problem.logits[place] = logit + step;
    const double above = problem.run(nullptr).loss;
    problem.logits[place] = logit - step;
    const double below = problem.run(nullptr).loss;
    problem.logits[place] = logit;
    // Central differences err by step^2 and by the rounding of the loss over step: about 1e-8 here.
    expect(std::abs(slope[place] - (above - below) / (2 * step)) < 1e-6, "the slope agrees with differences");
  }
}

void check_float32_follows_float64(const Setting& setting) {
  const auto narrow = Problem<float>(setting).run(nullptr);
  const auto wide = Problem<double>(setting).run(nullptr);
  expect(narrow.count == wide.count, "float32 and float64 count the same labels");
  expect(std::abs(narrow.loss - wide.loss) <= 1e-5 * (1 + std::abs(wide.loss)), "float32 follows float64");
}

void check_label_errors() {
  for (const int64_t label :
       {int64_t(5), int64_t(-1), std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    Problem<float> problem({HeadKind::cross_entropy, 9, 5, true, false});
    problem.labels[6] = label;
    const auto error = problem.run(nullptr).error;
    expect(error.row == 6 && error.label == label, "a label out of range is reported with its row");
  }
}

void check_scaling() {
  const std::vector<float> slope{1, 0, -2, 0, 0, 3};
  const std::vector<float> grads{2, std::numeric_limits<float>::quiet_NaN(), 0.5F};
  std::vector<float> scaled(slope.size());
  core::head_kernels().scale_float(slope.data(), grads.data(), 2, 3, scaled.data());
  expect(scaled == std::vector<float>({2, 0, -1, 0, 0, 1.5F}), "a slope of 0 stays 0 under a NaN");
}

}  // namespace

int main() {
  for (const HeadKind kind : every_kind) {
    for (const int64_t n_rows : {0, 1, 7, 17}) {
      for (const int64_t size : {1, 2, 3, 17}) {
        for (const bool weighted : {false, true}) {
          for (const bool routed : {false, true}) {
            check_slopes({kind, n_rows, size, weighted, routed});
            check_float32_follows_float64({kind, n_rows, size, weighted, routed});
          }
        }
      }
    }
  }
  check_label_errors();
  check_scaling();
  std::printf("head_rows on %s: %d failures\n", core::isa_name(core::isa()), n_failed);
  return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
