// CPU implementation of jenga::lora_linear and its backward. The small products, dropout and the rounding of half
// precision are ours; the product with the base weight is torch's GEMM, which adds to what the small one wrote.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "core/skinny_linear.h"
#include "jenga/lora_arguments.h"
#include "jenga/products.h"
#include "jenga/tensors.h"

namespace {

using jenga::LoraArguments;
using jenga::RankLayout;
using jenga::RankRange;
using jenga::RowRun;
using jenga::ScalarType;
using jenga::Tensor;

// Rows of a half-precision base weight that are in float32 at a time.
constexpr int64_t upcast_rows = 1024;

Tensor as_dense_rows(const Tensor& tensor, ScalarType dtype) {
  return jenga::with_dense_rows(jenga::as_type(tensor, dtype));
}

// to (columns, rows) = scale * from (rows, columns) transposed, by blocks of rows: one of a cache line is written
// whole, and what is read of a block stays in the first cache.
template <typename T>
void transpose(const T* from, int64_t rows, int64_t columns, T scale, T* to) {
  constexpr int64_t block = 16;
  if (columns == 0) {
    return;
  }
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < count; ++row) {
        to[column * rows + first + row] = from[(first + row) * columns + column] * scale;
      }
    }
  }
}

// Everything that forward and backward share, in the type that sums are computed in.
template <typename T>
class LoraProducts {
 public:
  explicit LoraProducts(const LoraArguments& arguments)
      : arguments_(arguments),
        layout_(arguments),
        runs_(row_runs(arguments, layout_)),
        dropout_(dropout_of(arguments)),
        n_rows_(arguments.x.size(0)),
        n_inputs_(arguments.x.size(1)),
        x_(as_dense_rows(arguments.x, acc)),
        a_(stacked_a()),
        b_(transposed_b()),
        a_values_(static_cast<const T*>(a_.const_data_ptr())),
        b_values_(static_cast<const T*>(b_.const_data_ptr())),
        widen_(kernels().widen) {}

  std::tuple<std::vector<Tensor>, Tensor> forward(const std::vector<Tensor>& biases,
                                                  const std::vector<int64_t>& biased) {
    Tensor projected = empty_ranks();
    const auto from = jenga::matrix<T>(x_);
    const auto to = jenga::mutable_matrix<T>(projected);
    for_runs(projected, layout_.n_ranks * n_inputs_,
             [&, narrow = kernels().narrow](const RowRun& run, int64_t first, int64_t last) noexcept {
               for (const RankRange& range : run.ranges) {
                 narrow(from, a_rows(range), nullptr, range.rank, n_inputs_, first, last, dropout_,
                        column_of(to, range.offset));
               }
             });
    std::vector<Tensor> outputs;
    outputs.reserve(arguments_.weights.size());
    for (size_t index = 0; index < arguments_.weights.size(); ++index) {
      const auto place = std::find(biased.begin(), biased.end(), static_cast<int64_t>(index));
      std::optional<Tensor> bias;
      if (place != biased.end()) {
        bias = jenga::as_contiguous(biases[place - biased.begin()], acc);
      }
      outputs.push_back(output(index, projected, bias));
    }
    return {std::move(outputs), std::move(projected)};
  }

  std::tuple<Tensor, std::vector<Tensor>, std::vector<Tensor>> backward(const std::vector<Tensor>& grads,
                                                                        const Tensor& projected, bool wants_x,
                                                                        bool wants_a, bool wants_b) {
    std::vector<Tensor> dense_grads;
    for (const Tensor& grad : grads) {
      dense_grads.push_back(as_dense_rows(grad, acc));
    }
    std::vector<Tensor> dbs;
    if (wants_b) {
      dbs = b_gradients(dense_grads, as_dense_rows(projected, acc));
    }
    Tensor dprojected = jenga::empty_like_device<2>(x_, {0, 0}, acc);
    if (wants_x || wants_a) {
      dprojected = projected_gradient(dense_grads);
    }
    std::vector<Tensor> das;
    if (wants_a) {
      das = a_gradients(dprojected);
    }
    Tensor dx = wants_x ? input_gradient(grads, dense_grads, dprojected)
                        : jenga::empty_like_device<1>(x_, {0}, arguments_.x.scalar_type());
    return {std::move(dx), std::move(das), std::move(dbs)};
  }

