// CPU implementation of jenga::multi_head_loss and its backward: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/head_rows.h"
#include "jenga/head_arguments.h"

namespace {

using jenga::HeadResults;
using jenga::Segments;
using jenga::Tensor;
namespace core = jenga::core;

// Rows a partial sum covers. Fixed, so that the result depends neither on the number of threads nor on their order.
constexpr int64_t chunk_rows = 128;
// Logits below which another thread costs more than it saves.
constexpr int64_t grain_logits = 16384;

int64_t chunk_count(int64_t n_rows) { return (n_rows + chunk_rows - 1) / chunk_rows; }

// Calls work(chunk_begin, chunk_end) for ranges of chunks. `work` must not throw: it runs below a C interface.
template <typename Work>
void for_chunks(int64_t n_rows, int64_t n_columns, const Work& work) {
  const int64_t grain = std::max<int64_t>(1, grain_logits / std::max<int64_t>(1, chunk_rows * n_columns));
  const int64_t n_chunks = chunk_count(n_rows);
  if (n_chunks <= grain) {
    return work(0, n_chunks);
  }
  torch::stable::parallel_for(0, n_chunks, grain, work);
}

template <typename acc_t>
void reduce_sums(const std::vector<core::SegmentSum>& sums, const std::vector<core::Segment<acc_t>>& heads,
                 int64_t n_chunks, const HeadResults& results) {
  const auto n_heads = static_cast<int64_t>(heads.size());
  auto* loss_sum = static_cast<acc_t*>(results.loss_sum.mutable_data_ptr());
  auto* count = static_cast<float*>(results.count.mutable_data_ptr());
  for (int64_t head = 0; head < n_heads; ++head) {
    double loss = 0;
    int64_t n_labels = 0;
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
      const core::SegmentSum& sum = sums[chunk * n_heads + head];
      jenga::check(sum.error.row < 0, "targets[", head, "]: row ", sum.error.row, " holds label ", sum.error.label,
                   "; heads[", head, "] allows 0 to ", heads[head].size - 1, ", or ", core::ignored_label,
                   " for no label");
      loss += sum.loss;
      n_labels += sum.count;
    }
    loss_sum[head] = static_cast<acc_t>(loss);
    count[head] = static_cast<float>(n_labels);
  }
}

// The predictions of a squared-error head are its logits, unless a row is of another task.
template <typename acc_t, typename logit_t>
void copy_values(const core::Segment<acc_t>& segment, const logit_t* logits, int64_t n_columns,
                 const int64_t* row_tasks, int64_t begin, int64_t end) {
  const auto missing = static_cast<logit_t>(std::numeric_limits<acc_t>::quiet_NaN());
  for (int64_t row = begin; row < end; ++row) {
    const logit_t* from = logits + row * n_columns + segment.offset;
    logit_t* to = static_cast<logit_t*>(segment.copies) + row * segment.copies_stride;
    if (row_tasks == nullptr || row_tasks[row] == segment.task) {
      std::copy_n(from, segment.size, to);
    } else {
      std::fill_n(to, segment.size, missing);
    }
  }
}

// One thread's buffers.
template <typename acc_t, typename logit_t>
struct Buffers {
  std::vector<acc_t> scratch;
  std::vector<acc_t> logits;  // of a chunk, where the logits are narrower than acc_t

  Buffers(const std::vector<core::Segment<acc_t>>& heads, int64_t n_columns) {
    int64_t widest = 0;
    for (const auto& head : heads) {
      widest = std::max(widest, head.size);
    }
    scratch.resize(core::head_scratch(widest));
    if constexpr (!std::is_same_v<acc_t, logit_t>) {
      logits.resize(chunk_rows * n_columns);
    }
  }

  const acc_t* widen(const logit_t* from, int64_t n_values) {
    if constexpr (std::is_same_v<acc_t, logit_t>) {
      return from;
    } else {
      std::transform(from, from + n_values, logits.begin(), [](logit_t value) { return static_cast<acc_t>(value); });
      return logits.data();
    }
  }
};

template <typename acc_t>
void run_kernel(const core::Segment<acc_t>& segment, const core::HeadRows<acc_t>& rows, core::SegmentSum& sum) {
  if constexpr (std::is_same_v<acc_t, double>) {
    core::head_kernels().rows_double(segment, rows, sum);
  } else {
    core::head_kernels().rows_float(segment, rows, sum);
  }
}

