// Losses over rows of logits as wide as a vocabulary, each turned in place into its slope. Raw pointers and no torch.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace jenga::core {

enum class Divergence : int64_t { forward_kl = 0, reverse_kl = 1, jensen_shannon = 2 };

// What both losses need beside their rows. A row with any other label out of range gets the loss NaN and slope 0.
struct VocabularyLoss {
  int64_t ignore_index;
  double slope_scale;  // multiplies the slope, not the loss
  bool with_slope;     // false: the logits stay as they are
};

// Logits (rows, columns), labels (rows,); rows [begin, end) get losses[row] and, in place, d losses[row] / d logits.
template <typename T>
struct VocabularyRows {
  T* logits;
  int64_t columns;
  const int64_t* labels;
  T* losses;
};

struct Distillation {
  double alpha;  // (1 - alpha) cross-entropy + alpha temperature^2 divergence
  double temperature;
  Divergence divergence;
};

template <typename T>
struct VocabularyKernels {
  void (*cross_entropy)(VocabularyRows<T> rows, VocabularyLoss loss, double label_smoothing, int64_t begin,
                        int64_t end);
  // teacher (rows, teacher_columns); the divergence is over the columns that both have.
  void (*distillation)(VocabularyRows<T> rows, const T* teacher, int64_t teacher_columns, VocabularyLoss loss,
                       Distillation distillation, int64_t begin, int64_t end);
};

JENGA_VECTOR_TABLE(VocabularyKernels<float>, vocabulary_float)
JENGA_VECTOR_TABLE(VocabularyKernels<double>, vocabulary_double)

template <typename T>
const VocabularyKernels<T>& vocabulary_kernels();
template <>
inline const VocabularyKernels<float>& vocabulary_kernels() {
  return vocabulary_float();
}
template <>
inline const VocabularyKernels<double>& vocabulary_kernels() {
  return vocabulary_double();
}

}  // namespace jenga::core
