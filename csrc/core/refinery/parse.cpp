#include "core/refinery/parse.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace jenga::refinery {

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr size_t arena_chunk = 64 * 1024;
constexpr int64_t max_row_size = 0xf0000000;

}  // namespace

char* Arena::reserve(size_t size) {
  while (chunk_ < chunks_.size() && chunks_[chunk_].second - used_ < size) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t capacity = std::max(size, arena_chunk);
    chunks_.emplace_back(new char[capacity], capacity);
  }
  return chunks_[chunk_].first.get() + used_;
}

void RawBlock::reset(const Plan& plan, int64_t capacity) {
  const auto rows = static_cast<size_t>(capacity);
  n_rows = 0;
  numbers.resize(rows * static_cast<size_t>(plan.n_numbers));
  texts.resize(rows * static_cast<size_t>(plan.n_texts));
  const auto n_fields = static_cast<size_t>(plan.n_fields());
  states.resize(rows * n_fields);
  coerced.assign(n_fields, 0);
  duplicates.assign(n_fields, 0);
  bad.clear();
  arena.clear();
}

BlockParser::BlockParser(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)), memories_(plan_->nodes.size()) {
  for (KeyMemory& memory : memories_) memory.slots.assign(64, nullptr);
  node_rows_.assign(plan_->nodes.size(), 0);
  sets_.resize(plan_->set_fields.size());
  for (size_t i = 0; i < sets_.size(); ++i) {
    sets_[i].marks.resize(static_cast<size_t>(plan_->fields[static_cast<size_t>(plan_->set_fields[i])].n_levels));
  }
  n_numbers_ = static_cast<size_t>(plan_->n_numbers + plan_->n_stand_in_numbers);
  n_texts_ = static_cast<size_t>(plan_->n_texts + plan_->n_stand_in_texts);
  if (plan_->has_stand_ins()) {
    wide_numbers_.resize(n_numbers_);
    wide_texts_.resize(n_texts_);
    wide_states_.resize(plan_->fields.size());
  }
  if (plan_->duplicates_are_errors) seen_keys_.resize(max_depth + 1);
}

void BlockParser::parse(const char* data, int64_t data_size, const int64_t* offsets, int64_t first, int64_t last,
                        RawBlock& block) {
  block.reset(*plan_, last - first);
  block_ = &block;
  // A single row is indexed alone: it may be as large as it likes.
  const Piece* const piece =
      last - first > 1 ? pieces_.make(data, data_size, offsets[2 * first], offsets[2 * last - 1]) : nullptr;
  uint32_t piece_k = 0;
  for (int64_t row = first; row < last; ++row) {
    int64_t begin = offsets[2 * row];
    int64_t end = offsets[2 * row + 1];
    while (begin < end && is_space(data[begin])) ++begin;
    while (begin < end && is_space(data[end - 1])) --end;
    aim();
    // What fails in the shared piece, for whatever reason, is judged alone: no verdict depends on a row's neighbours.
    k_ = piece_k;
    const bool good = piece != nullptr && try_row(*piece, static_cast<uint32_t>(begin - piece->origin),
                                                  static_cast<uint32_t>(end - piece->origin));
    piece_k = k_;
    if (!good) judge_alone(data, data_size, begin, end, row);
  }
}

void BlockParser::judge_alone(const char* data, int64_t data_size, int64_t begin, int64_t end, int64_t row) {
  const auto refuse = [&](RowError error, int64_t position) { block_->bad.push_back({row, error, begin + position}); };
  if (begin == end) return refuse(RowError::not_an_object, 0);
  if (end - begin > max_row_size) return refuse(RowError::row_too_long, 0);
  const Piece* const piece = alone_.make(data, data_size, begin, end);
  if (piece == nullptr) {
    uint32_t position = 0;
    const RowError error = diagnose_bytes({data + begin, static_cast<size_t>(end - begin)}, position);
    return refuse(error, position);
  }
  k_ = 0;
  if (!try_row(*piece, 0, piece->size)) refuse(error_, error_position_);
}

// Reads the row at [begin, end) of `piece` into the block; where it is bad, nothing there has changed.
bool BlockParser::try_row(const Piece& piece, uint32_t begin, uint32_t end) {
  piece_ = &piece;
  row_end_ = end;
  while (k_ > 0 && piece.index[k_ - 1] >= begin) --k_;
  while (k_ < piece.n_index && piece.index[k_] < begin) ++k_;
  next_bad_escape_ = static_cast<size_t>(std::ranges::lower_bound(piece.bad_escapes, begin, {}, &BadEscape::position) -
                                         piece.bad_escapes.begin());
  std::fill_n(numbers_, n_numbers_, missing);
  std::fill_n(texts_, n_texts_, std::string_view());
  std::memset(states_, static_cast<int>(State::absent), plan_->fields.size());
  row_coerced_.clear();
  row_duplicates_.clear();
  ++row_stamp_;
  if (!walk(begin)) {
    if (error_position_ >= row_end_) {
      error_ = RowError::truncated;
      error_position_ = row_end_;
    }
    return false;
  }
  for (const int32_t field : row_coerced_) ++block_->coerced[static_cast<size_t>(field)];
  for (const int32_t field : row_duplicates_) ++block_->duplicates[static_cast<size_t>(field)];
  if (plan_->has_stand_ins()) store();
  ++block_->n_rows;
  return true;
}

// Points to where the next row goes: into the block, or first beside it where fields stand in for others.
void BlockParser::aim() {
  if (plan_->has_stand_ins()) {
    numbers_ = wide_numbers_.data();
    texts_ = wide_texts_.data();
    states_ = wide_states_.data();
    return;
  }
  const auto at = static_cast<size_t>(block_->n_rows);
  numbers_ = block_->numbers.data() + at * n_numbers_;
  texts_ = block_->texts.data() + at * n_texts_;
  states_ = block_->states.data() + at * plan_->fields.size();
}

// Takes over what the plan gives out of a row that was read beside the block.
void BlockParser::store() {
  const int64_t at = block_->n_rows;
  std::copy_n(numbers_, plan_->n_numbers, block_->numbers.begin() + at * plan_->n_numbers);
  std::copy_n(texts_, plan_->n_texts, block_->texts.begin() + at * plan_->n_texts);
  std::copy_n(states_, plan_->n_fields(), block_->states.begin() + at * plan_->n_fields());
}

bool BlockParser::walk(uint32_t begin) {
  if (k_ == piece_->n_index || piece_->index[k_] != begin || piece_->base[begin] != '{') {
    return fail(RowError::not_an_object, begin);
  }
  if (!object(0, 1)) return false;
  if (piece_->index[k_ - 1] >= row_end_) return fail(RowError::truncated, row_end_);
  if (k_ < piece_->n_index && piece_->index[k_] < row_end_) {
    return fail(RowError::trailing_bytes, piece_->index[k_]);
  }
  for (const int32_t field : plan_->set_fields) finish_set(field);
  if (plan_->has_stand_ins()) choose();
  return lacking().empty() || fail(RowError::missing_field, begin);
}

std::string_view BlockParser::lacking() const {
  if (!plan_->has_required) return {};
  for (size_t i = 0; i < static_cast<size_t>(plan_->n_fields()); ++i) {
    const auto state = static_cast<State>(states_[i]);
    if (plan_->fields[i].required && (state == State::absent || state == State::null)) {
      return plan_->fields[i].path;
    }
  }
  return {};
}

bool BlockParser::fail(RowError error, uint32_t position) {
  error_ = error;
  error_position_ = position;
  return false;
}

}  // namespace jenga::refinery
