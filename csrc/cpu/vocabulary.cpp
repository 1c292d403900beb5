// CPU implementation of the losses over one chunk of logits, in place: tensors in, the vector kernels called.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>

#include "core/vocabulary.h"
#include "jenga/arguments.h"
#include "jenga/parallel.h"

namespace {

using jenga::ScalarType;
using jenga::Tensor;
namespace core = jenga::core;

// Logits below which another thread costs more than it saves. Rows do not mix, so a result does not depend on it.
constexpr int64_t grain_logits = 32768;

void check_logits(const Tensor& logits, const char* name, int64_t n_rows, ScalarType dtype) {
  jenga::check(dtype == ScalarType::Float || dtype == ScalarType::Double, name, ": got dtype ",
               torch::headeronly::toString(dtype), "; allowed: float32, float64");
  jenga::check_dtype(logits, dtype, name);
  jenga::check_dims(logits, 2, name);
  jenga::check(logits.size(0) == n_rows && logits.size(1) > 0, name,
               ": allowed: a row for each label and at least one column");
  jenga::check(logits.is_contiguous(), name, ": allowed: contiguous logits, which are written in place");
}

int64_t row_count(const Tensor& targets) {
  jenga::check_dtype(targets, ScalarType::Long, "targets");
  jenga::check_dims(targets, 1, "targets");
  return targets.size(0);
}

// Calls run(kernels, rows, begin, end) with the kernels of the logits' dtype, over threads.
template <typename Run>
Tensor run_rows(const Tensor& logits, const Tensor& targets, const Run& run) {
  const int64_t n_rows = row_count(targets);
  const ScalarType dtype = logits.scalar_type();
  check_logits(logits, "logits", n_rows, dtype);
  const Tensor labels = jenga::as_contiguous(targets, ScalarType::Long);
  jenga::check_apart(logits, "logits", targets, "targets");
  const Tensor losses = jenga::empty_like_device<1>(logits, {n_rows}, dtype);
  const int64_t columns = logits.size(1);
  const auto* labels_ptr = static_cast<const int64_t*>(labels.const_data_ptr());
  const auto run_typed = [&]<typename T>(const core::VocabularyKernels<T>& kernels) {
    const core::VocabularyRows<T> rows{static_cast<T*>(logits.mutable_data_ptr()), columns, labels_ptr,
                                       static_cast<T*>(losses.mutable_data_ptr())};
    jenga::parallel_for(n_rows, std::max<int64_t>(1, grain_logits / columns),
                        [&](int64_t begin, int64_t end) noexcept { run(kernels, rows, begin, end); });
  };
  if (dtype == ScalarType::Double) {
    run_typed(core::vocabulary_kernels<double>());
  } else {
    run_typed(core::vocabulary_kernels<float>());
  }
  return losses;
}

Tensor vocabulary_cross_entropy_(const Tensor& logits, const Tensor& targets, int64_t ignore_index,
                                 double label_smoothing, double slope_scale, bool with_slope) {
  jenga::check(label_smoothing >= 0 && label_smoothing <= 1, "label_smoothing: got ", label_smoothing,
               "; allowed: 0 to 1");
  const core::VocabularyLoss loss{ignore_index, slope_scale, with_slope};
  return run_rows(logits, targets, [&](const auto& kernels, const auto& rows, int64_t begin, int64_t end) noexcept {
    kernels.cross_entropy(rows, loss, label_smoothing, begin, end);
  });
}

Tensor vocabulary_distillation_(const Tensor& logits, const Tensor& teacher_logits, const Tensor& targets, double alpha,
                                double temperature, int64_t divergence, int64_t ignore_index, double slope_scale,
                                bool with_slope) {
  jenga::check_range(divergence, 0, 2, "divergence");
  jenga::check(alpha >= 0 && alpha <= 1, "alpha: got ", alpha, "; allowed: 0 to 1");
  jenga::check(temperature > 0 && std::isfinite(temperature), "temperature: got ", temperature,
               "; allowed: above 0, finite");
  check_logits(teacher_logits, "teacher_logits", row_count(targets), logits.scalar_type());
  jenga::check_apart(logits, "logits", teacher_logits, "teacher_logits");
  const core::VocabularyLoss loss{ignore_index, slope_scale, with_slope};
  const core::Distillation distillation{alpha, temperature, static_cast<core::Divergence>(divergence)};
  const void* const teacher = teacher_logits.const_data_ptr();
  const int64_t teacher_columns = teacher_logits.size(1);
  return run_rows(logits, targets,
                  [&]<typename T>(const core::VocabularyKernels<T>& kernels, const core::VocabularyRows<T>& rows,
                                  int64_t begin, int64_t end) noexcept {
                    kernels.distillation(rows, static_cast<const T*>(teacher), teacher_columns, loss, distillation,
                                         begin, end);
                  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("vocabulary_cross_entropy_", TORCH_BOX(&vocabulary_cross_entropy_));
  m.impl("vocabulary_distillation_", TORCH_BOX(&vocabulary_distillation_));
}
