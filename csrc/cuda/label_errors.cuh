// Labels out of range on a CUDA device. Nobody waits for a kernel to hear of them: the kernel leaves a record in host
// memory that the device can write, and a later call on that device raises it.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/macros.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "core/heads.h"
#include "jenga/check.h"

namespace jenga::cuda {

// In pinned host memory. Every word has one writer, the device or the host, since atomic operations do not span both.
struct LabelErrorSlot {
  // By the device: how many errors it has written here, and the last of them.
  unsigned long long reported;
  int64_t head;
  int64_t row;
  int64_t label;
  int64_t size;
  // By the host: how many of them it has raised.
  unsigned long long acknowledged;
};

// How many errors threads of this device have taken upon them to write: a new one only once the last was raised.
static __device__ unsigned long long claimed_label_errors = 0;

__device__ inline void report_label(volatile LabelErrorSlot* slot, int64_t head, int64_t row, int64_t label,
                                    int64_t size) {
  const unsigned long long acknowledged = slot->acknowledged;
  if (atomicCAS(&claimed_label_errors, acknowledged, acknowledged + 1) != acknowledged) {
    return;
  }
  slot->head = head;
  slot->row = row;
  slot->label = label;
  slot->size = size;
  __threadfence_system();
  slot->reported = acknowledged + 1;
}

// Allocated once for each device and never freed: kernels may still run when the process ends.
inline LabelErrorSlot* allocate_label_error_slot() {
  // Allowed while a graph is captured: the slot is not part of what is captured.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  STD_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode));
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, sizeof(LabelErrorSlot), cudaHostAllocMapped | cudaHostAllocPortable);
  STD_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode));
  STD_CUDA_CHECK(error);
  return new (memory) LabelErrorSlot{};
}

// The slot of a device, at an address that holds there too. Raises what an earlier call left in it.
inline LabelErrorSlot* poll_label_errors(int32_t device) {
  static std::mutex mutex;
  static std::map<int32_t, LabelErrorSlot*> slots;
  const std::lock_guard<std::mutex> lock(mutex);
  LabelErrorSlot*& slot = slots[device];
  if (slot == nullptr) {
    slot = allocate_label_error_slot();
  }
  const volatile LabelErrorSlot& seen = *slot;
  if (const unsigned long long reported = seen.reported; reported != slot->acknowledged) {
    std::atomic_thread_fence(std::memory_order_acquire);
    const int64_t head = seen.head;
    const int64_t row = seen.row;
    const int64_t label = seen.label;
    const int64_t size = seen.size;
    static_cast<volatile LabelErrorSlot*>(slot)->acknowledged = reported;
    fail("targets[", head, "]: row ", row, " holds label ", label, "; heads[", head, "] allows 0 to ", size - 1,
         ", or ", core::ignored_label, " for no label (in an earlier call on cuda:", device,
         ", whose loss_sum of this head is NaN; it is raised by a later call because a check would wait for the "
         "device)");
  }
  return slot;
}

}  // namespace jenga::cuda
