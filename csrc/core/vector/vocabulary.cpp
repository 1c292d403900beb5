#include "core/vocabulary.h"

#include "core/vector/math.h"
#include "core/vector/vec.h"

namespace jenga::core::JENGA_ISA {
namespace {

// Values after which a sum of vectors goes on in double: a row of 150,000 terms then loses no more digits than one of
// 4096 does.
constexpr int64_t block_values = 4096;

int64_t at_most(int64_t value, int64_t limit) { return value < limit ? value : limit; }

// Up to a vector of values; lanes past `count` hold `padding`.
template <typename T>
Vec<T> load_padded(const T* from, int64_t count, T padding) {
  if (count >= lanes<T>) {
    return load(from);
  }
  Vec<T> vector = splat(padding);
  __builtin_memcpy(&vector, from, static_cast<size_t>(count) * sizeof(T));
  return vector;
}

template <typename T>
constexpr T minus_infinity = -static_cast<T>(__builtin_inff());

template <typename T>
T row_max(const T* row, int64_t n) {
  Vec<T> max = splat(minus_infinity<T>);
  for (int64_t i = 0; i < n; i += lanes<T>) {
    max = vector_max<T>(max, load_padded(row + i, n - i, minus_infinity<T>));
  }
  T result = max[0];
  for (int lane = 1; lane < lanes<T>; ++lane) {
    result = result < max[lane] ? max[lane] : result;
  }
  return result;
}

// Sum of term(i, count) over vectors of up to `count` values at i; the lanes past `count` must come out as 0.
template <typename T, typename Term>
double sum_vectors(int64_t n, const Term& term) {
  constexpr int width = lanes<T>;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += block_values) {
    const int64_t end = at_most(begin + block_values, n);
    // Two sums, so that one addition need not wait for the other.
    Vec<T> even{};
    Vec<T> odd{};
    int64_t i = begin;
    for (; i + 2 * width <= end; i += 2 * width) {
      even += term(i, width);
      odd += term(i + width, width);
    }
    for (; i < end; i += width) {
      even += term(i, at_most(end - i, width));
    }
    total += static_cast<double>(lane_sum(even + odd));
  }
  return total;
}

// row[i] = value(i, count) for all i < n.
template <typename T, typename Value>
void store_vectors(T* row, int64_t n, const Value& value) {
  int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) {
    store(row + i, value(i, lanes<T>));
  }
  if (i < n) {
    store_first(row + i, value(i, n - i), n - i);
  }
}

// softmax(row / temperature), one vector at a time.
template <typename T>
class Softmax {
 public:
  Softmax(const T* row, int64_t n, double temperature)
      : row_(row), inverse_temperature_(static_cast<T>(1 / temperature)), max_(row_max(row, n)) {
    const double sum = sum_vectors<T>(n, [&](int64_t i, int64_t count) { return vector_exp(shifted(i, count)); });
    inverse_sum_ = static_cast<T>(1 / sum);
    log_sum_ = __builtin_log(sum);
  }

  // row / temperature, less its largest value; -infinity past `count`.
  Vec<T> shifted(int64_t i, int64_t count) const {
    return (load_padded(row_ + i, count, minus_infinity<T>) - max_) * inverse_temperature_;
  }
  Vec<T> probability(Vec<T> shifted_logits) const { return vector_exp(shifted_logits) * inverse_sum_; }
  Vec<T> log_probability(Vec<T> shifted_logits) const { return shifted_logits - static_cast<T>(log_sum_); }
  double log_sum() const { return log_sum_; }
  double log_probability_of(int64_t column) const {
    return (static_cast<double>(row_[column]) - static_cast<double>(max_)) * static_cast<double>(inverse_temperature_) -
           log_sum_;
  }

 private:
  const T* row_;
  T inverse_temperature_;
  T max_;
  T inverse_sum_;
  double log_sum_;
};

