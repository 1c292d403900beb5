// CPU implementation of jenga::skinny_linear and its backward, float32: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <vector>

#include "core/skinny_linear.h"
#include "jenga/check.h"
#include "jenga/tensors.h"

namespace {

using jenga::ScalarType;
using jenga::Tensor;
namespace core = jenga::core;

// Multiplications below which another thread costs more than it saves.
constexpr int64_t grain_products = 1 << 20;
// Threads begin on columns at multiples of this: of every instruction set's tile, so that results do not depend on
// them.
constexpr int64_t column_unit = 96;

// Calls work(begin, end) for ranges of `n_units` units that cost `products` each.
template <typename Work>
void for_units(int64_t n_units, int64_t products, const Work& work) {
  const int64_t grain = std::max<int64_t>(1, grain_products / std::max<int64_t>(1, products));
  if (n_units <= grain) {
    return work(0, n_units);
  }
  torch::stable::parallel_for(0, n_units, grain, work);
}

void check_matrix(const Tensor& tensor, const char* name) {
  jenga::check(tensor.dim() == 2 && tensor.scalar_type() == ScalarType::Float, name, ": must be a float32 matrix");
}

// Rows may be apart, as those of a slice of hidden states are; the values of a row may not.
Tensor with_dense_rows(const Tensor& x) { return x.stride(1) == 1 ? x : torch::stable::contiguous(x); }

core::Matrix matrix(const Tensor& x) { return {static_cast<const float*>(x.const_data_ptr()), x.stride(0)}; }

const float* values(const Tensor& tensor) { return static_cast<const float*>(tensor.const_data_ptr()); }

Tensor skinny_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
  check_matrix(x, "x");
  check_matrix(weight, "weight");
  const int64_t n_outputs = weight.size(0);
  const int64_t n_inputs = weight.size(1);
  jenga::check(x.size(1) == n_inputs, "x: got ", x.size(1), " columns, but weight has ", n_inputs);
  jenga::check(!bias || (bias->dim() == 1 && bias->size(0) == n_outputs && bias->scalar_type() == ScalarType::Float),
               "bias: must be float32 (", n_outputs, ",)");
  const Tensor rows = with_dense_rows(x);
  const Tensor dense_weight = jenga::as_contiguous(weight, ScalarType::Float);
  std::optional<Tensor> dense_bias;
  if (bias) {
    dense_bias = jenga::as_contiguous(*bias, ScalarType::Float);
  }
  Tensor y = jenga::empty_like_device<2>(x, {x.size(0), n_outputs}, ScalarType::Float);
  for_units(x.size(0), n_inputs * n_outputs, [&](int64_t begin, int64_t end) {
    core::skinny_linear_kernels().forward(matrix(rows), values(dense_weight), bias ? values(*dense_bias) : nullptr,
                                          n_outputs, n_inputs, begin, end, static_cast<float*>(y.mutable_data_ptr()));
  });
  return y;
}

Tensor weight_gradient(const Tensor& grad, const Tensor& x) {
  const int64_t n_rows = grad.size(0);
  const int64_t n_outputs = grad.size(1);
  const int64_t n_inputs = x.size(1);
  Tensor dweight = jenga::empty_like_device<2>(x, {n_outputs, n_inputs}, ScalarType::Float);
  auto* to = static_cast<float*>(dweight.mutable_data_ptr());
  for_units(
      (n_inputs + column_unit - 1) / column_unit, n_rows * n_outputs * column_unit, [&](int64_t begin, int64_t end) {
        core::skinny_linear_kernels().backward_weight(values(grad), matrix(x), n_rows, n_outputs, n_inputs,
                                                      begin * column_unit, std::min(n_inputs, end * column_unit), to);
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
  const int64_t n_rows = grad.size(0);
  const int64_t n_outputs = grad.size(1);
  const int64_t n_inputs = weight.size(1);
  const Tensor dense_weight = jenga::as_contiguous(weight, ScalarType::Float);
  Tensor dx = jenga::empty_like_device<2>(grad, {n_rows, n_inputs}, ScalarType::Float);
  auto* to = static_cast<float*>(dx.mutable_data_ptr());
  for_units(n_rows, n_inputs * n_outputs, [&](int64_t begin, int64_t end) {
    core::skinny_linear_kernels().backward_input(values(grad), values(dense_weight), n_outputs, n_inputs, begin, end,
                                                 to);
  });
  return dx;
}

// Gradients of x, weight and bias; without a dimension where not wanted.
std::tuple<Tensor, Tensor, Tensor> skinny_linear_backward(const Tensor& grad, const std::optional<Tensor>& x,
                                                          const std::optional<Tensor>& weight, bool wants_bias) {
  check_matrix(grad, "grad");
  jenga::check(grad.size(1) <= core::max_skinny_outputs, "grad: got ", grad.size(1), " outputs; allowed: at most ",
               core::max_skinny_outputs);
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
          x ? weight_gradient(dense_grad, with_dense_rows(*x)) : nothing(),
          wants_bias ? bias_gradient(dense_grad) : nothing()};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("skinny_linear", TORCH_BOX(&skinny_linear));
  m.impl("skinny_linear_backward", TORCH_BOX(&skinny_linear_backward));
}
