// Drives csrc/core/vector/vocabulary.cpp under sanitizers: both losses at odd widths, masked and out-of-range
// labels. Buffers are exactly as long as they must be, so that one element too far is a finding.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "core/vocabulary.h"

namespace {

namespace core = jenga::core;

int n_failed = 0;

void expect(bool condition, const char* claim) {
  if (!condition) {
    std::fprintf(stderr, "FAILED: %s\n", claim);
    ++n_failed;
  }
}

template <typename T>
std::vector<T> make_logits(int64_t n_rows, int64_t columns, double phase) {
  std::vector<T> logits;
  logits.reserve(n_rows * columns);
  for (int64_t place = 0; place < n_rows * columns; ++place) {
    logits.push_back(static_cast<T>(std::sin(0.7 * static_cast<double>(place) + phase) * 5));
  }
  return logits;
}

struct Setting {
  int64_t n_rows;
  int64_t columns;
  int64_t teacher_columns;  // 0: cross-entropy
  core::Distillation distillation;
  double label_smoothing;
};

// Row 1 of every three has no label.
std::vector<int64_t> make_labels(const Setting& setting) {
  std::vector<int64_t> labels;
  labels.reserve(setting.n_rows);
  for (int64_t row = 0; row < setting.n_rows; ++row) {
    labels.push_back(row % 3 == 1 ? -100 : row % setting.columns);
  }
  return labels;
}

// The losses; `logits` become their slope if wanted.
template <typename T>
std::vector<T> run(const Setting& setting, std::vector<T>& logits, const std::vector<int64_t>& labels,
                   bool with_slope) {
  std::vector<T> losses(setting.n_rows);
  const core::VocabularyRows<T> rows{logits.data(), setting.columns, labels.data(), losses.data()};
  const core::VocabularyLoss loss{-100, 0.5, with_slope};
  if (setting.teacher_columns == 0) {
    core::vocabulary_kernels<T>().cross_entropy(rows, loss, setting.label_smoothing, 0, setting.n_rows);
  } else {
    const auto teacher = make_logits<T>(setting.n_rows, setting.teacher_columns, 1.0);
    core::vocabulary_kernels<T>().distillation(rows, teacher.data(), setting.teacher_columns, loss,
                                               setting.distillation, 0, setting.n_rows);
  }
  return losses;
}

void check_slope(const Setting& setting) {
  const auto labels = make_labels(setting);
  auto logits = make_logits<double>(setting.n_rows, setting.columns, 0.0);
  auto slope = logits;
  run(setting, slope, labels, true);
  const double step = 1e-5;
  for (size_t place = 0; place < logits.size(); ++place) {
    const size_t row = place / setting.columns;
    const double logit = logits[place];
    logits[place] = logit + step;
    const double above = run(setting, logits, labels, false)[row];
    logits[place] = logit - step;
    const double below = run(setting, logits, labels, false)[row];
    logits[place] = logit;
    // Central differences err by step^2 and by the rounding of the loss over step: about 1e-8 here.
    expect(std::abs(slope[place] - 0.5 * (above - below) / (2 * step)) < 1e-6, "the slope agrees with differences");
  }
}

void check_float32_follows_float64(const Setting& setting) {
  const auto labels = make_labels(setting);
  auto narrow_logits = make_logits<float>(setting.n_rows, setting.columns, 0.0);
  auto wide_logits = make_logits<double>(setting.n_rows, setting.columns, 0.0);
  const auto narrow = run(setting, narrow_logits, labels, true);
  const auto wide = run(setting, wide_logits, labels, true);
  for (size_t row = 0; row < wide.size(); ++row) {
    expect(std::abs(narrow[row] - wide[row]) <= 1e-5 * (1 + std::abs(wide[row])), "float32 losses follow float64");
  }
  for (size_t place = 0; place < wide_logits.size(); ++place) {
    expect(std::abs(narrow_logits[place] - wide_logits[place]) <= 1e-5, "float32 slopes follow float64");
  }
}

void check_labels(Setting setting) {
  setting.n_rows = 1;
  for (const int64_t label : {setting.columns, int64_t(-1), std::numeric_limits<int64_t>::min(),
                              std::numeric_limits<int64_t>::max(), int64_t(-100)}) {
    auto logits = make_logits<float>(1, setting.columns, 0.0);
    const auto losses = run(setting, logits, {label}, true);
    expect(label == -100 ? losses[0] == 0 : std::isnan(losses[0]), "a row without a label has loss 0, a wrong one NaN");
    for (const float slope : logits) {
      expect(slope == 0, "and neither has a slope");
    }
  }
}

}  // namespace

int main() {
  for (const int64_t columns : {1, 2, 7, 16, 33}) {
    for (const int64_t n_rows : {0, 1, 4}) {
      for (const double label_smoothing : {0.0, 0.1}) {
        const Setting setting{n_rows, columns, 0, {}, label_smoothing};
        check_slope(setting);
        check_float32_follows_float64(setting);
        check_labels(setting);
      }
      for (const auto divergence :
           {core::Divergence::forward_kl, core::Divergence::reverse_kl, core::Divergence::jensen_shannon}) {
        for (const int64_t teacher_columns : {columns, int64_t(5), columns + 3}) {
          const Setting setting{n_rows, columns, teacher_columns, {0.4, 1.7, divergence}, 0.0};
          check_slope(setting);
          check_float32_follows_float64(setting);
          check_labels(setting);
        }
      }
    }
  }
  return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