// Whether a row has a label to learn from; otherwise its loss and slope are written here.
template <typename T>
bool has_label(const VocabularyRows<T>& rows, const VocabularyLoss& loss, int64_t row) {
  const int64_t label = rows.labels[row];
  const bool ignored = label == loss.ignore_index;
  if (!ignored && label >= 0 && label < rows.columns) {
    return true;
  }
  rows.losses[row] = ignored ? T(0) : static_cast<T>(__builtin_nanf(""));
  if (loss.with_slope) {
    store_vectors(rows.logits + row * rows.columns, rows.columns, [](int64_t, int64_t) { return Vec<T>{}; });
  }
  return false;
}

template <typename T>
void cross_entropy(VocabularyRows<T> rows, VocabularyLoss loss, double label_smoothing, int64_t begin, int64_t end) {
  const int64_t n = rows.columns;
  for (int64_t row = begin; row < end; ++row) {
    if (!has_label(rows, loss, row)) {
      continue;
    }
    T* logits = rows.logits + row * n;
    const int64_t label = rows.labels[row];
    const Softmax<T> softmax(logits, n, 1);
    double value = -(1 - label_smoothing) * softmax.log_probability_of(label);
    if (label_smoothing > 0) {
      const double sum = sum_vectors<T>(n, [&](int64_t i, int64_t count) {
        const Vec<T> shifted = softmax.shifted(i, count);
        return count < lanes<T> ? load_first(reinterpret_cast<const T*>(&shifted), count) : shifted;
      });
      value += label_smoothing * (softmax.log_sum() - sum / static_cast<double>(n));
    }
    rows.losses[row] = static_cast<T>(value);
    if (loss.with_slope) {
      const T scale = static_cast<T>(loss.slope_scale);
      const double share = label_smoothing / static_cast<double>(n);
      const T everywhere = static_cast<T>(loss.slope_scale * share);
      // In one subtraction: of a certain label nothing is left, least of all the roundings of two.
      const T at_label = static_cast<T>(loss.slope_scale * (1 - label_smoothing + share));
      const T label_slope = softmax.probability(softmax.shifted(label, 1))[0] * scale - at_label;
      store_vectors(logits, n, [&](int64_t i, int64_t count) {
        return softmax.probability(softmax.shifted(i, count)) * scale - everywhere;
      });
      logits[label] = label_slope;
    }
  }
}

// One row's divergence of the student's from the teacher's distribution, and its slope by the student's logits,
// times the temperature. Terms of probability 0 are 0, whatever their logarithm is; NaN stays.
template <typename T, Divergence kind>
class RowDivergence {
 public:
  RowDivergence(const T* student, const T* teacher, int64_t n, double temperature)
      : student_(student, n, temperature), teacher_(teacher, n, temperature) {
    if constexpr (kind == Divergence::jensen_shannon) {
      mean_ = sum_vectors<T>(n, [&](int64_t i, int64_t count) {
        return half_divergence(student_, student_.shifted(i, count), teacher_, teacher_.shifted(i, count));
      });
      value_ = mean_ + sum_vectors<T>(n, [&](int64_t i, int64_t count) {
                 return half_divergence(teacher_, teacher_.shifted(i, count), student_, student_.shifted(i, count));
               });
    } else {
      value_ = sum_vectors<T>(n, [&](int64_t i, int64_t count) {
        const Vec<T> s = student_.shifted(i, count);
        const Vec<T> t = teacher_.shifted(i, count);
        const Vec<T> log_ratio = student_.log_probability(s) - teacher_.log_probability(t);
        const Vec<T> weight = kind == Divergence::forward_kl ? teacher_.probability(t) : student_.probability(s);
        return weight == 0 ? Vec<T>{} : weight * (kind == Divergence::forward_kl ? -log_ratio : log_ratio);
      });
      mean_ = value_;
    }
  }

  double value() const { return value_; }

  Vec<T> slope(int64_t i, int64_t count) const {
    const Vec<T> s = student_.shifted(i, count);
    const Vec<T> t = teacher_.shifted(i, count);
    const Vec<T> p = student_.probability(s);
    if constexpr (kind == Divergence::forward_kl) {
      return p - teacher_.probability(t);
    } else if constexpr (kind == Divergence::reverse_kl) {
      const Vec<T> log_ratio = student_.log_probability(s) - teacher_.log_probability(t);
      return p == 0 ? p : p * (log_ratio - static_cast<T>(mean_));
    } else {
      return half_divergence(student_, s, teacher_, t) - p * static_cast<T>(mean_);
    }
  }

