#include "core/head_rows.h"

#include "core/vector/math.h"
#include "core/vector/vec.h"

namespace jenga::core::JENGA_ISA {
namespace {

// A tile is as many rows as a vector has lanes, one column after the other: heads have few columns and many rows.

template <typename acc_t>
struct VectorMath {
  using V = Vec<acc_t>;
  static V one() { return splat(acc_t(1)); }
  static V exp(V x) { return vector_exp(x); }
  static V log(V x) { return vector_log(x); }
  static V log1p(V x) { return vector_log1p(x); }
  static V abs(V x) { return vector_abs(x); }
  static V choose(Bits<acc_t> mask, V if_set, V if_not) { return mask ? if_set : if_not; }
};

// The rows of a tile: lanes beyond `count` repeat the last row and are not active.
template <typename acc_t>
struct Tile {
  int64_t first;  // row of HeadRows
  int count;
  Bits<acc_t> own;     // rows of the head's task
  Bits<acc_t> active;  // those of them with a label
  Bits<acc_t> labels;  // 0 where not active
};

template <typename acc_t>
Tile<acc_t> make_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, int64_t first) {
  Tile<acc_t> tile{first, lanes<acc_t>, {}, {}, {}};
  if (rows.count - first < tile.count) {
    tile.count = static_cast<int>(rows.count - first);
  }
  for (int lane = 0; lane < tile.count; ++lane) {
    tile.own[lane] = rows.row_tasks == nullptr || rows.row_tasks[first + lane] == segment.task ? -1 : 0;
  }
  tile.active = tile.own;
  return tile;
}

// False, and the error in `sum`, where a label is out of range.
template <typename acc_t>
bool read_labels(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, Tile<acc_t>& tile, SegmentSum& sum) {
  for (int lane = 0; lane < tile.count; ++lane) {
    const int64_t row = rows.begin + tile.first + lane;
    const int64_t label = segment.labels[row];
    if (!tile.own[lane]) {
      continue;
    }
    if (label == ignored_label) {
      tile.active[lane] = 0;
      continue;
    }
    if (label < 0 || label >= segment.size) {
      sum.error = {row, label};
      return false;
    }
    tile.labels[lane] = static_cast<decltype(tile.labels[0] + 0)>(label);
  }
  return true;
}

// A row that holds a NaN anywhere has no target.
template <typename acc_t>
void mask_soft_rows(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, Tile<acc_t>& tile) {
  for (int lane = 0; lane < tile.count; ++lane) {
    const acc_t* values = segment.values + (rows.begin + tile.first + lane) * segment.size;
    bool is_known = true;
    for (int64_t column = 0; column < segment.size; ++column) {
      is_known = is_known && values[column] == values[column];
    }
    tile.active[lane] = tile.active[lane] && is_known ? -1 : 0;
  }
}

// One value of each row of the tile; `values` belongs to its first row.
template <typename acc_t>
Vec<acc_t> gather(const acc_t* values, int64_t stride, int count) {
  Vec<acc_t> vector;
  for (int lane = 0; lane < lanes<acc_t>; ++lane) {
    vector[lane] = values[(lane < count ? lane : count - 1) * stride];
  }
  return vector;
}

template <typename acc_t>
struct Best {
  Vec<acc_t> value;
  Bits<acc_t> column;
};

// Copies the tile's logits to scratch, one column after the other, and finds each row's first largest.
template <typename acc_t>
Best<acc_t> load_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile) {
  const acc_t* logits = rows.logits + tile.first * rows.logits_stride + segment.offset;
  Best<acc_t> best{gather(logits, rows.logits_stride, tile.count), {}};
  for (int64_t column = 0; column < segment.size; ++column) {
    const Vec<acc_t> values = gather(logits + column, rows.logits_stride, tile.count);
    store(rows.scratch + column * lanes<acc_t>, values);
    // The first NaN wins, as in torch's argmax.
    const Bits<acc_t> is_better = (values > best.value) | ((values != values) & (best.value == best.value));
    best.value = is_better ? values : best.value;
    best.column = is_better ? Bits<acc_t>{} + static_cast<decltype(best.column[0] + 0)>(column) : best.column;
  }
  return best;
}

// Writes the tile in scratch to the head's columns of the slope, row by row.
template <typename acc_t>
void store_slopes(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile) {
  for (int lane = 0; lane < tile.count; ++lane) {
    acc_t* slope = rows.slope + (tile.first + lane) * rows.slope_stride + segment.offset;
    for (int64_t column = 0; column < segment.size; ++column) {
      slope[column] = rows.scratch[column * lanes<acc_t> + lane];
    }
  }
}

