// What every op asks of the tensors it is given. `name` is what messages call one, in as many parts as it takes; they
// are put together only once there is something to say, since an op checks all of its arguments at every call.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "jenga/check.h"
#include "jenga/tensors.h"

namespace jenga {

template <typename... Name>
void check_dtype(const Tensor& tensor, ScalarType allowed, const Name&... name) {
  if (tensor.scalar_type() != allowed) [[unlikely]] {
    fail(name..., ": got dtype ", torch::headeronly::toString(tensor.scalar_type()),
         "; allowed: ", torch::headeronly::toString(allowed));
  }
}

template <typename... Name>
void check_floating(const Tensor& tensor, const Name&... name) {
  if (!is_floating(tensor.scalar_type())) [[unlikely]] {
    fail(name..., ": got dtype ", torch::headeronly::toString(tensor.scalar_type()),
         "; allowed: float32, float64, float16, bfloat16");
  }
}

template <typename... Name>
void check_dims(const Tensor& tensor, int64_t n_dims, const Name&... name) {
  if (tensor.dim() != n_dims) [[unlikely]] {
    fail(name..., ": got ", tensor.dim(), " dimensions; allowed: ", n_dims);
  }
}

template <typename... Name>
void check_shape(const Tensor& tensor, std::initializer_list<int64_t> allowed, const Name&... name) {
  const auto sizes = tensor.sizes();
  if (!std::equal(allowed.begin(), allowed.end(), sizes.begin(), sizes.end())) [[unlikely]] {
    fail(name..., ": got shape ", shape_words(sizes), "; allowed: ", shape_words(allowed));
  }
}

template <typename... Name>
void check_device(const Tensor& tensor, const Tensor& like, const Name&... name) {
  if (tensor.device() != like.device()) [[unlikely]] {
    fail(name..., ": on another device than the other tensors; move one");
  }
}

// The numbers from `low` to `high`.
template <typename... Name>
void check_range(int64_t value, int64_t low, int64_t high, const Name&... name) {
  if (value < low || value > high) [[unlikely]] {
    fail(name..., ": got ", value, "; allowed: ", low, " to ", high);
  }
}

// Bytes from a tensor's first element to behind its last; of no tensor without elements.
inline int64_t span_bytes(const Tensor& tensor) {
  int64_t last = 0;
  for (int64_t dim = 0; dim < tensor.dim(); ++dim) {
    last += (tensor.size(dim) - 1) * tensor.stride(dim);
  }
  return (last + 1) * static_cast<int64_t>(tensor.element_size());
}

// What an op writes while it reads another must not be the same memory: labels and offsets that were checked would
// change. (The pointer for writing is asked for first: it ends a lazy copy that shares its memory.)
inline void check_apart(const Tensor& written, const char* written_name, const Tensor& read, const char* read_name) {
  const auto* const to = static_cast<const char*>(written.mutable_data_ptr());
  const auto* const from = static_cast<const char*>(read.const_data_ptr());
  const bool is_apart =
      written.numel() == 0 || read.numel() == 0 || to + span_bytes(written) <= from || from + span_bytes(read) <= to;
  check(is_apart, written_name, ": shares memory with ", read_name, ", which is read while it is written; clone one");
}

}  // namespace jenga
