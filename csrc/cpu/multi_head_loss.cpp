// CPU implementation of jenga::multi_head_loss and its backward: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/head_rows.h"
#include "jenga/head_arguments.h"
#include "jenga/parallel.h"

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

// Parts that some rows are cut into, one a thread.
int64_t part_count(int64_t n_rows, int64_t n_columns) {
  const int64_t products = jenga::saturated_product(chunk_rows, std::max<int64_t>(1, n_columns));
  return jenga::part_count(chunk_count(n_rows), std::max<int64_t>(1, grain_logits / products));
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
                 const int64_t* row_tasks, int64_t begin, int64_t end) noexcept {
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

// The buffers of all threads, made before they run.
template <typename acc_t, typename logit_t>
class Buffers {
 public:
  Buffers(const std::vector<core::Segment<acc_t>>& heads, int64_t n_columns, int64_t n_parts) {
    int64_t widest = 0;
    for (const auto& head : heads) {
      widest = std::max(widest, head.size);
    }
    scratch_size_ = core::head_scratch(widest);
    // A cache line apart: two threads would take it from each other.
    stride_ = scratch_size_ + (widens ? chunk_rows * n_columns : 0) + 16;
    values_.resize(n_parts * stride_);
  }

  acc_t* scratch(int64_t part) noexcept { return values_.data() + part * stride_; }

  // The logits of a chunk in the type that is computed in.
  const acc_t* widen(int64_t part, const logit_t* from, int64_t n_values) noexcept {
    if constexpr (widens) {
      acc_t* to = scratch(part) + scratch_size_;
      std::transform(from, from + n_values, to, [](logit_t value) { return static_cast<acc_t>(value); });
      return to;
    } else {
      return from;
    }
  }

 private:
  static constexpr bool widens = !std::is_same_v<acc_t, logit_t>;

  int64_t scratch_size_ = 0;
  int64_t stride_ = 0;
  std::vector<acc_t> values_;
};

// The kernels of a type, found before threads run: looking for them may throw.
template <typename acc_t>
auto rows_kernel() {
  if constexpr (std::is_same_v<acc_t, double>) {
    return core::head_kernels().rows_double;
  } else {
    return core::head_kernels().rows_float;
  }
}

template <typename acc_t>
auto scale_kernel() {
  if constexpr (std::is_same_v<acc_t, double>) {
    return core::head_kernels().scale_double;
  } else {
    return core::head_kernels().scale_float;
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
  const int64_t n_parts = part_count(n_rows, n_columns);
  Buffers<acc_t, logit_t> buffers(heads, n_columns, n_parts);
  const auto rows_of_head = rows_kernel<acc_t>();
  jenga::for_parts(chunk_count(n_rows), n_parts, [&](int64_t part, int64_t chunk_begin, int64_t chunk_end) noexcept {
    for (int64_t chunk = chunk_begin; chunk < chunk_end; ++chunk) {
      const int64_t begin = chunk * chunk_rows;
      const int64_t count = std::min(n_rows - begin, chunk_rows);
      const core::HeadRows<acc_t> rows{
          .begin = begin,
          .count = count,
          .logits = buffers.widen(part, logits_ptr + begin * n_columns, count * n_columns),
          .logits_stride = n_columns,
          .row_tasks = segments.row_tasks == nullptr ? nullptr : segments.row_tasks + begin,
          .slope = slope == nullptr ? nullptr : slope + begin * n_columns,
          .slope_stride = n_columns,
          .scratch = buffers.scratch(part),
      };
      for (size_t head = 0; head < n_heads; ++head) {
        rows_of_head(heads[head], rows, sums[chunk * n_heads + head]);
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
  const auto scale = scale_kernel<acc_t>();
  const acc_t* const grads = column_grads.data();
  const int64_t n_rows = slope.size(0);
  const int64_t n_parts = part_count(n_rows, n_columns);
  // A row of each thread, where what it computes is not what it writes.
  std::vector<acc_t> scaled_rows(std::is_same_v<acc_t, logit_t> ? 0 : n_parts * n_columns);
  jenga::for_parts(chunk_count(n_rows), n_parts, [&](int64_t part, int64_t chunk_begin, int64_t chunk_end) noexcept {
    const int64_t begin = chunk_begin * chunk_rows;
    const int64_t end = std::min(n_rows, chunk_end * chunk_rows);
    if constexpr (std::is_same_v<acc_t, logit_t>) {
      scale(from + begin * n_columns, grads, end - begin, n_columns, to + begin * n_columns);
    } else {
      acc_t* const scaled = scaled_rows.data() + part * n_columns;
      for (int64_t row = begin; row < end; ++row) {
        scale(from + row * n_columns, grads, 1, n_columns, scaled);
        std::transform(scaled, scaled + n_columns, to + row * n_columns,
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