template <typename acc_t>
void add_losses(const Tile<acc_t>& tile, Vec<acc_t> losses, SegmentSum& sum) {
  const Vec<acc_t> kept = tile.active ? losses : Vec<acc_t>{};
  double loss = 0;
  int64_t n_labels = 0;
  for (int lane = 0; lane < lanes<acc_t>; ++lane) {
    loss += static_cast<double>(kept[lane]);
    n_labels -= tile.active[lane];
  }
  sum.loss += loss;
  sum.count += n_labels;
}

template <typename acc_t>
acc_t weight_of(const Segment<acc_t>& segment, int64_t column) {
  return segment.label_weights == nullptr ? acc_t(1) : segment.label_weights[column];
}

template <typename acc_t>
Vec<acc_t> label_weights(const Segment<acc_t>& segment, const Tile<acc_t>& tile) {
  Vec<acc_t> weights = splat(acc_t(1));
  if (segment.label_weights != nullptr) {
    for (int lane = 0; lane < tile.count; ++lane) {
      weights[lane] = segment.label_weights[tile.labels[lane]];
    }
  }
  return weights;
}

// The exponentials of one tile, left in scratch: exp(logit - max), their sum, and log p of the label.
template <typename acc_t>
struct Exponentials {
  Vec<acc_t> sum;
  Vec<acc_t> label;  // logit of the label - max
};

template <typename acc_t>
Exponentials<acc_t> exponentiate(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile,
                                 Vec<acc_t> max) {
  Exponentials<acc_t> found{{}, {}};
  for (int lane = 0; lane < lanes<acc_t>; ++lane) {
    found.label[lane] = rows.scratch[static_cast<int64_t>(tile.labels[lane]) * lanes<acc_t> + lane];
  }
  found.label = found.label - max;
  for (int64_t column = 0; column < segment.size; ++column) {
    acc_t* place = rows.scratch + column * lanes<acc_t>;
    const Vec<acc_t> exponential = vector_exp(load(place) - max);
    store(place, exponential);
    found.sum += exponential;
  }
  return found;
}

// -w log p at the label. The slope is w (p - one_hot).
template <typename acc_t>
void cross_entropy_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile,
                        Vec<acc_t> max, SegmentSum& sum) {
  const auto found = exponentiate(segment, rows, tile, max);
  const Vec<acc_t> weights = label_weights(segment, tile);
  add_losses(tile, weights * (vector_log(found.sum) - found.label), sum);
  if (rows.slope == nullptr) {
    return;
  }
  const Vec<acc_t> scale = weights / found.sum;
  const Vec<acc_t> zero{};
  for (int64_t column = 0; column < segment.size; ++column) {
    acc_t* place = rows.scratch + column * lanes<acc_t>;
    const Bits<acc_t> is_label = tile.labels == static_cast<decltype(tile.labels[0] + 0)>(column);
    store(place, tile.active ? load(place) * scale - (is_label ? weights : zero) : zero);
  }
  store_slopes(segment, rows, tile);
}

template <typename acc_t>
void focal_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile, Vec<acc_t> max,
                SegmentSum& sum) {
  using Math = VectorMath<acc_t>;
  const auto found = exponentiate(segment, rows, tile, max);
  const Vec<acc_t> zero{};
  Vec<acc_t> others{};
  for (int64_t column = 0; column < segment.size; ++column) {
    const Bits<acc_t> is_label = tile.labels == static_cast<decltype(tile.labels[0] + 0)>(column);
    others += is_label ? zero : load(rows.scratch + column * lanes<acc_t>);
  }
  // 1 - p of a certain row is 0, whose power below gamma = 1 has no derivative.
  const Vec<acc_t> least = splat(sizeof(acc_t) == 4 ? acc_t(1.17549435e-38) : acc_t(2.2250738585072014e-308));
  const Vec<acc_t> p = vector_exp(found.label) / found.sum;
  // Of a small p, 1 - p is nearly exact, and a power repeats a rounding gamma times.
  const Vec<acc_t> rest = p < acc_t(0.5) ? acc_t(1) - p : vector_max<acc_t>(others / found.sum, least);
  const Vec<acc_t> log_p = found.label - vector_log(found.sum);
  const Vec<acc_t> weights = label_weights(segment, tile);
  const Vec<acc_t> gamma = splat(static_cast<acc_t>(segment.parameter));
  add_losses(tile, weights * focal_loss<Math>(log_p, rest, gamma), sum);
  if (rows.slope == nullptr) {
    return;
  }
  const Vec<acc_t> slope = weights * focal_slope<Math>(log_p, p, rest, gamma);
  for (int64_t column = 0; column < segment.size; ++column) {
    acc_t* place = rows.scratch + column * lanes<acc_t>;
    const Bits<acc_t> is_label = tile.labels == static_cast<decltype(tile.labels[0] + 0)>(column);
    const Vec<acc_t> direction = is_label ? rest : -load(place) / found.sum;
    store(place, tile.active ? slope * direction : zero);
  }
  store_slopes(segment, rows, tile);
}

