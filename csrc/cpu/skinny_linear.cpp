// CPU implementation of jenga::skinny_linear and its backward, float32: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "core/skinny_linear.h"
#include "jenga/arguments.h"
#include "jenga/products.h"
#include "jenga/tensors.h"

namespace {

using jenga::ScalarType;
using jenga::Tensor;

const auto& kernels() { return jenga::core::skinny_linear_kernels<float>(); }

void check_matrix(const Tensor& tensor, const char* name) {
  jenga::check_dtype(tensor, ScalarType::Float, name);
  jenga::check_dims(tensor, 2, name);
}

const float* values(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

Tensor skinny_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  check_matrix(x, "x");
  check_matrix(weight, "weight");
  const int64_t n_outputs = weight.size(0);
  const int64_t n_inputs = weight.size(1);
  jenga::check_shape(x, {x.size(0), n_inputs}, "x");
  std::optional<Tensor> dense_bias;
  if (bias) {
    jenga::check_dtype(*bias, ScalarType::Float, "bias");
    jenga::check_shape(*bias, {n_outputs}, "bias");
    dense_bias = jenga::as_contiguous(*bias, ScalarType::Float);
  }
  const Tensor rows = jenga::with_dense_rows(x);
  const Tensor dense_weight = jenga::as_contiguous(weight, ScalarType::Float);
  Tensor y = jenga::empty_like_device<2>(x, {x.size(0), n_outputs}, ScalarType::Float);
  if (y.numel() == 0) {
    return y;
  }
  const auto from = jenga::matrix<float>(rows);
  const auto by = jenga::matrix<float>(dense_weight);
  const auto to = jenga::mutable_matrix<float>(y);
  const float* const added = bias ? values(*dense_bias) : nullptr;
  jenga::for_units(x.size(0), n_inputs * n_outputs,
                   [&, narrow = kernels().narrow](int64_t begin, int64_t end) noexcept {
                     narrow(from, by, added, n_outputs, n_inputs, begin, end, {}, to);
                   });
  return y;
}

Tensor weight_gradient(const Tensor& grad, const Tensor& x) {
  const int64_t n_rows = grad.size(0);
  const int64_t n_outputs = grad.size(1);
  Tensor dweight = jenga::empty_like_device<2>(x, {n_outputs, x.size(1)}, ScalarType::Float);
  if (dweight.numel() == 0) {
    return dweight;
  }
  const auto slopes = jenga::matrix<float>(grad);
  const auto from = jenga::matrix<float>(x);
  const auto to = jenga::mutable_matrix<float>(dweight);
  jenga::for_columns(x.size(1), n_rows * n_outputs,
                     [&, reduce = kernels().reduce](int64_t first, int64_t last) noexcept {
                       reduce(slopes, from, n_outputs, 0, n_rows, first, last, {}, false, to);
                     });
  return dweight;
}

Tensor bias_gradient(const Tensor& grad) {
  const int64_t n_outputs = grad.size(1);
  Tensor dbias = jenga::empty_like_device<1>(grad, {n_outputs}, ScalarType::Float);
  // In double: a column of many rows would lose digits.
  std::vector<double> sums(n_outputs);
  const float* row = values(grad);
  for (int64_t index = 0; index < grad.size(0); ++index, row += n_outputs) {
    for (int64_t output = 0; output < n_outputs; ++output) {
      sums[output] += row[output];
    }
  }
  std::copy(sums.begin(), sums.end(), static_cast<float*>(dbias.mutable_data_ptr()));
  return dbias;
}

Tensor input_gradient(const Tensor& grad, const Tensor& weight) {
  const int64_t n_outputs = grad.size(1);
  const int64_t n_inputs = weight.size(1);
  const Tensor dense_weight = jenga::as_contiguous(weight, ScalarType::Float);
  Tensor dx = jenga::empty_like_device<2>(grad, {grad.size(0), n_inputs}, ScalarType::Float);
  if (dx.numel() == 0) {
    return dx;
  }
  const auto slopes = jenga::matrix<float>(grad);
  const auto by = jenga::matrix<float>(dense_weight);
  const auto to = jenga::mutable_matrix<float>(dx);
  jenga::for_units(grad.size(0), n_inputs * n_outputs,
                   [&, widen = kernels().widen](int64_t begin, int64_t end) noexcept {
                     widen(slopes, by, nullptr, n_outputs, n_inputs, begin, end, {}, false, to);
                   });
  return dx;
}

// Gradients of x, weight and bias; without a dimension where not wanted.
std::tuple<Tensor, Tensor, Tensor> skinny_linear_backward(const Tensor& grad, const std::optional<Tensor>& x,
                                                          const std::optional<Tensor>& weight, bool wants_bias) {
  check_matrix(grad, "grad");
  if (x) {
    check_matrix(*x, "x");
    jenga::check_shape(*x, {grad.size(0), x->size(1)}, "x");
  }
  if (weight) {
    check_matrix(*weight, "weight");
    jenga::check_shape(*weight, {grad.size(1), weight->size(1)}, "weight");
  }
  const Tensor dense_grad = jenga::as_contiguous(grad, ScalarType::Float);
  const auto nothing = [&] { return jenga::empty_like_device<0>(grad, {}, ScalarType::Float); };
  return {weight ? input_gradient(dense_grad, *weight) : nothing(),
          x ? weight_gradient(dense_grad, jenga::with_dense_rows(*x)) : nothing(),
          wants_bias ? bias_gradient(dense_grad) : nothing()};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("skinny_linear", TORCH_BOX(&skinny_linear));
  m.impl("skinny_linear_backward", TORCH_BOX(&skinny_linear_backward));
}
