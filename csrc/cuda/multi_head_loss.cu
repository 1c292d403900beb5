// CUDA implementation of jenga::multi_head_loss and its backward: one warp a row and head, strided over the columns.
// A block's sums go to a buffer that a second kernel adds in a fixed order, so results repeat from run to run.
#undef NDEBUG  // The label check is a device-side assert, as torch's own: reporting it on the host would synchronise.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <cassert>
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

constexpr int warp_size = 32;
constexpr int warps_per_block = 8;
constexpr int threads_per_block = warp_size * warps_per_block;
constexpr int64_t max_row_blocks = 1024;
// Heads that one launch takes by value: a kernel's parameters are limited to 4 KiB.
constexpr int heads_per_launch = 32;

template <typename acc_t>
struct SegmentBatch {
  core::Segment<acc_t> segments[heads_per_launch];
  void* predictions[heads_per_launch];
  int64_t first_head;
};

struct BlockSum {
  double loss;
  int64_t count;
};

template <typename value_t>
__device__ value_t warp_sum(value_t value) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

// The first column that holds the largest value, as argmax on the CPU.
template <typename acc_t>
__device__ void warp_max(acc_t& value, int64_t& column) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    const acc_t other = __shfl_xor_sync(0xffffffffu, value, offset);
    const int64_t other_column = __shfl_xor_sync(0xffffffffu, column, offset);
    if (other > value || (other == value && other_column < column)) {
      value = other;
      column = other_column;
    }
  }
}

template <typename acc_t>
struct RowSoftmax {
  acc_t max;
  acc_t sum;
  int64_t argmax;
};

template <typename acc_t, typename logit_t>
__device__ RowSoftmax<acc_t> row_softmax(const logit_t* logits, int64_t size, int lane) {
  // Lanes beyond the row repeat its first column: a -inf in their place would make exp(-inf + inf) of a -inf row.
  acc_t max = static_cast<acc_t>(logits[0]);
  int64_t argmax = 0;
  for (int64_t column = lane; column < size; column += warp_size) {
    const auto value = static_cast<acc_t>(logits[column]);
    if (value > max) {
      max = value;
      argmax = column;
    }
  }
  warp_max(max, argmax);
  acc_t sum = 0;
  for (int64_t column = lane; column < size; column += warp_size) {
    sum += exp(static_cast<acc_t>(logits[column]) - max);
  }
  return {max, warp_sum(sum), argmax};
}

template <typename acc_t, typename logit_t>
__device__ void cross_entropy_forward(const core::Segment<acc_t>& segment, const logit_t* logits, int64_t row, int lane,
                                      int64_t* predictions, BlockSum& sum) {
  const auto softmax = row_softmax<acc_t>(logits, segment.size, lane);
  const int64_t label = segment.labels[row];
  assert(label == core::ignored_label || (label >= 0 && label < segment.size));
  const acc_t log_sum = softmax.max + log(softmax.sum);
  acc_t everywhere = 0;
  if (segment.label_smoothing != 0) {
    for (int64_t column = lane; column < segment.size; column += warp_size) {
      everywhere += core::label_weight(segment, column) * (log_sum - static_cast<acc_t>(logits[column]));
    }
    everywhere = warp_sum(everywhere);
  }
  if (lane != 0) {
    return;
  }
  predictions[row] = softmax.argmax;
  if (label != core::ignored_label) {
    const acc_t at_label = core::label_weight(segment, label) * (log_sum - static_cast<acc_t>(logits[label]));
    sum.loss += (1 - segment.label_smoothing) * at_label + segment.label_smoothing / segment.size * everywhere;
    sum.count += 1;
  }
}

template <typename acc_t, typename logit_t>
__device__ void values_forward(const core::Segment<acc_t>& segment, const logit_t* logits, int64_t row, int lane,
                               void* predictions, BlockSum& sum) {
  const bool is_bce = segment.kind == core::HeadKind::binary_cross_entropy;
  for (int64_t column = lane; column < segment.size; column += warp_size) {
    const int64_t place = row * segment.size + column;
    const auto value = static_cast<acc_t>(logits[column]);
    const acc_t target = segment.values[place];
    if (is_bce) {
      static_cast<bool*>(predictions)[place] = value > 0;
    } else {
      static_cast<logit_t*>(predictions)[place] = logits[column];
    }
    if (!isnan(target)) {
      const acc_t difference = value - target;
      sum.loss += is_bce ? core::binary_cross_entropy(value, target, core::label_weight(segment, column))
                         : difference * difference;
      sum.count += 1;
    }
  }
}