template <typename logit_t, typename acc_t>
void forward_rows(const Tensor& logits, const Segments<acc_t>& segments, const HeadResults& results) {
  const auto& heads = segments.heads;
  const size_t n_heads = heads.size();
  const int64_t n_rows = logits.size(0);
  const int64_t n_columns = logits.size(1);
  const auto* logits_ptr = static_cast<const logit_t*>(logits.const_data_ptr());
  auto* slope = results.slope.numel() > 0 ? static_cast<acc_t*>(results.slope.mutable_data_ptr()) : nullptr;
  std::vector<core::SegmentSum> sums(chunk_count(n_rows) * n_heads);
  for_chunks(n_rows, n_columns, [&](int64_t chunk_begin, int64_t chunk_end) {
    Buffers<acc_t, logit_t> buffers(heads, n_columns);
    for (int64_t chunk = chunk_begin; chunk < chunk_end; ++chunk) {
      const int64_t begin = chunk * chunk_rows;
      const int64_t count = std::min(n_rows - begin, chunk_rows);
      const core::HeadRows<acc_t> rows{
          .begin = begin,
          .count = count,
          .logits = buffers.widen(logits_ptr + begin * n_columns, count * n_columns),
          .logits_stride = n_columns,
          .row_tasks = segments.row_tasks == nullptr ? nullptr : segments.row_tasks + begin,
          .slope = slope == nullptr ? nullptr : slope + begin * n_columns,
          .slope_stride = n_columns,
          .scratch = buffers.scratch.data(),
      };
      for (size_t head = 0; head < n_heads; ++head) {
        run_kernel(heads[head], rows, sums[chunk * n_heads + head]);
        if (heads[head].copies != nullptr) {
          copy_values(heads[head], logits_ptr, n_columns, segments.row_tasks, begin, begin + count);
        }
      }
    }
  });
  reduce_sums(sums, heads, chunk_count(n_rows), results);
}

template <typename logit_t>
void scale_rows(const Tensor& grad_loss_sum, const Tensor& slope, const std::vector<int64_t>& sizes,
                const Tensor& dlogits) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  const auto* head_grads = static_cast<const acc_t*>(grad_loss_sum.const_data_ptr());
  std::vector<acc_t> column_grads;
  for (size_t head = 0; head < sizes.size(); ++head) {
    column_grads.insert(column_grads.end(), sizes[head], head_grads[head]);
  }
  const int64_t n_columns = slope.size(1);
  const auto* from = static_cast<const acc_t*>(slope.const_data_ptr());
  auto* to = static_cast<logit_t*>(dlogits.mutable_data_ptr());
  const auto scale = [&](int64_t row, int64_t n_rows, acc_t* scaled) {
    if constexpr (std::is_same_v<acc_t, double>) {
      core::head_kernels().scale_double(from + row * n_columns, column_grads.data(), n_rows, n_columns, scaled);
    } else {
      core::head_kernels().scale_float(from + row * n_columns, column_grads.data(), n_rows, n_columns, scaled);
    }
  };
  for_chunks(slope.size(0), n_columns, [&](int64_t chunk_begin, int64_t chunk_end) {
    const int64_t begin = chunk_begin * chunk_rows;
    const int64_t end = std::min(slope.size(0), chunk_end * chunk_rows);
    if constexpr (std::is_same_v<acc_t, logit_t>) {
      scale(begin, end - begin, to + begin * n_columns);
    } else {
      std::vector<acc_t> scaled(n_columns);
      for (int64_t row = begin; row < end; ++row) {
        scale(row, 1, scaled.data());
        std::transform(scaled.begin(), scaled.end(), to + row * n_columns,
                       [](acc_t value) { return static_cast<logit_t>(value); });
      }
    }
  });
}

jenga::HeadTensors multi_head_loss(const Tensor& logits, const std::vector<Tensor>& targets,
                                   const std::vector<int64_t>& kinds, const std::vector<int64_t>& sizes,
                                   const std::vector<Tensor>& label_weights, const std::vector<int64_t>& weighted,
                                   const std::vector<double>& parameters, const std::optional<Tensor>& rows,
                                   const std::vector<int64_t>& tasks, bool with_slope) {
  return jenga::forward_op(logits,
                           {targets, kinds, sizes, label_weights, weighted, parameters, rows, tasks, with_slope},
                           [](auto zero, const auto&... rest) { forward_rows<decltype(zero)>(rest...); });
}

Tensor multi_head_loss_backward(const Tensor& grad_loss_sum, const Tensor& slope, const std::vector<int64_t>& sizes,
                                const Tensor& like) {
  return jenga::backward_op(grad_loss_sum, slope, sizes, like,
                            [](auto zero, const auto&... rest) { scale_rows<decltype(zero)>(rest...); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("multi_head_loss", TORCH_BOX(&multi_head_loss));
  m.impl("multi_head_loss_backward", TORCH_BOX(&multi_head_loss_backward));
}