// Weighted targets q of -sum_c q_c log p_c: given ones, or a label's one_hot, spread by label smoothing. What does not
// depend on the row is rounded once, since the slope is p times the sum of q, less q.
template <typename acc_t>
struct SpreadTargets {
  const Segment<acc_t>& segment;
  const Tile<acc_t>& tile;
  const acc_t* values;  // those of the tile's first row
  acc_t kept;           // 1 - smoothing
  acc_t everywhere;     // smoothing / K
  acc_t everywhere_sum;

  SpreadTargets(const Segment<acc_t>& head, const HeadRows<acc_t>& rows, const Tile<acc_t>& of)
      : segment(head), tile(of), values(head.values) {
    if (values != nullptr) {
      values += (rows.begin + tile.first) * segment.size;
    }
    double weights = 0;
    for (int64_t column = 0; column < segment.size; ++column) {
      weights += static_cast<double>(weight_of(segment, column));
    }
    const double share = segment.parameter / static_cast<double>(segment.size);
    kept = static_cast<acc_t>(1 - segment.parameter);
    everywhere = static_cast<acc_t>(share);
    everywhere_sum = static_cast<acc_t>(share * weights);
  }

  Vec<acc_t> unspread(int64_t column) const {
    if (values != nullptr) {
      return gather(values + column, segment.size, tile.count);
    }
    const Bits<acc_t> is_label = tile.labels == static_cast<decltype(tile.labels[0] + 0)>(column);
    return is_label ? splat(acc_t(1)) : Vec<acc_t>{};
  }

  Vec<acc_t> at(int64_t column) const { return (unspread(column) * kept + everywhere) * weight_of(segment, column); }

  // The sum of q over all columns; that of given targets is compensated (Kahan 1965).
  Vec<acc_t> total() const {
    if (values == nullptr) {
      return label_weights(segment, tile) * kept + everywhere_sum;
    }
    Vec<acc_t> sum{};
    Vec<acc_t> lost{};
    for (int64_t column = 0; column < segment.size; ++column) {
      const Vec<acc_t> term = unspread(column) * weight_of(segment, column) - lost;
      const Vec<acc_t> next = sum + term;
      lost = (next - sum) - term;
      sum = next;
    }
    return sum * kept + everywhere_sum;
  }
};

template <typename acc_t>
void spread_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, const Tile<acc_t>& tile, Vec<acc_t> max,
                 SegmentSum& sum) {
  const SpreadTargets<acc_t> targets(segment, rows, tile);
  const Vec<acc_t> total = targets.total();
  Vec<acc_t> exponentials{};
  Vec<acc_t> losses{};
  for (int64_t column = 0; column < segment.size; ++column) {
    acc_t* place = rows.scratch + column * lanes<acc_t>;
    const Vec<acc_t> below_max = max - load(place);
    losses += targets.at(column) * below_max;
    const Vec<acc_t> exponential = vector_exp(-below_max);
    exponentials += exponential;
    store(place, exponential);
  }
  add_losses(tile, losses + total * vector_log(exponentials), sum);
  if (rows.slope == nullptr) {
    return;
  }
  const Vec<acc_t> scale = total / exponentials;
  for (int64_t column = 0; column < segment.size; ++column) {
    acc_t* place = rows.scratch + column * lanes<acc_t>;
    store(place, tile.active ? load(place) * scale - targets.at(column) : Vec<acc_t>{});
  }
  store_slopes(segment, rows, tile);
}