 private:
  template <typename V>
  using Matrix = jenga::core::Matrix<V>;

  static constexpr ScalarType acc = jenga::Accumulate<T>::dtype;

  static const auto& kernels() { return jenga::core::skinny_linear_kernels<T>(); }

  Tensor empty(int64_t rows, int64_t columns) const { return jenga::empty_like_device<2>(x_, {rows, columns}, acc); }

  // (M, all ranks); a row's ranks of other adapters than its own stay 0.
  Tensor empty_ranks() const {
    Tensor ranks = empty(n_rows_, layout_.n_ranks);
    if (arguments_.rows) {
      torch::stable::zero_(ranks);
    }
    return ranks;
  }

  // All adapters' A, (all ranks, K).
  Tensor stacked_a() const {
    const auto& parts = arguments_.lora_as;
    if (parts.size() == 1) {
      return jenga::as_contiguous(parts[0], acc);
    }
    Tensor stacked = empty(layout_.n_ranks, n_inputs_);
    auto* to = static_cast<T*>(stacked.mutable_data_ptr());
    for (const Tensor& part : parts) {
      const Tensor dense = jenga::as_contiguous(part, acc);
      std::memcpy(to, dense.const_data_ptr(), dense.numel() * sizeof(T));
      to += dense.numel();
    }
    return stacked;
  }

  double scale_of(size_t part) const { return arguments_.scales[part] * jenga::keep_scale(dropout_); }

  // All adapters' B, each transposed to (R, N) and scaled, one after the other.
  Tensor transposed_b() const {
    Tensor all = jenga::empty_like_device<1>(x_, {layout_.n_b_values}, acc);
    auto* to = static_cast<T*>(all.mutable_data_ptr());
    for (size_t part = 0; part < layout_.parts.size(); ++part) {
      const Tensor dense = jenga::as_contiguous(arguments_.lora_bs[part], acc);
      transpose(static_cast<const T*>(dense.const_data_ptr()), dense.size(0), dense.size(1),
                static_cast<T>(scale_of(part)), to);
      to += dense.numel();
    }
    return all;
  }

  template <typename V>
  static Matrix<V> column_of(Matrix<V> values, int64_t column) noexcept {
    return {values.data + column, values.row_stride};
  }

  Matrix<const T> a_rows(const RankRange& range) const noexcept {
    return {a_values_ + range.offset * n_inputs_, n_inputs_};
  }

  Matrix<const T> b_rows(const RankRange& range, int64_t first_output = 0) const noexcept {
    return {b_values_ + range.b_offset + first_output, range.n_outputs};
  }

  // Calls work(run, first, last) for the part of each run in rows [begin, end), over threads; not at all where `result`
  // has no element, since its rows may then be more than can be counted through.
  template <typename Work>
  void for_runs(const Tensor& result, int64_t products, const Work& work) const {
    static_assert(noexcept(work(runs_.front(), int64_t{}, int64_t{})), "mark it noexcept (jenga/parallel.h)");
    if (result.numel() == 0) {
      return;
    }
    jenga::for_units(n_rows_, products, [&](int64_t begin, int64_t end) noexcept {
      auto run =
          std::partition_point(runs_.begin(), runs_.end(), [&](const RowRun& each) { return each.end <= begin; });
      for (; run != runs_.end() && run->begin < end; ++run) {
        work(*run, std::max(begin, run->begin), std::min(end, run->end));
      }
    });
  }

