// What the ops need of tensors beyond torch's stable headers: cheap allocation, layout, and the choice of type.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <array>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include "jenga/check.h"

namespace jenga {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Reaches Python as MemoryError. torch's stable interface gives no words with a failure, so these are ours.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::string words) : words_(std::move(words)) {}
  const char* what() const noexcept override { return words_.c_str(); }

 private:
  std::string words_;
};

template <typename Sizes>
std::string shape_words(const Sizes& sizes) {
  std::string words;
  for (const int64_t size : sizes) {
    words += (words.empty() ? "" : ", ") + std::to_string(size);
  }
  return "(" + words + (sizes.size() == 1 ? ",)" : ")");
}

// Contiguous and uninitialised, on the device of `like`. Calls the C shim because the dispatcher's name lookup in
// torch::stable::new_empty costs more than the allocation, and an op allocates one prediction for each head.
template <size_t n_dims>
Tensor empty_like_device(const Tensor& like, std::array<int64_t, n_dims> sizes, ScalarType dtype) {
  std::array<int64_t, n_dims> strides{};
  int64_t stride = 1;
  for (size_t dim = n_dims; dim-- > 0;) {
    strides[dim] = stride;
    stride = checked_product(stride, sizes[dim] > 0 ? sizes[dim] : 1, "elements of a result");
  }
  const auto device = like.device();
  int32_t device_type = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  const auto dtype_code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle = nullptr;
  if (aoti_torch_empty_strided(n_dims, sizes.data(), strides.data(), dtype_code, device_type, device.index(),
                               &handle) != AOTI_TORCH_SUCCESS) [[unlikely]] {
    throw OutOfMemory("a result of shape " + shape_words(sizes) + " and dtype " + torch::headeronly::toString(dtype) +
                      " could not be allocated; give fewer rows at a time, or free memory");
  }
  return Tensor(handle);
}

// What `copy` makes of the tensor.
template <typename Copy>
Tensor copied(const Tensor& tensor, const Copy& copy) {
  try {
    return copy(tensor);
  } catch (const std::runtime_error&) {
    throw OutOfMemory("a copy of an argument of shape " + shape_words(tensor.sizes()) + " and dtype " +
                      torch::headeronly::toString(tensor.scalar_type()) +
                      " could not be allocated; give fewer rows at a time, or free memory");
  }
}

inline Tensor as_type(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype
             ? tensor
             : copied(tensor, [&](const Tensor& each) { return torch::stable::to(each, dtype); });
}

inline Tensor as_contiguous(const Tensor& tensor) {
  return tensor.is_contiguous() ? tensor
                                : copied(tensor, [](const Tensor& each) { return torch::stable::contiguous(each); });
}

// A contiguous tensor of the wanted type: the same tensor where it already is one.
inline Tensor as_contiguous(const Tensor& tensor, ScalarType dtype) { return as_contiguous(as_type(tensor, dtype)); }

inline bool is_floating(ScalarType dtype) {
  return dtype == ScalarType::Float || dtype == ScalarType::Double || dtype == ScalarType::Half ||
         dtype == ScalarType::BFloat16;
}

// The type sums and gradients are computed in: float64 for float64, float32 for everything narrower.
template <typename scalar_t>
struct Accumulate {
  using type = float;
  static constexpr ScalarType dtype = ScalarType::Float;
};
template <>
struct Accumulate<double> {
  using type = double;
  static constexpr ScalarType dtype = ScalarType::Double;
};

// Calls `function(scalar_t{})` with the C++ type of a floating dtype.
template <typename Function>
auto visit_floating(ScalarType dtype, const char* name, Function&& function) {
  switch (dtype) {
    case ScalarType::Float:
      return function(float{});
    case ScalarType::Double:
      return function(double{});
    case ScalarType::Half:
      return function(torch::headeronly::Half{});
    case ScalarType::BFloat16:
      return function(torch::headeronly::BFloat16{});
    default:
      fail(name, ": got dtype ", torch::headeronly::toString(dtype), "; allowed: float32, float64, float16, bfloat16");
  }
}

}  // namespace jenga
