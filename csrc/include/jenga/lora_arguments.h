// Arguments of lora_linear as the dispatcher hands them over, checked, and the layout of ranks that follows from them.
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

// Ranks of parts that lie side by side.
struct RankRange {
  int64_t projection;
  int64_t offset;  // of the first rank among all
  int64_t rank;
  int64_t n_outputs;  // of the projection
  int64_t b_offset;   // of the first value among all parts' (R, N) matrices
};

struct RankLayout {
  std::vector<RankRange> parts;
  int64_t n_ranks = 0;
  int64_t n_b_values = 0;

  explicit RankLayout(const LoraArguments& arguments) {
    parts.reserve(arguments.lora_as.size());
    for (size_t part = 0; part < arguments.lora_as.size(); ++part) {
      const int64_t rank = arguments.lora_as[part].size(0);
      const int64_t n_outputs = arguments.lora_bs[part].size(0);
      parts.push_back({arguments.projections[part], n_ranks, rank, n_outputs, n_b_values});
      n_ranks = checked_sum(n_ranks, rank, "ranks of all lora_as");
      const int64_t n_values = checked_product(rank, n_outputs, "elements of lora_bs[", part, "]");
      n_b_values = checked_sum(n_b_values, n_values, "elements of all lora_bs");
    }
  }
};

// Rows that see the same parts, and the ranges of those, joined where they lie side by side.
struct RowRun {
  int64_t begin;
  int64_t end;
  std::vector<RankRange> ranges;         // all of them
  std::vector<RankRange> by_projection;  // each of one projection
};

inline void append_range(std::vector<RankRange>& ranges, const RankRange& part, bool across_projections) {
  if (!ranges.empty()) {
    RankRange& last = ranges.back();
    if (last.offset + last.rank == part.offset && (across_projections || last.projection == part.projection)) {
      last.rank += part.rank;
      return;
    }
  }
  ranges.push_back(part);
}

inline std::vector<RowRun> row_runs(const LoraArguments& arguments, const RankLayout& layout) {
  std::vector<RowRun> runs;
  const auto add_run = [&](int64_t begin, int64_t end, std::optional<int64_t> adapter) {
    RowRun run{begin, end, {}, {}};
    for (size_t part = 0; part < layout.parts.size(); ++part) {
      if (!adapter || arguments.adapters[part] == *adapter) {
        append_range(run.ranges, layout.parts[part], true);
        append_range(run.by_projection, layout.parts[part], false);
      }
    }
    runs.push_back(std::move(run));
  };
  const int64_t n_rows = arguments.x.size(0);
  if (!arguments.rows) {
    add_run(0, n_rows, std::nullopt);
    return runs;
  }
  const Tensor dense = as_contiguous(*arguments.rows, ScalarType::Long);
  const auto* adapters = static_cast<const int64_t*>(dense.const_data_ptr());
  for (int64_t begin = 0; begin < n_rows;) {
    int64_t end = begin + 1;
    while (end < n_rows && adapters[end] == adapters[begin]) {
      ++end;
    }
    add_run(begin, end, adapters[begin]);
    begin = end;
  }
  return runs;
}

}  // namespace jenga
