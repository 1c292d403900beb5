// Where the ranks of lora_linear's updates lie among all, and which rows see which of them.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "jenga/lora_arguments.h"

namespace jenga {

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