  // to (.., n_columns) = bias + the sum over the ranges of ranks times their weights, for rows [first, last); all 0
  // without ranges.
  template <typename Weight>
  void widen_ranges(const std::vector<RankRange>& ranges, int64_t projection, Matrix<const T> ranks,
                    const Weight& weight, const T* bias, int64_t first, int64_t last, jenga::core::Dropout dropout,
                    int64_t n_columns, Matrix<T> to) const noexcept {
    bool add = false;
    for (const RankRange& range : ranges) {
      if (projection < 0 || range.projection == projection) {
        widen_(column_of(ranks, range.offset), weight(range), bias, range.rank, n_columns, first, last, dropout, add,
               to);
        add = true;
      }
    }
    if (!add) {
      widen_({nullptr, 0}, {nullptr, 0}, bias, 0, n_columns, first, last, {}, false, to);
    }
  }

  // The updates and the bias of outputs [offset, offset + count) of a projection, (M, count).
  void write_updates(size_t projection, const Tensor& projected, const std::optional<Tensor>& bias, int64_t offset,
                     Tensor& to) const {
    const auto* bias_values = bias ? static_cast<const T*>(bias->const_data_ptr()) + offset : nullptr;
    const int64_t n_columns = to.size(1);
    const auto ranks = jenga::matrix<T>(projected);
    const auto outputs = jenga::mutable_matrix<T>(to);
    for_runs(to, jenga::saturated_product(layout_.n_ranks, n_columns),
             [&](const RowRun& run, int64_t first, int64_t last) noexcept {
               const auto rows = [&](const RankRange& range) noexcept { return b_rows(range, offset); };
               widen_ranges(run.by_projection, static_cast<int64_t>(projection), ranks, rows, bias_values, first, last,
                            {}, n_columns, outputs);
             });
  }

  Tensor output(size_t projection, const Tensor& projected, const std::optional<Tensor>& bias) const {
    const Tensor& weight = arguments_.weights[projection];
    const auto dtype = arguments_.x.scalar_type();
    Tensor y = jenga::empty_like_device<2>(arguments_.x, {n_rows_, weight.size(0)}, dtype);
    if (y.numel() == 0) {
      return y;
    }
    if (dtype == acc && weight.scalar_type() == acc) {
      write_updates(projection, projected, bias, 0, y);
      jenga::add_product(y, x_, jenga::transposed(weight));
      return y;
    }
    const bool in_halves = multiplies(weight);
    const int64_t block = in_halves ? weight.size(0) : upcast_rows;
    for (int64_t offset = 0; offset < weight.size(0); offset += block) {
      Tensor sums = empty(n_rows_, std::min(block, weight.size(0) - offset));
      write_updates(projection, projected, bias, offset, sums);
      if (!in_halves) {
        const Tensor part = jenga::as_type(jenga::rows_of(weight, offset, sums.size(1)), acc);
        jenga::add_product(sums, x_, jenga::transposed(part));
      }
      Tensor to = jenga::columns_of(y, offset, sums.size(1));
      torch::stable::copy_(to, sums);
    }
    if (in_halves) {
      jenga::add_product(y, arguments_.x, jenga::transposed(weight));
    }
    return y;
  }

  // Whether torch multiplies x with the weight fast as they are; elsewhere half precision is upcast.
  bool multiplies(const Tensor& weight) const {
    return arguments_.x.scalar_type() == ScalarType::BFloat16 && weight.scalar_type() == ScalarType::BFloat16 &&
           jenga::core::multiplies_bfloat16();
  }

  Tensor projected_gradient(const std::vector<Tensor>& grads) const {
    Tensor ranks = empty_ranks();
    std::vector<Matrix<const T>> slopes;
    for (const Tensor& grad : grads) {
      slopes.push_back(jenga::matrix<T>(grad));
    }
    const auto to = jenga::mutable_matrix<T>(ranks);
    for_runs(ranks, layout_.n_b_values,
             [&, narrow = kernels().narrow](const RowRun& run, int64_t first, int64_t last) noexcept {
               for (const RankRange& range : run.by_projection) {
                 narrow(slopes[range.projection], b_rows(range), nullptr, range.rank, range.n_outputs, first, last, {},
                        column_of(to, range.offset));
               }
             });
    return ranks;
  }

