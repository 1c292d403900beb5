// The refinery's ops: tensors in, the core called, tensors out.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/refinery/refinery.h"
#include "jenga/arguments.h"

namespace {

using jenga::as_contiguous;
using jenga::check;
using jenga::ScalarType;
using jenga::Tensor;
namespace refinery = jenga::refinery;

Tensor typed(const Tensor& tensor, ScalarType dtype, int64_t n_dims, const char* name) {
  jenga::check_dtype(tensor, dtype, name);
  jenga::check_dims(tensor, n_dims, name);
  return as_contiguous(tensor, dtype);
}

std::shared_ptr<const refinery::Plan> plan_of(const Tensor& plan, bool fitted) {
  const Tensor bytes = typed(plan, ScalarType::Byte, 1, "plan");
  auto parsed =
      refinery::cached_plan({static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())});
  check(!fitted || parsed->fitted(), "plan: has no columns; features need the plan of a fitted refinery");
  return parsed;
}

// Rows whose offsets have been checked; holds the tensors.
struct RowTensors {
  Tensor data, offsets;
  refinery::Rows rows;

  RowTensors(const Tensor& given_data, const Tensor& given_offsets)
      : data(typed(given_data, ScalarType::Byte, 1, "data")),
        offsets(typed(given_offsets, ScalarType::Long, 2, "row_offsets")),
        rows{static_cast<const char*>(data.const_data_ptr()), data.numel(),
             static_cast<const int64_t*>(offsets.const_data_ptr()), offsets.size(0)} {
    check(offsets.size(1) == 2, "row_offsets: got ", offsets.size(1), " columns; allowed: 2, begin and end");
    int64_t last = 0;
    for (int64_t row = 0; row < rows.n_rows; ++row) {
      const int64_t begin = rows.offsets[2 * row];
      const int64_t end = rows.offsets[2 * row + 1];
      check(begin >= last && end >= begin && end <= rows.size, "row_offsets[", row, "]: got [", begin, ", ", end,
            "); allowed: ascending, not overlapping, within the ", rows.size, " bytes of data");
      last = end;
    }
  }
};

// Copied: what was checked must not change.
std::vector<double> previous_times(const Tensor& previous, const refinery::Plan& plan) {
  const Tensor given = typed(previous, ScalarType::Double, 1, "previous");
  std::vector<double> times(static_cast<size_t>(given.numel()));
  if (!times.empty()) std::memcpy(times.data(), given.const_data_ptr(), times.size() * sizeof(double));
  refinery::check_previous(plan, times);
  return times;
}

template <typename T>
Tensor tensor_of(const Tensor& like, const T* values, std::array<int64_t, 1> sizes, ScalarType dtype) {
  Tensor tensor = jenga::empty_like_device<1>(like, sizes, dtype);
  if (sizes[0] > 0) std::memcpy(tensor.mutable_data_ptr(), values, static_cast<size_t>(sizes[0]) * sizeof(T));
  return tensor;
}

Tensor counters_of(const Tensor& like, const refinery::Summary& summary) {
  const auto n = static_cast<int64_t>(summary.counters.size());
  Tensor counters =
      jenga::empty_like_device<2>(like, {n / refinery::n_counters, refinery::n_counters}, ScalarType::Long);
  if (n > 0) std::memcpy(counters.mutable_data_ptr(), summary.counters.data(), summary.counters.size() * 8);
  return counters;
}

Tensor quarantine_of(const Tensor& like, const refinery::Summary& summary) {
  Tensor quarantine =
      jenga::empty_like_device<2>(like, {static_cast<int64_t>(summary.bad.size()), 3}, ScalarType::Long);
  auto* at = static_cast<int64_t*>(quarantine.mutable_data_ptr());
  for (const refinery::BadRow& bad : summary.bad) {
    *at++ = bad.row;
    *at++ = static_cast<int64_t>(bad.error);
    *at++ = bad.position;
  }
  return quarantine;
}