// grid: (row blocks, heads of this launch). sums: (row blocks, n_heads).
template <typename acc_t, typename logit_t>
__global__ void forward_kernel(SegmentBatch<acc_t> batch, const logit_t* logits, int64_t n_rows, int64_t n_columns,
                               int64_t n_heads, BlockSum* sums) {
  const int lane = threadIdx.x % warp_size;
  const int warp = threadIdx.x / warp_size;
  const core::Segment<acc_t>& segment = batch.segments[blockIdx.y];
  void* predictions = batch.predictions[blockIdx.y];
  BlockSum sum{0, 0};
  for (int64_t row = int64_t(blockIdx.x) * warps_per_block + warp; row < n_rows;
       row += int64_t(gridDim.x) * warps_per_block) {
    const logit_t* row_logits = logits + row * n_columns + segment.offset;
    if (segment.kind == core::HeadKind::cross_entropy) {
      cross_entropy_forward(segment, row_logits, row, lane, static_cast<int64_t*>(predictions), sum);
    } else {
      values_forward(segment, row_logits, row, lane, predictions, sum);
    }
  }
  __shared__ BlockSum warp_sums[warps_per_block];
  sum = {warp_sum(sum.loss), warp_sum(sum.count)};
  if (lane == 0) {
    warp_sums[warp] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    BlockSum total{0, 0};
    for (const BlockSum& part : warp_sums) {
      total.loss += part.loss;
      total.count += part.count;
    }
    sums[blockIdx.x * n_heads + batch.first_head + blockIdx.y] = total;
  }
}

// One warp a head adds the block sums: always the same lanes and order, so the float sum repeats.
template <typename acc_t>
__global__ void reduce_kernel(const BlockSum* sums, int64_t n_row_blocks, int64_t n_heads, acc_t* loss_sum,
                              float* count) {
  BlockSum sum{0, 0};
  for (int64_t block = threadIdx.x; block < n_row_blocks; block += warp_size) {
    sum.loss += sums[block * n_heads + blockIdx.x].loss;
    sum.count += sums[block * n_heads + blockIdx.x].count;
  }
  sum = {warp_sum(sum.loss), warp_sum(sum.count)};
  if (threadIdx.x == 0) {
    loss_sum[blockIdx.x] = static_cast<acc_t>(sum.loss);
    count[blockIdx.x] = static_cast<float>(sum.count);
  }
}

template <typename acc_t, typename logit_t>
__device__ void cross_entropy_backward(const core::Segment<acc_t>& segment, const logit_t* logits, int64_t label,
                                       int lane, acc_t grad, logit_t* dlogits) {
  const auto softmax = row_softmax<acc_t>(logits, segment.size, lane);
  acc_t weight_total = 0;
  for (int64_t column = lane; column < segment.size; column += warp_size) {
    weight_total += core::label_weight(segment, column);
  }
  const acc_t uniform = segment.label_smoothing / segment.size;
  const acc_t at_label = (1 - segment.label_smoothing) * core::label_weight(segment, label);
  const acc_t p_scale = at_label + uniform * warp_sum(weight_total);
  for (int64_t column = lane; column < segment.size; column += warp_size) {
    const acc_t p = exp(static_cast<acc_t>(logits[column]) - softmax.max) / softmax.sum;
    const acc_t y = (column == label ? at_label : acc_t(0)) + uniform * core::label_weight(segment, column);
    dlogits[column] = static_cast<logit_t>(grad * (p_scale * p - y));
  }
}

template <typename acc_t>
__device__ acc_t value_slope(const core::Segment<acc_t>& segment, acc_t value, acc_t target, int64_t column) {
  return segment.kind == core::HeadKind::squared_error
             ? 2 * (value - target)
             : core::binary_cross_entropy_grad(value, target, core::label_weight(segment, column));
}

template <typename acc_t, typename logit_t>
__global__ void backward_kernel(SegmentBatch<acc_t> batch, const acc_t* grad_loss_sum, const logit_t* logits,
                                int64_t n_rows, int64_t n_columns, logit_t* dlogits) {
  const int lane = threadIdx.x % warp_size;
  const core::Segment<acc_t>& segment = batch.segments[blockIdx.y];
  const acc_t grad = grad_loss_sum[batch.first_head + blockIdx.y];
  for (int64_t row = int64_t(blockIdx.x) * warps_per_block + threadIdx.x / warp_size; row < n_rows;
       row += int64_t(gridDim.x) * warps_per_block) {
    const int64_t first = row * n_columns + segment.offset;
    const bool is_ce = segment.kind == core::HeadKind::cross_entropy;
    const int64_t label = is_ce ? segment.labels[row] : core::ignored_label;
    assert(label == core::ignored_label || (label >= 0 && label < segment.size));
    if (label != core::ignored_label) {
      cross_entropy_backward(segment, logits + first, label, lane, grad, dlogits + first);
      continue;
    }
    for (int64_t column = lane; column < segment.size; column += warp_size) {
      const bool masked = is_ce || isnan(segment.values[row * segment.size + column]);
      acc_t slope = 0;
      if (!masked) {
        slope = grad * value_slope(segment, static_cast<acc_t>(logits[first + column]),
                                   segment.values[row * segment.size + column], column);
      }
      dlogits[first + column] = static_cast<logit_t>(slope);
    }
  }
}

cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.device().index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

int64_t row_blocks(int64_t n_rows) {
  return std::clamp<int64_t>((n_rows + warps_per_block - 1) / warps_per_block, 1, max_row_blocks);
}