  // to[range, k] = the sum over the rows that see the range of ranks[m, range] drop(values)[m, k].
  template <typename Ranges>
  void reduce_runs(const Tensor& ranks, const Tensor& values, jenga::core::Dropout dropout, const Ranges& ranges_of,
                   int64_t n_ranks, Tensor& to, int64_t first_rank) const {
    static_assert(noexcept(ranges_of(runs_.front())), "mark it noexcept (jenga/parallel.h)");
    if (to.numel() == 0) {
      return;
    }
    const bool routed = arguments_.rows.has_value();
    if (routed) {
      torch::stable::zero_(to);
    }
    const auto left = jenga::matrix<T>(ranks);
    const auto right = jenga::matrix<T>(values);
    const auto sums = jenga::mutable_matrix<T>(to);
    jenga::for_columns(values.size(1), jenga::saturated_product(n_rows_, n_ranks),
                       [&, reduce = kernels().reduce](int64_t first, int64_t last) noexcept {
                         for (const RowRun& run : runs_) {
                           for (const RankRange& range : ranges_of(run)) {
                             const Matrix<T> rows{sums.row(range.offset - first_rank), sums.row_stride};
                             reduce(column_of(left, range.offset), right, range.rank, run.begin, run.end, first, last,
                                    dropout, routed, rows);
                           }
                         }
                       });
  }

  std::vector<Tensor> a_gradients(const Tensor& dprojected) const {
    Tensor all = empty(layout_.n_ranks, n_inputs_);
    const auto all_ranges = [](const RowRun& run) noexcept { return std::span<const RankRange>(run.ranges); };
    reduce_runs(dprojected, x_, dropout_, all_ranges, layout_.n_ranks, all, 0);
    const auto& parts = arguments_.lora_as;
    if (parts.size() == 1) {
      return {jenga::as_type(all, parts[0].scalar_type())};
    }
    std::vector<Tensor> das;
    for (size_t part = 0; part < parts.size(); ++part) {
      Tensor da = jenga::empty_like_device<2>(x_, {parts[part].size(0), n_inputs_}, parts[part].scalar_type());
      torch::stable::copy_(da, jenga::rows_of(all, layout_.parts[part].offset, parts[part].size(0)));
      das.push_back(std::move(da));
    }
    return das;
  }

  std::vector<Tensor> b_gradients(const std::vector<Tensor>& grads, const Tensor& projected) const {
    std::vector<Tensor> dbs;
    for (size_t part = 0; part < layout_.parts.size(); ++part) {
      const RankRange& own = layout_.parts[part];
      const int64_t width = own.n_outputs;
      Tensor transposed = empty(own.rank, width);
      const auto own_range = [&](const RowRun& run) noexcept {
        const bool seen = std::any_of(run.ranges.begin(), run.ranges.end(), [&](const RankRange& range) {
          return range.offset <= own.offset && own.offset < range.offset + range.rank;
        });
        return std::span<const RankRange>(&own, seen ? 1 : 0);
      };
      reduce_runs(projected, grads[own.projection], {}, own_range, own.rank, transposed, own.offset);
      const Tensor& like = arguments_.lora_bs[part];
      Tensor db = empty(width, own.rank);
      transpose(static_cast<const T*>(transposed.const_data_ptr()), own.rank, width, static_cast<T>(scale_of(part)),
                static_cast<T*>(db.mutable_data_ptr()));
      dbs.push_back(jenga::as_type(db, like.scalar_type()));
    }
    return dbs;
  }