Tensor last_of(const Tensor& like, const refinery::Summary& summary) {
  return tensor_of(like, summary.last.data(), {static_cast<int64_t>(summary.last.size())}, ScalarType::Double);
}

Tensor first_rows(Tensor tensor, int64_t n_rows) {
  return n_rows == tensor.size(0) ? tensor : torch::stable::narrow(tensor, 0, 0, n_rows);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> refine_into(const RowTensors& input,
                                                       const std::shared_ptr<const refinery::Plan>& plan,
                                                       const Tensor& previous, int64_t n_threads, Tensor& features) {
  jenga::check_range(n_threads, 1, refinery::max_threads, "n_threads");
  const std::vector<double> times = previous_times(previous, *plan);
  Tensor states = jenga::empty_like_device<2>(input.data, {input.rows.n_rows, plan->n_fields()}, ScalarType::Byte);
  const refinery::Summary summary = refinery::refine(plan, input.rows, times, static_cast<int>(n_threads),
                                                     static_cast<float*>(features.mutable_data_ptr()),
                                                     static_cast<uint8_t*>(states.mutable_data_ptr()));
  return {first_rows(states, summary.n_rows), counters_of(input.data, summary), quarantine_of(input.data, summary),
          last_of(input.data, summary)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> refine(const Tensor& data, const Tensor& row_offsets,
                                                          const Tensor& plan_bytes, const Tensor& previous,
                                                          int64_t n_threads) {
  const auto plan = plan_of(plan_bytes, true);
  const RowTensors input(data, row_offsets);
  Tensor features = jenga::empty_like_device<2>(input.data, {input.rows.n_rows, plan->n_features}, ScalarType::Float);
  auto [states, counters, quarantine, last] = refine_into(input, plan, previous, n_threads, features);
  return {first_rows(features, states.size(0)), states, counters, quarantine, last};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> refine_out(const Tensor& data, const Tensor& row_offsets,
                                                      const Tensor& plan_bytes, const Tensor& previous,
                                                      int64_t n_threads, const Tensor& out) {
  const auto plan = plan_of(plan_bytes, true);
  const RowTensors input(data, row_offsets);
  check(out.scalar_type() == ScalarType::Float && out.dim() == 2 && out.is_contiguous() &&
            out.size(0) >= input.rows.n_rows && out.size(1) == plan->n_features,
        "out: must be a contiguous float32 tensor of at least ", input.rows.n_rows, " rows and of ", plan->n_features,
        " columns");
  jenga::check_apart(out, "out", data, "data");
  jenga::check_apart(out, "out", row_offsets, "row_offsets");
  jenga::check_apart(out, "out", plan_bytes, "plan");
  jenga::check_apart(out, "out", previous, "previous");
  Tensor features = out;
  return refine_into(input, plan, previous, n_threads, features);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> extract(const Tensor& data, const Tensor& row_offsets,
                                                                   const Tensor& plan_bytes, int64_t n_threads) {
  jenga::check_range(n_threads, 1, refinery::max_threads, "n_threads");
  const auto plan = plan_of(plan_bytes, false);
  const RowTensors input(data, row_offsets);
  Tensor numbers = jenga::empty_like_device<2>(input.data, {input.rows.n_rows, plan->n_numbers}, ScalarType::Double);
  Tensor states = jenga::empty_like_device<2>(input.data, {input.rows.n_rows, plan->n_fields()}, ScalarType::Byte);
  std::string text;
  std::vector<int64_t> offsets;
  const refinery::Summary summary =
      refinery::extract(plan, input.rows, static_cast<int>(n_threads), static_cast<double*>(numbers.mutable_data_ptr()),
                        static_cast<uint8_t*>(states.mutable_data_ptr()), text, offsets);
  return {first_rows(numbers, summary.n_rows),
          tensor_of(input.data, text.data(), {static_cast<int64_t>(text.size())}, ScalarType::Byte),
          tensor_of(input.data, offsets.data(), {static_cast<int64_t>(offsets.size())}, ScalarType::Long),
          first_rows(states, summary.n_rows),
          counters_of(input.data, summary),
          quarantine_of(input.data, summary)};
}

void check_columns(const Tensor& numbers, const Tensor& text, const Tensor& offsets, const Tensor& states,
                   const refinery::Plan& plan) {
  const int64_t n_rows = numbers.size(0);
  check(numbers.size(1) == plan.n_numbers, "numbers: got ", numbers.size(1), " columns; the plan has ", plan.n_numbers);
  check(states.size(0) == n_rows && states.size(1) == plan.n_fields(), "states: must be (", n_rows, ", ",
        plan.n_fields(), ")");
  const int64_t n_texts = jenga::checked_product(n_rows, plan.n_texts, "texts of all rows");
  const int64_t n_offsets = jenga::checked_sum(n_texts, 1, "text_offsets");
  check(offsets.numel() == n_offsets, "text_offsets: got ", offsets.numel(), "; needed ", n_offsets);
  const auto* at = static_cast<const int64_t*>(offsets.const_data_ptr());
  check(at[0] == 0 && at[offsets.numel() - 1] == text.numel(), "text_offsets: must go from 0 to ", text.numel());
  for (int64_t i = 1; i < offsets.numel(); ++i) check(at[i] >= at[i - 1], "text_offsets[", i, "]: must not fall");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> encode(const Tensor& given_numbers, const Tensor& given_text,
                                                  const Tensor& given_offsets, const Tensor& given_states,
                                                  const Tensor& plan_bytes, const Tensor& previous, int64_t n_threads) {
  jenga::check_range(n_threads, 1, refinery::max_threads, "n_threads");
  const auto plan = plan_of(plan_bytes, true);
  const Tensor numbers = typed(given_numbers, ScalarType::Double, 2, "numbers");
  const Tensor text = typed(given_text, ScalarType::Byte, 1, "text");
  const Tensor offsets = typed(given_offsets, ScalarType::Long, 1, "text_offsets");
  const Tensor old_states = typed(given_states, ScalarType::Byte, 2, "states");
  check_columns(numbers, text, offsets, old_states, *plan);
  const std::vector<double> times = previous_times(previous, *plan);
  const int64_t n_rows = numbers.size(0);
  Tensor states = jenga::empty_like_device<2>(numbers, {n_rows, plan->n_fields()}, ScalarType::Byte);
  auto* const state_values = static_cast<uint8_t*>(states.mutable_data_ptr());
  if (states.numel() > 0) {
    std::memcpy(state_values, old_states.const_data_ptr(), static_cast<size_t>(states.numel()));
  }
  for (int64_t i = 0; i < states.numel(); ++i) {
    check(state_values[i] <= static_cast<uint8_t>(refinery::State::unknown), "states: got ",
          static_cast<int>(state_values[i]), "; allowed: 0 to 5");
  }
  Tensor features = jenga::empty_like_device<2>(numbers, {n_rows, plan->n_features}, ScalarType::Float);
  const refinery::Columns columns{static_cast<const double*>(numbers.const_data_ptr()),
                                  static_cast<const char*>(text.const_data_ptr()),
                                  static_cast<const int64_t*>(offsets.const_data_ptr()), n_rows};
  const refinery::Summary summary = refinery::encode(plan, columns, times, static_cast<int>(n_threads),
                                                     static_cast<float*>(features.mutable_data_ptr()), state_values);
  return {features, states, counters_of(numbers, summary), last_of(numbers, summary)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("refine", TORCH_BOX(&refine));
  m.impl("refine_out", TORCH_BOX(&refine_out));
  m.impl("refine_extract", TORCH_BOX(&extract));
  m.impl("refine_encode", TORCH_BOX(&encode));
}