// Calls launch(batch, grid) for every `heads_per_launch` heads.
template <typename acc_t, typename Launch>
void for_each_batch(const std::vector<core::Segment<acc_t>>& heads, const std::vector<Tensor>& predictions,
                    int64_t n_rows, const Launch& launch) {
  for (size_t first = 0; first < heads.size(); first += heads_per_launch) {
    const size_t n_heads = std::min<size_t>(heads_per_launch, heads.size() - first);
    SegmentBatch<acc_t> batch{};
    batch.first_head = static_cast<int64_t>(first);
    for (size_t head = 0; head < n_heads; ++head) {
      batch.segments[head] = heads[first + head];
      batch.predictions[head] = predictions.empty() ? nullptr : predictions[first + head].mutable_data_ptr();
    }
    launch(batch, dim3(static_cast<unsigned>(row_blocks(n_rows)), static_cast<unsigned>(n_heads)));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

template <typename logit_t>
void forward_rows(const Tensor& logits, const HeadArguments& arguments, const Tensor& loss_sum, const Tensor& count,
                  const std::vector<Tensor>& predictions) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  const auto segments = jenga::make_segments<acc_t>(arguments, jenga::Accumulate<logit_t>::dtype);
  const auto n_heads = static_cast<int64_t>(segments.heads.size());
  const int64_t n_rows = logits.size(0);
  const cudaStream_t stream = current_stream(logits);
  const int64_t n_row_blocks = row_blocks(n_rows);
  const Tensor scratch = jenga::empty_like_device<1>(
      logits, {n_row_blocks * n_heads * static_cast<int64_t>(sizeof(BlockSum))}, ScalarType::Byte);
  auto* sums = static_cast<BlockSum*>(scratch.mutable_data_ptr());
  for_each_batch<acc_t>(segments.heads, predictions, n_rows, [&](const SegmentBatch<acc_t>& batch, dim3 grid) {
    forward_kernel<acc_t, logit_t><<<grid, threads_per_block, 0, stream>>>(
        batch, static_cast<const logit_t*>(logits.const_data_ptr()), n_rows, logits.size(1), n_heads, sums);
  });
  reduce_kernel<acc_t><<<static_cast<unsigned>(n_heads), warp_size, 0, stream>>>(
      sums, n_row_blocks, n_heads, static_cast<acc_t*>(loss_sum.mutable_data_ptr()),
      static_cast<float*>(count.mutable_data_ptr()));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename logit_t>
void backward_rows(const Tensor& grad_loss_sum, const Tensor& logits, const HeadArguments& arguments,
                   const Tensor& dlogits) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  constexpr ScalarType acc_dtype = jenga::Accumulate<logit_t>::dtype;
  const auto segments = jenga::make_segments<acc_t>(arguments, acc_dtype);
  const Tensor grad = jenga::as_contiguous(grad_loss_sum, acc_dtype);
  const int64_t n_rows = logits.size(0);
  const cudaStream_t stream = current_stream(logits);
  for_each_batch<acc_t>(segments.heads, {}, n_rows, [&](const SegmentBatch<acc_t>& batch, dim3 grid) {
    backward_kernel<acc_t, logit_t><<<grid, threads_per_block, 0, stream>>>(
        batch, static_cast<const acc_t*>(grad.const_data_ptr()), static_cast<const logit_t*>(logits.const_data_ptr()),
        n_rows, logits.size(1), static_cast<logit_t*>(dlogits.mutable_data_ptr()));
  });
}

std::tuple<Tensor, Tensor, std::vector<Tensor>> multi_head_loss(const Tensor& logits,
                                                                const std::vector<Tensor>& targets,
                                                                const std::vector<int64_t>& kinds,
                                                                const std::vector<int64_t>& sizes,
                                                                const OptionalTensors& label_weights,
                                                                const std::vector<double>& label_smoothing) {
  const torch::stable::accelerator::DeviceGuard guard(logits.device().index());
  return jenga::forward_op(logits, {targets, kinds, sizes, label_weights, label_smoothing},
                           [](auto zero, const auto&... tensors) { forward_rows<decltype(zero)>(tensors...); });
}

Tensor multi_head_loss_backward(const Tensor& grad_loss_sum, const Tensor& logits, const std::vector<Tensor>& targets,
                                const std::vector<int64_t>& kinds, const std::vector<int64_t>& sizes,
                                const OptionalTensors& label_weights, const std::vector<double>& label_smoothing) {
  const torch::stable::accelerator::DeviceGuard guard(logits.device().index());
  return jenga::backward_op(grad_loss_sum, logits, {targets, kinds, sizes, label_weights, label_smoothing},
                            [](auto zero, const auto&... tensors) { backward_rows<decltype(zero)>(tensors...); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CUDA, m) {
  m.impl("multi_head_loss", TORCH_BOX(&multi_head_loss));
  m.impl("multi_head_loss_backward", TORCH_BOX(&multi_head_loss_backward));
}
