// CPU implementation of jenga::skinny_linear and its backward, float32: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "core/skinny_linear.h"
#include "jenga/check.h"
#include "jenga/products.h"
#include "jenga/tensors.h"

namespace {

using jenga::ScalarType;
using jenga::Tensor;

const auto& kernels() { return jenga::core::skinny_linear_kernels<float>(); }

void check_matrix(const Tensor& tensor, const char* name) {
  jenga::check(tensor.dim() == 2 && tensor.scalar_type() == ScalarType::Float, name, ": must be a float32 matrix");
}

const float* values(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

Tensor skinny_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  check_matrix(x, "x");
  check_matrix(weight, "weight");
  const int64_t n_outputs = weight.size(0);
  const int64_t n_inputs = weight.size(1);
  jenga::check(x.size(1) == n_inputs, "x: got ", x.size(1), " columns, but weight has ", n_inputs);
  jenga::check(!bias || (bias->dim() == 1 && bias->size(0) == n_outputs && bias->scalar_type() == ScalarType::Float),
               "bias: must be float32 (", n_outputs, ",)");
  const Tensor rows = jenga::with_dense_rows(x);
  const Tensor dense_weight = jenga::as_contiguous(weight, ScalarType::Float);
  std::optional<Tensor> dense_bias;
  if (bias) {
    dense_bias = jenga::as_contiguous(*bias, ScalarType::Float);
  }
  Tensor y = jenga::empty_like_device<2>(x, {x.size(0), n_outputs}, ScalarType::Float);
  jenga::for_units(x.size(0), n_inputs * n_outputs, [&](int64_t begin, int64_t end) {
    kernels().narrow(jenga::matrix<float>(rows), jenga::matrix<float>(dense_weight),
                     bias ? values(*dense_bias) : nullptr, n_outputs, n_inputs, begin, end, {},
                     jenga::mutable_matrix<float>(y));
  });
  return y;
}

Tensor weight_gradient(const Tensor& grad, const Tensor& x) {
  const int64_t n_rows = grad.size(0);
  const int64_t n_outputs = grad.size(1);
  Tensor dweight = jenga::empty_like_device<2>(x, {n_outputs, x.size(1)}, ScalarType::Float);
  jenga::for_columns(x.size(1), n_rows * n_outputs, [&](int64_t first, int64_t last) {
    kernels().reduce(jenga::matrix<float>(grad), jenga::matrix<float>(x), n_outputs, 0, n_rows, first, last, {}, false,
                     jenga::mutable_matrix<float>(dweight));
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
  jenga::for_units(grad.size(0), n_inputs * n_outputs, [&](int64_t begin, int64_t end) {
    kernels().widen(jenga::matrix<float>(grad), jenga::matrix<float>(dense_weight), nullptr, n_outputs, n_inputs, begin,
                    end, {}, false, jenga::mutable_matrix<float>(dx));
  });
  return dx;
}

// Gradients of x, weight and bias; without a dimension where not wanted.
std::tuple<Tensor, Tensor, Tensor> skinny_linear_backward(const Tensor& grad, const std::optional<Tensor>& x,
                                                          const std::optional<Tensor>& weight, bool wants_bias) {
  check_matrix(grad, "grad");
  if (x) {
    check_matrix(*x, "x");
    jenga::check(x->size(0) == grad.size(0), "x: got ", x->size(0), " rows, but grad has ", grad.size(0));
  }
  if (weight) {
    check_matrix(*weight, "weight");
    jenga::check(weight->size(0) == grad.size(1), "weight: got ", weight->size(0), " outputs, but grad has ",
                 grad.size(1));
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
