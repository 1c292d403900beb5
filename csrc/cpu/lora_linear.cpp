// CPU implementation of jenga::lora_linear and its backward. The small products, dropout and the rounding of half
// precision are ours; the product with the base weight is torch's GEMM, which adds to what the small one wrote.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <vector>

#include "cpu/lora_backward.h"
#include "cpu/lora_forward.h"
#include "jenga/lora_arguments.h"
#include "jenga/tensors.h"

namespace {

using jenga::LoraArguments;
using jenga::Tensor;

// Calls function(T{}) with the type that sums over x are computed in.
template <typename Function>
auto visit_accumulator(const Tensor& x, const Function& function) {
  return jenga::visit_floating(x.scalar_type(), "x",
                               [&](auto zero) { return function(typename jenga::Accumulate<decltype(zero)>::type{}); });
}

std::tuple<std::vector<Tensor>, Tensor> lora_linear(
    const Tensor& x, const std::vector<Tensor>& weights, const std::vector<Tensor>& biases,
    const std::vector<int64_t>& biased, const std::vector<Tensor>& lora_as, const std::vector<Tensor>& lora_bs,
    const std::vector<double>& scales, const std::vector<int64_t>& projections, const std::vector<int64_t>& adapters,
    const std::optional<Tensor>& rows, double dropout, const std::optional<Tensor>& seed) {
  const LoraArguments arguments{x, weights, lora_as, lora_bs, scales, projections, adapters, rows, dropout, seed};
  check_lora(arguments);
  check_lora_biases(arguments, biases, biased);
  return visit_accumulator(
      x, [&](auto zero) { return jenga::LoraForward<decltype(zero)>(arguments).run(biases, biased); });
}

std::tuple<Tensor, std::vector<Tensor>, std::vector<Tensor>> lora_linear_backward(
    const std::vector<Tensor>& grads, const Tensor& x, const Tensor& projected, const std::vector<Tensor>& weights,
    const std::vector<Tensor>& lora_as, const std::vector<Tensor>& lora_bs, const std::vector<double>& scales,
    const std::vector<int64_t>& projections, const std::vector<int64_t>& adapters, const std::optional<Tensor>& rows,
    double dropout, const std::optional<Tensor>& seed, bool wants_x, bool wants_a, bool wants_b) {
  const LoraArguments arguments{x, weights, lora_as, lora_bs, scales, projections, adapters, rows, dropout, seed};
  check_lora(arguments);
  check_lora_gradients(arguments, grads, projected);
  return visit_accumulator(x, [&](auto zero) {
    return jenga::LoraBackward<decltype(zero)>(arguments, grads).run(projected, {wants_x, wants_a, wants_b});
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("lora_linear", TORCH_BOX(&lora_linear));
  m.impl("lora_linear_backward", TORCH_BOX(&lora_linear_backward));
}
