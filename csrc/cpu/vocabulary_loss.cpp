// CPU implementation of the losses over one chunk of logits, in place: tensors in, the vector kernels called.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "core/vocabulary_loss.h"
#include "jenga/tensors.h"

namespace {

using jenga::ScalarType;
using jenga::Tensor;
namespace core = jenga::core;

// Logits below which another thread costs more than it saves. Rows do not mix, so a result does not depend on it.
constexpr int64_t grain_logits = 32768;

void check_matrix(const Tensor& logits, const char* name, int64_t n_rows, ScalarType dtype) {
  jenga::check(dtype == ScalarType::Float || dtype == ScalarType::Double, name, ": got dtype ",
               torch::headeronly::toString(dtype), "; allowed: float32, float64");
  jenga::check(logits.scalar_type() == dtype, name, ": got dtype ", torch::headeronly::toString(logits.scalar_type()),
               "; allowed: the dtype of the other logits, ", torch::headeronly::toString(dtype));
  jenga::check(logits.dim() == 2 && logits.size(0) == n_rows && logits.size(1) > 0, name,
               ": allowed: a row for each label and at least one column");
  jenga::check(logits.is_contiguous(), name, ": allowed: contiguous logits, which are written in place");
}

// Calls run(kernels, rows, begin, end) with the kernels of the logits' dtype, over threads.
template <typename Run>
Tensor run_rows(const Tensor& logits, const Tensor& targets, const Run& run) {
  jenga::check(targets.scalar_type() == ScalarType::Long && targets.dim() == 1, "targets: allowed: int64 (M,)");
  const int64_t n_rows = targets.size(0);
  const ScalarType dtype = logits.scalar_type();
  check_matrix(logits, "logits", n_rows, dtype);
  const Tensor labels = jenga::as_contiguous(targets, ScalarType::Long);
  const Tensor losses = jenga::empty_like_device<1>(logits, {n_rows}, dtype);
  const int64_t columns = logits.size(1);
  const auto* labels_ptr = static_cast<const int64_t*>(labels.const_data_ptr());
  const auto run_typed = [&]<typename T>(const core::VocabularyKernels<T>& kernels) {
    const core::VocabularyRows<T> rows{static_cast<T*>(logits.mutable_data_ptr()), columns, labels_ptr,
                                       static_cast<T*>(losses.mutable_data_ptr())};
    torch::stable::parallel_for(0, n_rows, std::max<int64_t>(1, grain_logits / columns),
                                [&](int64_t begin, int64_t end) { run(kernels, rows, begin, end); });
  };
  const core::VocabularyLossKernels& kernels = core::vocabulary_loss_kernels();
  if (dtype == ScalarType::Double) {
    run_typed(kernels.float64);
  } else {
    run_typed(kernels.float32);
  }
  return losses;
}

Tensor vocabulary_cross_entropy_(const Tensor& logits, const Tensor& targets, int64_t ignore_index,
                                 double label_smoothing, double slope_scale, bool with_slope) {
  const core::VocabularyLoss loss{ignore_index, slope_scale, with_slope};
  return run_rows(logits, targets, [&](const auto& kernels, const auto& rows, int64_t begin, int64_t end) {
    kernels.cross_entropy(rows, loss, label_smoothing, begin, end);
  });
}

Tensor vocabulary_distillation_(const Tensor& logits, const Tensor& teacher_logits, const Tensor& targets, double alpha,
                                double temperature, int64_t divergence, int64_t ignore_index, double slope_scale,
                                bool with_slope) {
  jenga::check(divergence >= 0 && divergence <= 2, "divergence: got ", divergence, "; allowed: 0 to 2");
  jenga::check(temperature > 0, "temperature: got ", temperature, "; allowed: above 0");
  check_matrix(teacher_logits, "teacher_logits", targets.size(0), logits.scalar_type());
  const core::VocabularyLoss loss{ignore_index, slope_scale, with_slope};
  const core::Distillation distillation{alpha, temperature, static_cast<core::Divergence>(divergence)};
  return run_rows(logits, targets,
                  [&]<typename T>(const core::VocabularyKernels<T>& kernels, const core::VocabularyRows<T>& rows,
                                  int64_t begin, int64_t end) {
                    kernels.distillation(rows, static_cast<const T*>(teacher_logits.const_data_ptr()),
                                         teacher_logits.size(1), loss, distillation, begin, end);
                  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("vocabulary_cross_entropy_", TORCH_BOX(&vocabulary_cross_entropy_));
  m.impl("vocabulary_distillation_", TORCH_BOX(&vocabulary_distillation_));
}