 private:
  // a log(a / m) / 2 with m = (a + b) / 2. Where a is not much smaller than b the logarithm is that of 1 + r, which
  // keeps the digits of a small difference; elsewhere it is log(a / b) + log(b / m).
  static Vec<T> half_divergence(const Softmax<T>& of, Vec<T> of_shifted, const Softmax<T>& other,
                                Vec<T> other_shifted) {
    const Vec<T> a = of.probability(of_shifted);
    const Vec<T> b = other.probability(other_shifted);
    const Vec<T> sum = a + b;
    const Vec<T> r = (a - b) / (sum == 0 ? sum + 1 : sum);
    const Vec<T> log_ratio = of.log_probability(of_shifted) - other.log_probability(other_shifted);
    const Vec<T> log = vector_log1p(r < -0.5F ? -r : r) + (r < -0.5F ? log_ratio : Vec<T>{});
    return a == 0 ? a : a * log / 2;
  }

  Softmax<T> student_;
  Softmax<T> teacher_;
  double value_;
  double mean_;  // of the slope before it is centred, under the student's distribution
};

template <typename T, Divergence kind>
void distill_row(T* logits, int64_t n, const T* teacher, int64_t n_teacher, int64_t label, const VocabularyLoss& loss,
                 const Distillation& distillation, T* value) {
  const int64_t n_shared = at_most(n, n_teacher);
  const RowDivergence<T, kind> divergence(logits, teacher, n_shared, distillation.temperature);
  const Softmax<T> softmax(logits, n, 1);
  const double hard = 1 - distillation.alpha;
  const double soft = distillation.alpha * distillation.temperature;
  *value = static_cast<T>((hard > 0 ? -hard * softmax.log_probability_of(label) : 0.0) +
                          (soft > 0 ? soft * distillation.temperature * divergence.value() : 0.0));
  if (!loss.with_slope) {
    return;
  }
  const T hard_scale = static_cast<T>(hard * loss.slope_scale);
  const T soft_scale = static_cast<T>(soft * loss.slope_scale);
  const auto hard_slope = [&](int64_t i, int64_t count) {
    return hard_scale > 0 ? softmax.probability(softmax.shifted(i, count)) * hard_scale : Vec<T>{};
  };
  store_vectors(logits, n_shared, [&](int64_t i, int64_t count) {
    return hard_slope(i, count) + (soft_scale > 0 ? divergence.slope(i, count) * soft_scale : Vec<T>{});
  });
  for (int64_t i = n_shared; i < n; i += lanes<T>) {
    const int64_t count = at_most(n - i, lanes<T>);
    store_first(logits + i, hard_slope(i, count), count);
  }
  logits[label] -= hard_scale;
}

template <typename T>
void distillation(VocabularyRows<T> rows, const T* teacher, int64_t teacher_columns, VocabularyLoss loss,
                  Distillation distillation, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    if (!has_label(rows, loss, row)) {
      continue;
    }
    const auto distill = distillation.divergence == Divergence::forward_kl ? &distill_row<T, Divergence::forward_kl>
                         : distillation.divergence == Divergence::reverse_kl
                             ? &distill_row<T, Divergence::reverse_kl>
                             : &distill_row<T, Divergence::jensen_shannon>;
    distill(rows.logits + row * rows.columns, rows.columns, teacher + row * teacher_columns, teacher_columns,
            rows.labels[row], loss, distillation, rows.losses + row);
  }
}

}  // namespace
}  // namespace jenga::core::JENGA_ISA

namespace jenga::core {

const VocabularyKernels<float> JENGA_TABLE(vocabulary_float){
    .cross_entropy = &JENGA_ISA::cross_entropy<float>,
    .distillation = &JENGA_ISA::distillation<float>,
};
const VocabularyKernels<double> JENGA_TABLE(vocabulary_double){
    .cross_entropy = &JENGA_ISA::cross_entropy<double>,
    .distillation = &JENGA_ISA::distillation<double>,
};

}  // namespace jenga::core
