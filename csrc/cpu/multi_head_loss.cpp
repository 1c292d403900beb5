// CPU implementation of jenga::multi_head_loss and its backward: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "core/segment_loss.h"
#include "jenga/head_arguments.h"

namespace {

using jenga::HeadArguments;
using jenga::OptionalTensors;
using jenga::ScalarType;
using jenga::Tensor;
namespace core = jenga::core;

// Rows a partial sum covers. Fixed, so that the result depends neither on the number of threads nor on their order.
constexpr int64_t chunk_rows = 128;
// Logits below which another thread costs more than it saves.
constexpr int64_t grain_logits = 16384;

int64_t chunk_count(int64_t n_rows) { return (n_rows + chunk_rows - 1) / chunk_rows; }

// Calls work(chunk, row_begin, row_end) for every chunk. `work` must not throw: it runs below a C interface.
template <typename Work>
void for_each_chunk(int64_t n_rows, int64_t n_columns, const Work& work) {
  const int64_t grain = std::max<int64_t>(1, grain_logits / std::max<int64_t>(1, chunk_rows * n_columns));
  torch::stable::parallel_for(0, chunk_count(n_rows), grain, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      work(chunk, chunk * chunk_rows, std::min(n_rows, (chunk + 1) * chunk_rows));
    }
  });
}

void raise_label_error(const core::LabelError& error, int64_t head, int64_t size) {
  jenga::check(error.row < 0, "targets[", head, "]: row ", error.row, " holds label ", error.label, "; heads[", head,
               "] allows 0 to ", size - 1, ", or ", core::ignored_label, " for no label");
}

template <typename acc_t>
void reduce_sums(const std::vector<core::SegmentSum>& sums, const std::vector<core::Segment<acc_t>>& heads,
                 int64_t n_chunks, acc_t* loss_sum, float* count) {
  const auto n_heads = static_cast<int64_t>(heads.size());
  for (int64_t head = 0; head < n_heads; ++head) {
    double loss = 0;
    int64_t n_labels = 0;
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      const core::SegmentSum& sum = sums[chunk * n_heads + head];
      raise_label_error(sum.error, head, heads[head].size);
      loss += sum.loss;
      n_labels += sum.count;
    }
    loss_sum[head] = static_cast<acc_t>(loss);
    count[head] = static_cast<float>(n_labels);
  }
}

template <typename logit_t>
void forward_rows(const Tensor& logits, const HeadArguments& arguments, const Tensor& loss_sum, const Tensor& count,
                  const std::vector<Tensor>& predictions) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  const auto segments = jenga::make_segments<acc_t>(arguments, jenga::Accumulate<logit_t>::dtype);
  const auto& heads = segments.heads;
  const size_t n_heads = heads.size();
  const int64_t n_rows = logits.size(0);
  const int64_t n_columns = logits.size(1);
  const auto* logits_ptr = static_cast<const logit_t*>(logits.const_data_ptr());
  std::vector<void*> prediction_ptrs;
  prediction_ptrs.reserve(n_heads);
  for (const Tensor& prediction : predictions) {
    prediction_ptrs.push_back(prediction.mutable_data_ptr());
  }
  std::vector<core::SegmentSum> sums(chunk_count(n_rows) * n_heads);
  for_each_chunk(n_rows, n_columns, [&](int64_t chunk, int64_t begin, int64_t end) {
    for (size_t head = 0; head < n_heads; ++head) {
      core::segment_forward(heads[head], logits_ptr, n_columns, begin, end, prediction_ptrs[head],
                            sums[chunk * n_heads + head]);
    }
  });
  reduce_sums(sums, heads, chunk_count(n_rows), static_cast<acc_t*>(loss_sum.mutable_data_ptr()),
              static_cast<float*>(count.mutable_data_ptr()));
}

template <typename logit_t>
void backward_rows(const Tensor& grad_loss_sum, const Tensor& logits, const HeadArguments& arguments,
                   const Tensor& dlogits) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  constexpr ScalarType acc_dtype = jenga::Accumulate<logit_t>::dtype;
  const auto segments = jenga::make_segments<acc_t>(arguments, acc_dtype);
  const auto& heads = segments.heads;
  const size_t n_heads = heads.size();
  const Tensor grad = jenga::as_contiguous(grad_loss_sum, acc_dtype);
  const int64_t n_rows = logits.size(0);
  const int64_t n_columns = logits.size(1);
  const auto* grad_ptr = static_cast<const acc_t*>(grad.const_data_ptr());
  const auto* logits_ptr = static_cast<const logit_t*>(logits.const_data_ptr());
  auto* dlogits_ptr = static_cast<logit_t*>(dlogits.mutable_data_ptr());
  std::vector<core::LabelError> errors(chunk_count(n_rows) * n_heads);
  for_each_chunk(n_rows, n_columns, [&](int64_t chunk, int64_t begin, int64_t end) {
    for (size_t head = 0; head < n_heads; ++head) {
      errors[chunk * n_heads + head] =
          core::segment_backward(heads[head], logits_ptr, n_columns, begin, end, grad_ptr[head], dlogits_ptr);
    }
  });
  for (size_t index = 0; index < errors.size(); ++index) {
    raise_label_error(errors[index], static_cast<int64_t>(index % n_heads), heads[index % n_heads].size);
  }
}

std::tuple<Tensor, Tensor, std::vector<Tensor>> multi_head_loss(const Tensor& logits,
                                                                const std::vector<Tensor>& targets,
                                                                const std::vector<int64_t>& kinds,
                                                                const std::vector<int64_t>& sizes,
                                                                const OptionalTensors& label_weights,
                                                                const std::vector<double>& label_smoothing) {
  return jenga::forward_op(logits, {targets, kinds, sizes, label_weights, label_smoothing},
                           [](auto zero, const auto&... tensors) { forward_rows<decltype(zero)>(tensors...); });
}

Tensor multi_head_loss_backward(const Tensor& grad_loss_sum, const Tensor& logits, const std::vector<Tensor>& targets,
                                const std::vector<int64_t>& kinds, const std::vector<int64_t>& sizes,
                                const OptionalTensors& label_weights, const std::vector<double>& label_smoothing) {
  return jenga::backward_op(grad_loss_sum, logits, {targets, kinds, sizes, label_weights, label_smoothing},
                            [](auto zero, const auto&... tensors) { backward_rows<decltype(zero)>(tensors...); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("multi_head_loss", TORCH_BOX(&multi_head_loss));
  m.impl("multi_head_loss_backward", TORCH_BOX(&multi_head_loss_backward));
}
