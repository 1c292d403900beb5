// CUDA implementation of jenga::multi_head_loss and its backward. A group of lanes takes a row of a head, as many as
// the head has columns, at most a warp. A block's sums go to a buffer that a second kernel adds in a fixed order, so
// results repeat from run to run. Nothing waits for the device, so a CUDA graph can capture both ops.
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cuda/head_rows.cuh"
#include "jenga/head_arguments.h"

namespace {

using jenga::HeadResults;
using jenga::ScalarType;
using jenga::Segments;
using jenga::Tensor;
using jenga::cuda::HeadRow;
using jenga::cuda::LabelErrorSlot;
using jenga::cuda::RowSum;
using jenga::cuda::warp_size;
namespace core = jenga::core;

constexpr int warps_per_block = 8;
constexpr int threads_per_block = warp_size * warps_per_block;
constexpr int64_t max_row_blocks = 1024;
// Heads that one launch takes by value: a kernel's parameters are limited to 4 KiB.
constexpr int heads_per_launch = 32;
constexpr int heads_per_scale = 256;

template <typename acc_t>
struct SegmentBatch {
  core::Segment<acc_t> segments[heads_per_launch];
  int64_t first_head;
};

template <typename acc_t, typename logit_t>
struct Rows {
  const logit_t* logits;
  acc_t* slope;          // null: not wanted
  const int64_t* tasks;  // null: every row belongs to every head
  int64_t n_rows;
  int64_t n_columns;
};

__device__ int group_width(int64_t size) {
  int width = 1;
  while (width < size && width < warp_size) {
    width *= 2;
  }
  return width;
}

__device__ RowSum warp_sum(RowSum sum) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    sum.loss += __shfl_xor_sync(0xffffffffu, sum.loss, offset);
    sum.count += __shfl_xor_sync(0xffffffffu, sum.count, offset);
  }
  return sum;
}

// grid: (row blocks, heads of this launch). sums: (row blocks, n_heads).
template <typename acc_t, typename logit_t>
__global__ void forward_kernel(SegmentBatch<acc_t> batch, Rows<acc_t, logit_t> rows, int64_t n_heads, RowSum* sums,
                               LabelErrorSlot* errors) {
  const core::Segment<acc_t>& segment = batch.segments[blockIdx.y];
  const int64_t head = batch.first_head + blockIdx.y;
  const int width = group_width(segment.size);
  const int groups = threads_per_block / width;
  const int64_t step = int64_t(gridDim.x) * groups;
  RowSum sum{0, 0};
  // The whole block goes through the loop together.
  for (int64_t first = int64_t(blockIdx.x) * groups; first < rows.n_rows; first += step) {
    const int64_t wanted = first + threadIdx.x / width;
    const bool in_range = wanted < rows.n_rows;
    const int64_t row = in_range ? wanted : rows.n_rows - 1;
    const int64_t place = row * rows.n_columns + segment.offset;
    const HeadRow<acc_t, logit_t> view{segment,
                                       head,
                                       row,
                                       in_range,
                                       rows.tasks == nullptr || rows.tasks[row] == segment.task,
                                       static_cast<int>(threadIdx.x) % width,
                                       width,
                                       rows.logits + place,
                                       rows.slope == nullptr ? nullptr : rows.slope + place};
    if (core::picks_class(segment.kind)) {
      class_row(view, errors, sum);
    } else {
      value_row(view, sum);
    }
  }
  __shared__ RowSum warp_sums[warps_per_block];
  sum = warp_sum(sum);
  if (threadIdx.x % warp_size == 0) {
    warp_sums[threadIdx.x / warp_size] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    RowSum total{0, 0};
    for (const RowSum& part : warp_sums) {
      total.loss += part.loss;
      total.count += part.count;
    }
    sums[blockIdx.x * n_heads + head] = total;
  }
}

// One warp a head adds the block sums: always the same lanes and order, so the sum repeats.
template <typename acc_t>
__global__ void reduce_kernel(const RowSum* sums, int64_t n_row_blocks, int64_t n_heads, acc_t* loss_sum,
                              float* count) {
  RowSum sum{0, 0};
  for (int64_t block = threadIdx.x; block < n_row_blocks; block += warp_size) {
    sum.loss += sums[block * n_heads + blockIdx.x].loss;
    sum.count += sums[block * n_heads + blockIdx.x].count;
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) {
    loss_sum[blockIdx.x] = static_cast<acc_t>(sum.loss);
    count[blockIdx.x] = static_cast<float>(sum.count);
  }
}

struct HeadColumns {
  int64_t first_head;
  int64_t n_heads;
  int64_t begins[heads_per_scale + 1];
};

// grid: (columns of these heads / warp_size, row blocks); block: (warp_size, warps_per_block).
template <typename acc_t, typename grad_t>
__global__ void scale_kernel(HeadColumns columns, const acc_t* grad_loss_sum, const acc_t* slope, int64_t n_rows,
                             int64_t n_columns, grad_t* dlogits) {
  const int64_t column = columns.begins[0] + int64_t(blockIdx.x) * warp_size + threadIdx.x;
  if (column >= columns.begins[columns.n_heads]) {
    return;
  }
  int64_t head = 0;
  while (columns.begins[head + 1] <= column) {
    ++head;
  }
  const acc_t grad = grad_loss_sum[columns.first_head + head];
  for (int64_t row = int64_t(blockIdx.y) * warps_per_block + threadIdx.y; row < n_rows;
       row += int64_t(gridDim.y) * warps_per_block) {
    const acc_t value = slope[row * n_columns + column];
    // A slope of 0 stays 0: the mean over a head without labels makes `grad` NaN.
    dlogits[row * n_columns + column] = static_cast<grad_t>(value == 0 ? acc_t(0) : grad * value);
  }
}

cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.device().index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

unsigned row_blocks(int64_t n_rows) {
  return static_cast<unsigned>(
      std::clamp<int64_t>((n_rows + warps_per_block - 1) / warps_per_block, 1, max_row_blocks));
}

template <typename logit_t, typename acc_t>
void forward_rows(const Tensor& logits, const Segments<acc_t>& segments, const HeadResults& results,
                  LabelErrorSlot* errors) {
  const auto& heads = segments.heads;
  const auto n_heads = static_cast<int64_t>(heads.size());
  const unsigned n_row_blocks = row_blocks(logits.size(0));
  const cudaStream_t stream = current_stream(logits);
  const Tensor scratch = jenga::empty_like_device<1>(
      logits, {int64_t(n_row_blocks) * n_heads * static_cast<int64_t>(sizeof(RowSum))}, ScalarType::Byte);
  auto* sums = static_cast<RowSum*>(scratch.mutable_data_ptr());
  const Rows<acc_t, logit_t> rows{
      .logits = static_cast<const logit_t*>(logits.const_data_ptr()),
      .slope = results.slope.numel() > 0 ? static_cast<acc_t*>(results.slope.mutable_data_ptr()) : nullptr,
      .tasks = segments.row_tasks,
      .n_rows = logits.size(0),
      .n_columns = logits.size(1),
  };
  for (int64_t first = 0; first < n_heads; first += heads_per_launch) {
    const int64_t n_launched = std::min<int64_t>(heads_per_launch, n_heads - first);
    SegmentBatch<acc_t> batch{};
    batch.first_head = first;
    std::copy_n(heads.begin() + first, n_launched, batch.segments);
    const dim3 grid(n_row_blocks, static_cast<unsigned>(n_launched));
    forward_kernel<acc_t, logit_t><<<grid, threads_per_block, 0, stream>>>(batch, rows, n_heads, sums, errors);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  reduce_kernel<acc_t><<<static_cast<unsigned>(n_heads), warp_size, 0, stream>>>(
      sums, n_row_blocks, n_heads, static_cast<acc_t*>(results.loss_sum.mutable_data_ptr()),
      static_cast<float*>(results.count.mutable_data_ptr()));
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

template <typename logit_t>
void scale_rows(const Tensor& grad_loss_sum, const Tensor& slope, const std::vector<int64_t>& sizes,
                const Tensor& dlogits) {
  using acc_t = typename jenga::Accumulate<logit_t>::type;
  const cudaStream_t stream = current_stream(slope);
  const auto n_heads = static_cast<int64_t>(sizes.size());
  int64_t begin = 0;
  for (int64_t first = 0; first < n_heads; first += heads_per_scale) {
    HeadColumns columns{};
    columns.first_head = first;
    columns.n_heads = std::min<int64_t>(heads_per_scale, n_heads - first);
    columns.begins[0] = begin;
    for (int64_t head = 0; head < columns.n_heads; ++head) {
      begin += sizes[first + head];
      columns.begins[head + 1] = begin;
    }
    const int64_t n_launched = begin - columns.begins[0];
    const dim3 grid(static_cast<unsigned>((n_launched + warp_size - 1) / warp_size), row_blocks(slope.size(0)));
    const dim3 block(warp_size, warps_per_block);
    scale_kernel<acc_t, logit_t>
        <<<grid, block, 0, stream>>>(columns, static_cast<const acc_t*>(grad_loss_sum.const_data_ptr()),
                                     static_cast<const acc_t*>(slope.const_data_ptr()), slope.size(0), slope.size(1),
                                     static_cast<logit_t*>(dlogits.mutable_data_ptr()));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

jenga::HeadTensors multi_head_loss(const Tensor& logits, const std::vector<Tensor>& targets,
                                   const std::vector<int64_t>& kinds, const std::vector<int64_t>& sizes,
                                   const std::vector<Tensor>& label_weights, const std::vector<int64_t>& weighted,
                                   const std::vector<double>& parameters, const std::optional<Tensor>& rows,
                                   const std::vector<int64_t>& tasks, bool with_slope) {
  const torch::stable::accelerator::DeviceGuard guard(logits.device().index());
  LabelErrorSlot* errors = jenga::cuda::poll_label_errors(logits.device().index());
  return jenga::forward_op(logits,
                           {targets, kinds, sizes, label_weights, weighted, parameters, rows, tasks, with_slope},
                           [errors](auto zero, const auto&... rest) { forward_rows<decltype(zero)>(rest..., errors); });
}

Tensor multi_head_loss_backward(const Tensor& grad_loss_sum, const Tensor& slope, const std::vector<int64_t>& sizes,
                                const Tensor& like) {
  const torch::stable::accelerator::DeviceGuard guard(slope.device().index());
  jenga::cuda::poll_label_errors(slope.device().index());
  return jenga::backward_op(grad_loss_sum, slope, sizes, like,
                            [](auto zero, const auto&... rest) { scale_rows<decltype(zero)>(rest...); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CUDA, m) {
  m.impl("multi_head_loss", TORCH_BOX(&multi_head_loss));
  m.impl("multi_head_loss_backward", TORCH_BOX(&multi_head_loss_backward));
}