// One class a row: cross-entropy, focal, soft targets. False where a label is out of range.
template <typename acc_t>
bool class_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, int64_t first, SegmentSum& sum) {
  Tile<acc_t> tile = make_tile(segment, rows, first);
  const bool has_labels = takes_labels(segment.kind);
  if (has_labels && !read_labels(segment, rows, tile, sum)) {
    return false;
  }
  if (!has_labels) {
    mask_soft_rows(segment, rows, tile);
  }
  const auto best = load_tile(segment, rows, tile);
  for (int lane = 0; lane < tile.count; ++lane) {
    segment.classes[rows.begin + first + lane] =
        tile.own[lane] ? static_cast<int64_t>(best.column[lane]) : ignored_label;
  }
  if (segment.kind == HeadKind::focal) {
    focal_tile(segment, rows, tile, best.value, sum);
  } else if (has_labels && segment.parameter == 0) {
    cross_entropy_tile(segment, rows, tile, best.value, sum);
  } else {
    spread_tile(segment, rows, tile, best.value, sum);
  }
  return true;
}

// Independent values of a row: binary cross-entropy, squared error.
template <typename acc_t, bool is_binary>
void value_tile(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, int64_t first, SegmentSum& sum) {
  using Math = VectorMath<acc_t>;
  Tile<acc_t> tile = make_tile(segment, rows, first);
  const acc_t* logits = rows.logits + first * rows.logits_stride + segment.offset;
  const acc_t* values = segment.values + (rows.begin + first) * segment.size;
  const Vec<acc_t> zero{};
  for (int64_t column = 0; column < segment.size; ++column) {
    const Vec<acc_t> x = gather(logits + column, rows.logits_stride, tile.count);
    const Vec<acc_t> target = gather(values + column, segment.size, tile.count);
    tile.active = tile.own & (target == target);
    const Vec<acc_t> y = tile.active ? target : zero;
    const Vec<acc_t> w = splat(weight_of(segment, column));
    add_losses(tile, is_binary ? binary_cross_entropy<Math>(x, y, w) : (x - y) * (x - y), sum);
    if constexpr (is_binary) {
      const Bits<acc_t> positive = tile.own & (x > zero);
      for (int lane = 0; lane < tile.count; ++lane) {
        segment.items[(rows.begin + first + lane) * segment.items_stride + column] = positive[lane] != 0;
      }
    }
    if (rows.slope != nullptr) {
      const Vec<acc_t> slope = is_binary ? binary_cross_entropy_slope<Math>(x, y, w) : acc_t(2) * (x - y);
      store(rows.scratch + column * lanes<acc_t>, tile.active ? slope : zero);
    }
  }
  if (rows.slope != nullptr) {
    store_slopes(segment, rows, tile);
  }
}

template <typename acc_t>
void head_rows(const Segment<acc_t>& segment, const HeadRows<acc_t>& rows, SegmentSum& sum) {
  for (int64_t first = 0; first < rows.count; first += lanes<acc_t>) {
    if (segment.kind == HeadKind::binary_cross_entropy) {
      value_tile<acc_t, true>(segment, rows, first, sum);
    } else if (segment.kind == HeadKind::squared_error) {
      value_tile<acc_t, false>(segment, rows, first, sum);
    } else if (!class_tile(segment, rows, first, sum)) {
      return;
    }
  }
}

template <typename acc_t>
void scale_slopes(const acc_t* slope, const acc_t* column_grads, int64_t n_rows, int64_t n_columns, acc_t* scaled) {
  const Vec<acc_t> zero{};
  for (int64_t row = 0; row < n_rows; ++row) {
    const acc_t* from = slope + row * n_columns;
    acc_t* to = scaled + row * n_columns;
    int64_t column = 0;
    for (; column + lanes<acc_t> <= n_columns; column += lanes<acc_t>) {
      const Vec<acc_t> values = load(from + column);
      store(to + column, values == zero ? zero : values * load(column_grads + column));
    }
    for (; column < n_columns; ++column) {
      to[column] = from[column] == 0 ? 0 : from[column] * column_grads[column];
    }
  }
}

}  // namespace
}  // namespace jenga::core::JENGA_ISA

namespace jenga::core {

const HeadKernels JENGA_TABLE(head_kernels){
    .rows_float = &JENGA_ISA::head_rows<float>,
    .rows_double = &JENGA_ISA::head_rows<double>,
    .scale_float = &JENGA_ISA::scale_slopes<float>,
    .scale_double = &JENGA_ISA::scale_slopes<double>,
};

}  // namespace jenga::core
