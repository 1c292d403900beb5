// Features of texts: length, entropy, classes of bytes, hashed n-grams.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/refinery/clones.h"
#include "core/refinery/encode.h"

namespace jenga::refinery {

namespace {

// c log2 c, for the counts that occur.
struct EntropyTable {
  std::array<double, 1024> values;

  EntropyTable() {
    values[0] = 0;
    for (size_t i = 1; i < values.size(); ++i) values[i] = static_cast<double>(i) * std::log2(static_cast<double>(i));
  }

  double operator()(size_t count) const {
    if (count < values.size()) return values[count];
    return static_cast<double>(count) * std::log2(static_cast<double>(count));
  }
};

const EntropyTable& entropy_table() {
  static const EntropyTable table;
  return table;
}

// How many bytes of a text are of each class. A loop of comparisons, which becomes vectors; a table of counters would
// wait for its own last store.
struct ByteClasses {
  uint32_t digits = 0, upper = 0, symbols = 0, high = 0;
};

JENGA_CLONES
ByteClasses count_classes(const char* text, size_t size) {
  ByteClasses counts;
  for (size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_digit = static_cast<unsigned char>(byte - '0') < 10;
    const bool is_letter = static_cast<unsigned char>((byte | 0x20) - 'a') < 26;
    counts.digits += is_digit;
    counts.upper += static_cast<unsigned char>(byte - 'A') < 26;
    counts.symbols += static_cast<unsigned char>(byte - 0x21) < 0x5e && !is_digit && !is_letter;
    counts.high += byte >= 0x80;
  }
  return counts;
}

// Counts a token and returns by how much the sum of squares of the counts grows: from v to v +- 1 by +-2 v + 1. Whole
// numbers, which double adds up exactly.
double count_bucket(const Bucket& bucket, bool has_sign, float* out) {
  const float step = has_sign && bucket.negative ? -1.0f : 1.0f;
  float& count = out[bucket.index];
  const double growth = 2.0 * step * count + 1;
  count += step;
  return growth;
}

// Counts n-grams that fit into a register and returns the sum of squares of the counts. Eight bytes behind the
// text must be readable.
template <HashKind kind>
double count_words(const char* text, size_t size, size_t n, uint32_t n_buckets, bool has_sign, float* out) {
  const uint64_t mask = n == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1;
  double squares = 0;
  for (size_t i = 0; i + n <= size; ++i) {
    uint64_t word;
    std::memcpy(&word, text + i, 8);
    squares += count_bucket(word_bucket<kind>(word & mask, n, n_buckets), has_sign, out);
  }
  return squares;
}

}  // namespace

void Encoder::text(const Field& field, std::string_view value, float* row) {
  if (value.empty()) return;
  const auto n = static_cast<double>(value.size());
  for (const char c : value) ++byte_counts_[static_cast<unsigned char>(c)];
  const ByteClasses classes = count_classes(value.data(), value.size());
  const EntropyTable& table = entropy_table();
  // A byte's count is taken at its first place and is 0, like its term, at the others: no branch to foresee.
  double sum = 0;
  if (value.size() < table.values.size()) {
    for (const char c : value) {
      uint32_t& count = byte_counts_[static_cast<unsigned char>(c)];
      sum += table.values[count];
      count = 0;
    }
  } else {
    for (uint32_t& count : byte_counts_) {
      sum += table(count);
      count = 0;
    }
  }
  float* const out = row + field.column;
  out[0] = static_cast<float>(std::log1p(n));
  out[1] = static_cast<float>(std::max(0.0, (table(value.size()) - sum) / n));
  out[2] = static_cast<float>(classes.digits / n);
  out[3] = static_cast<float>(classes.upper / n);
  out[4] = static_cast<float>(classes.symbols / n);
  out[5] = static_cast<float>(classes.high / n);
  if (field.n_buckets > 0) ngrams(field, value, out + 6);
}

void Encoder::ngrams(const Field& field, std::string_view value, float* out) {
  const auto n = static_cast<size_t>(field.ngram);
  if (value.size() < n) return;
  // Eight bytes more, so that the last n-gram may be loaded as a word.
  if (lowered_.size() < value.size() + 8) lowered_.resize(value.size() + 8);
  if (field.lower) {
    std::transform(value.begin(), value.end(), lowered_.begin(),
                   [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c); });
  } else {
    std::memcpy(lowered_.data(), value.data(), value.size());
  }
  double squares = 0;
  if (n > 8) {
    for (size_t i = 0; i + n <= value.size(); ++i) {
      squares += count_bucket(bucket_of({lowered_.data() + i, n}, field.hash, field.n_buckets), field.has_sign, out);
    }
  } else if (field.hash == HashKind::jenga) {
    squares = count_words<HashKind::jenga>(lowered_.data(), value.size(), n, field.n_buckets, field.has_sign, out);
  } else {
    squares = count_words<HashKind::murmur3>(lowered_.data(), value.size(), n, field.n_buckets, field.has_sign, out);
  }
  if (!field.l2 || squares == 0) return;
  const auto factor = static_cast<float>(1 / std::sqrt(squares));
  for (uint32_t i = 0; i < field.n_buckets; ++i) out[i] *= factor;
}

}  // namespace jenga::refinery