  Tensor input_gradient(const std::vector<Tensor>& raw_grads, const std::vector<Tensor>& grads,
                        const Tensor& dprojected) const {
    Tensor dx = empty(n_rows_, n_inputs_);
    if (dx.numel() == 0) {
      return jenga::as_type(dx, arguments_.x.scalar_type());
    }
    const auto ranks = jenga::matrix<T>(dprojected);
    const auto to = jenga::mutable_matrix<T>(dx);
    for_runs(dx, layout_.n_ranks * n_inputs_, [&](const RowRun& run, int64_t first, int64_t last) noexcept {
      const auto rows = [&](const RankRange& range) noexcept { return a_rows(range); };
      widen_ranges(run.ranges, -1, ranks, rows, nullptr, first, last, dropout_, n_inputs_, to);
    });
    for (size_t index = 0; index < grads.size(); ++index) {
      const Tensor& weight = arguments_.weights[index];
      if (multiplies(weight)) {
        continue;
      }
      const bool whole = weight.scalar_type() == acc;
      const int64_t block = whole ? weight.size(0) : upcast_rows;
      for (int64_t offset = 0; offset < weight.size(0); offset += block) {
        const int64_t count = std::min(block, weight.size(0) - offset);
        jenga::add_product(dx, jenga::columns_of(grads[index], offset, count),
                           jenga::as_type(jenga::rows_of(weight, offset, count), acc));
      }
    }
    Tensor typed = jenga::as_type(dx, arguments_.x.scalar_type());
    for (size_t index = 0; index < grads.size(); ++index) {
      if (multiplies(arguments_.weights[index])) {
        const Tensor grad = jenga::as_type(raw_grads[index], ScalarType::BFloat16);
        jenga::add_product(typed, grad, arguments_.weights[index]);
      }
    }
    return typed;
  }

  const LoraArguments& arguments_;
  RankLayout layout_;
  std::vector<RowRun> runs_;
  jenga::core::Dropout dropout_;
  int64_t n_rows_;
  int64_t n_inputs_;
  Tensor x_;
  Tensor a_;
  Tensor b_;
  // What threads use: they ask nothing of a Tensor, and look for no kernel.
  const T* a_values_;
  const T* b_values_;
  decltype(jenga::core::SkinnyLinearKernels<T>::widen) widen_;
};

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
  jenga::check(biases.size() == biased.size(), "biases and biased differ in length");
  for (size_t place = 0; place < biases.size(); ++place) {
    const int64_t index = biased[place];
    jenga::check(index >= 0 && index < static_cast<int64_t>(weights.size()) && biases[place].dim() == 1 &&
                     jenga::is_floating(biases[place].scalar_type()) && biases[place].size(0) == weights[index].size(0),
                 "biases[", place, "]: must be floating, as many values as its weight has rows");
  }
  return visit_accumulator(x,
                           [&](auto zero) { return LoraProducts<decltype(zero)>(arguments).forward(biases, biased); });
}

std::tuple<Tensor, std::vector<Tensor>, std::vector<Tensor>> lora_linear_backward(
    const std::vector<Tensor>& grads, const Tensor& x, const Tensor& projected, const std::vector<Tensor>& weights,
    const std::vector<Tensor>& lora_as, const std::vector<Tensor>& lora_bs, const std::vector<double>& scales,
    const std::vector<int64_t>& projections, const std::vector<int64_t>& adapters, const std::optional<Tensor>& rows,
    double dropout, const std::optional<Tensor>& seed, bool wants_x, bool wants_a, bool wants_b) {
  const LoraArguments arguments{x, weights, lora_as, lora_bs, scales, projections, adapters, rows, dropout, seed};
  check_lora(arguments);
  jenga::check(grads.size() == weights.size(), "grads: got ", grads.size(), " for ", weights.size(), " weights");
  for (size_t index = 0; index < grads.size(); ++index) {
    jenga::check_shape(grads[index], {x.size(0), weights[index].size(0)}, "grads[", index, "]");
    jenga::check_floating(grads[index], "grads[", index, "]");
  }
  int64_t n_ranks = 0;
  for (const Tensor& lora_a : lora_as) {
    n_ranks = jenga::checked_sum(n_ranks, lora_a.size(0), "ranks of all lora_as");
  }
  jenga::check_shape(projected, {x.size(0), n_ranks}, "projected");
  jenga::check_floating(projected, "projected");
  return visit_accumulator(x, [&](auto zero) {
    return LoraProducts<decltype(zero)>(arguments).backward(grads, projected, wants_x, wants_a, wants_b);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(jenga, CPU, m) {
  m.impl("lora_linear", TORCH_BOX(&lora_linear));
  m.impl("lora_linear_backward", TORCH_BOX(&lora_linear_backward));
}
