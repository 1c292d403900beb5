// Arguments of lora_linear and its backward as the dispatcher hands them over, checked.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/dropout.h"
#include "jenga/arguments.h"

namespace jenga {

// Part j is one adapter's update of one projection: scales[j] * lora_bs[j] lora_as[j], added to output projections[j].
// Where `rows` is given, a row sees only the parts of its adapter; a negative number is none.
struct LoraArguments {
  const Tensor& x;
  const std::vector<Tensor>& weights;
  const std::vector<Tensor>& lora_as;
  const std::vector<Tensor>& lora_bs;
  const std::vector<double>& scales;
  const std::vector<int64_t>& projections;
  const std::vector<int64_t>& adapters;
  const std::optional<Tensor>& rows;
  double dropout;
  const std::optional<Tensor>& seed;
};

// Which gradients a backward pass is to compute.
struct WantedGradients {
  bool x;
  bool a;
  bool b;
};

inline void check_lora_part(const LoraArguments& arguments, size_t part) {
  const Tensor& a = arguments.lora_as[part];
  const Tensor& b = arguments.lora_bs[part];
  const int64_t n_inputs = arguments.x.size(1);
  const int64_t projection = arguments.projections[part];
  check_range(projection, 0, static_cast<int64_t>(arguments.weights.size()) - 1, "projections[", part, "]");
  check(arguments.adapters[part] >= 0, "adapters[", part, "]: got ", arguments.adapters[part],
        "; allowed: 0 or more, since rows of -1 have none");
  const int64_t n_outputs = arguments.weights[projection].size(0);
  check(a.dim() == 2 && b.dim() == 2 && a.size(0) >= 1 && a.size(1) == n_inputs && b.size(0) == n_outputs &&
            b.size(1) == a.size(0),
        "lora_a, lora_b of part ", part, ": must have shapes (R, ", n_inputs, ") and (", n_outputs, ", R), R >= 1");
  check_floating(a, "lora_a of part ", part);
  check_floating(b, "lora_b of part ", part);
}

inline void check_lora(const LoraArguments& arguments) {
  const Tensor& x = arguments.x;
  check_dims(x, 2, "x");
  check_floating(x, "x");
  check(!arguments.weights.empty(), "weights: got none; allowed: 1 or more");
  for (size_t index = 0; index < arguments.weights.size(); ++index) {
    const Tensor& weight = arguments.weights[index];
    check(weight.dim() == 2 && weight.size(1) == x.size(1) && is_floating(weight.scalar_type()), "weights[", index,
          "]: must be floating (outputs, ", x.size(1), ")");
  }
  const size_t n_parts = arguments.lora_as.size();
  check(arguments.lora_bs.size() == n_parts && arguments.scales.size() == n_parts &&
            arguments.projections.size() == n_parts && arguments.adapters.size() == n_parts,
        "lora_as, lora_bs, scales, projections and adapters differ in length");
  for (size_t part = 0; part < n_parts; ++part) {
    check_lora_part(arguments, part);
  }
  if (arguments.rows) {
    check_dtype(*arguments.rows, ScalarType::Long, "rows");
    check_shape(*arguments.rows, {x.size(0)}, "rows");
  }
  check(arguments.dropout >= 0.0 && arguments.dropout < 1.0, "dropout: got ", arguments.dropout,
        "; allowed: 0 <= dropout < 1");
  const auto& seed = arguments.seed;
  check(arguments.dropout == 0.0 || (seed && seed->scalar_type() == ScalarType::Long && seed->numel() == 1),
        "seed: dropout needs one int64");
}

// `biases` are those of the layers `biased`.
inline void check_lora_biases(const LoraArguments& arguments, const std::vector<Tensor>& biases,
                              const std::vector<int64_t>& biased) {
  const auto& weights = arguments.weights;
  check(biases.size() == biased.size(), "biases and biased differ in length");
  for (size_t place = 0; place < biases.size(); ++place) {
    const int64_t index = biased[place];
    check(index >= 0 && index < static_cast<int64_t>(weights.size()) && biases[place].dim() == 1 &&
              is_floating(biases[place].scalar_type()) && biases[place].size(0) == weights[index].size(0),
          "biases[", place, "]: must be floating, as many values as its weight has rows");
  }
}

// Of the outputs; `projected` is what the forward pass gave.
inline void check_lora_gradients(const LoraArguments& arguments, const std::vector<Tensor>& grads,
                                 const Tensor& projected) {
  const auto& weights = arguments.weights;
  const int64_t n_rows = arguments.x.size(0);
  check(grads.size() == weights.size(), "grads: got ", grads.size(), " for ", weights.size(), " weights");
  for (size_t index = 0; index < grads.size(); ++index) {
    check_shape(grads[index], {n_rows, weights[index].size(0)}, "grads[", index, "]");
    check_floating(grads[index], "grads[", index, "]");
  }
  int64_t n_ranks = 0;
  for (const Tensor& lora_a : arguments.lora_as) {
    n_ranks = checked_sum(n_ranks, lora_a.size(0), "ranks of all lora_as");
  }
  check_shape(projected, {n_rows, n_ranks}, "projected");
  check_floating(projected, "projected");
}

inline core::Dropout dropout_of(const LoraArguments& arguments) {
  if (arguments.dropout == 0.0) {
    return {};
  }
  const auto threshold = std::lround(arguments.dropout * 65536.0);
  const auto seed = *static_cast<const int64_t*>(arguments.seed->const_data_ptr());
  return {static_cast<uint64_t>(seed), static_cast<uint32_t>(std::min(65535L, std::max(1L, threshold)))};
}

// What kept elements are multiplied with, so that the mean stays.
inline double keep_scale(core::Dropout dropout) { return 1.0 / (1.0 - dropout.threshold / 65536.0); }

}  // namespace jenga
