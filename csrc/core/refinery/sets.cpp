// Lists: elements by number, sets of all their values, and fields that stand in for others.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/refinery/parse.h"

namespace jenga::refinery {

// The value at k_ of a key that leads to the list `node`, and to `field` (-1: to none). It is read as a whole first,
// which finds what is wrong with it; then the elements that are asked for. What is no list counts as a list of one.
bool BlockParser::listed(int32_t field, int32_t node, int depth) {
  const Bookmark begin = bookmark();
  const char c = at(k_);
  if (!one_value(field, c == '[' ? -1 : node, depth)) return false;
  const Bookmark behind = bookmark();
  go_to(begin);
  if (c == '[') {
    if (!begin_sets(node, -1, true) || !elements(node, depth + 1)) return false;
  } else {
    for (const Item& item : plan_->nodes[static_cast<size_t>(node)].items) {
      if (item.index != every && item.index != 0) continue;
      go_to(begin);
      if (item.index == every && !begin_sets(node, item.field, c == '{')) return false;
      if (!element(node, item, depth)) return false;
    }
  }
  go_to(behind);
  return true;
}

// The elements of the list at k_, which is at `depth`; leaves k_ where no more of them are asked for.
bool BlockParser::elements(int32_t node, int depth) {
  const std::vector<Item>& items = plan_->nodes[static_cast<size_t>(node)].items;
  const bool takes_all = items.front().index == every;
  size_t next = takes_all ? 1 : 0;
  for (int64_t number = 0; takes_all || next < items.size(); ++number) {
    ++k_;
    if (k_ >= piece_->n_index || piece_->index[k_] >= row_end_) return fail_short();
    if (number == 0 && at(k_) == ']') return true;
    const Bookmark begin = bookmark();
    const bool is_numbered = next < items.size() && items[next].index == number;
    if (takes_all && !element(node, items.front(), depth)) return false;
    if (is_numbered) {
      go_to(begin);
      if (!element(node, items[next++], depth)) return false;
    } else if (!takes_all && !plain_value(-1, -1, depth)) {
      return false;
    }
    if (k_ >= piece_->n_index) return fail_short();
    if (at(k_) == ']') return true;
    if (at(k_) != ',') return fail(RowError::syntax, piece_->index[k_]);
  }
  return true;
}

// The value at k_ as an element of the list `node`; `depth` is that of the list, or of the object around it.
bool BlockParser::element(int32_t node, const Item& item, int depth) {
  if (item.index == every) {
    const Node& list = plan_->nodes[static_cast<size_t>(node)];
    for (const int32_t field : list.sets) {
      Set& set = sets_[static_cast<size_t>(plan_->fields[static_cast<size_t>(field)].set)];
      set.marks[static_cast<size_t>(list.level)] = set.members.size();
    }
    // Keys of the elements before are not given again by this one.
    start_anew(item);
  }
  return value(item.field, item.node, depth);
}

void BlockParser::start_anew(const Target& target) {
  if (target.node < 0) return;
  node_rows_[static_cast<size_t>(target.node)] = 0;
  for (const Edge& edge : plan_->nodes[static_cast<size_t>(target.node)].edges) start_anew(edge);
  for (const Item& item : plan_->nodes[static_cast<size_t>(target.node)].items) start_anew(item);
}

// Begins the sets of the list `node`: `all` of them, or that of `field` alone. Where one was begun by another way to
// the same list, the last counts.
bool BlockParser::begin_sets(int32_t node, int32_t field, bool all) {
  const Node& list = plan_->nodes[static_cast<size_t>(node)];
  for (const int32_t index : list.sets) {
    if (!all && index != field) continue;
    if (list.level == 0) {
      if (!put(index, State::present)) return false;
      sets_[static_cast<size_t>(plan_->fields[static_cast<size_t>(index)].set)].members.clear();
    } else if (drop_members(index, list.level)) {
      if (plan_->duplicates_are_errors) return fail(RowError::duplicate_key, key_position_);
      row_duplicates_.push_back(index);
    }
  }
  return true;
}

// The value at k_ as one more of a set.
bool BlockParser::member(int32_t index, int32_t node, int depth) {
  const Field& field = plan_->fields[static_cast<size_t>(index)];
  if (drop_members(index, field.n_levels)) {
    if (plan_->duplicates_are_errors) return fail(RowError::duplicate_key, key_position_);
    row_duplicates_.push_back(index);
  }
  states_[index] = static_cast<uint8_t>(State::absent);
  if (!plain_value(index, node, depth)) return false;
  Member member{{}, 0, static_cast<State>(states_[index]), false};
  if (!row_coerced_.empty() && row_coerced_.back() == index) {
    row_coerced_.pop_back();
    member.coerced = true;
  }
  if (field.is_text()) {
    member.text = texts_[field.slot];
    texts_[field.slot] = {};
  } else {
    member.number = numbers_[field.slot];
    numbers_[field.slot] = std::numeric_limits<double>::quiet_NaN();
  }
  sets_[static_cast<size_t>(field.set)].members.push_back(member);
  states_[index] = static_cast<uint8_t>(State::present);
  return true;
}

// Drops what a set holds of the element that is read now, of the list that `level` of [*] lead into; whether there was
// something.
bool BlockParser::drop_members(int32_t index, int32_t level) {
  Set& set = sets_[static_cast<size_t>(plan_->fields[static_cast<size_t>(index)].set)];
  const size_t n_before = set.marks[static_cast<size_t>(level - 1)];
  if (set.members.size() <= n_before) return false;
  set.members.resize(n_before);
  return true;
}

// Makes one value of a set, or says why there is none.
void BlockParser::finish_set(int32_t index) {
  if (static_cast<State>(states_[index]) == State::absent) return;
  const Field& field = plan_->fields[static_cast<size_t>(index)];
  const std::vector<Member>& members = sets_[static_cast<size_t>(field.set)].members;
  const bool is_count = field.kind == Kind::numeric && field.reduce == Reduce::count;
  const auto counts = [&](const Member& member) {
    return member.state == State::present || (is_count && member.state != State::null);
  };
  State state = State::present;
  if (!members.empty() && std::ranges::none_of(members, counts)) {
    const auto wrong = std::ranges::find_if(members, [](const Member& each) { return each.state != State::null; });
    state = wrong == members.end() ? State::null : wrong->state;
  } else if (field.kind == Kind::raw) {
    texts_[field.slot] = listing(members);
  } else if (field.is_text()) {
    texts_[field.slot] = joined(members);
  } else if (is_count) {
    numbers_[field.slot] = static_cast<double>(std::ranges::count_if(members, counts));
  } else if (!reduce(field, members, numbers_[field.slot])) {
    state = members.empty() ? State::null : State::overflow;
  } else if (std::ranges::any_of(members, [](const Member& each) { return each.coerced; })) {
    row_coerced_.push_back(index);
  }
  states_[index] = static_cast<uint8_t>(state);
}

// The sum, or the like, of the numbers of a set; false, with NaN, where there is none or no double holds it.
bool BlockParser::reduce(const Field& field, const std::vector<Member>& members, double& number) const {
  double sum = 0;
  double least = std::numeric_limits<double>::infinity();
  double greatest = -least;
  int64_t n = 0;
  for (const Member& member : members) {
    if (member.state != State::present) continue;
    sum += member.number;
    least = std::min(least, member.number);
    greatest = std::max(greatest, member.number);
    ++n;
  }
  number = field.reduce == Reduce::sum    ? sum
           : field.reduce == Reduce::mean ? sum / static_cast<double>(n)
           : field.reduce == Reduce::min  ? least
                                          : greatest;
  if (std::isfinite(number)) return true;
  number = std::numeric_limits<double>::quiet_NaN();
  return false;
}

// The different texts, in order, with `set_mark` behind each.
std::string_view BlockParser::joined(const std::vector<Member>& members) {
  sorted_.clear();
  for (const Member& member : members) {
    if (member.state == State::present) sorted_.push_back(member.text);
  }
  std::ranges::sort(sorted_);
  const auto rest = std::ranges::unique(sorted_);
  sorted_.erase(rest.begin(), rest.end());
  size_t size = sorted_.size();
  for (const std::string_view text : sorted_) size += text.size();
  char* const begin = block_->arena.reserve(size);
  char* end = begin;
  for (const std::string_view text : sorted_) {
    end = std::copy(text.begin(), text.end(), end);
    *end++ = set_mark;
  }
  block_->arena.commit(size);
  return {begin, size};
}

// The values as a JSON list.
std::string_view BlockParser::listing(const std::vector<Member>& members) {
  size_t size = 2;
  for (const Member& member : members) size += member.text.size() + 1;
  char* const begin = block_->arena.reserve(size);
  char* end = begin;
  *end++ = '[';
  for (const Member& member : members) {
    if (member.state != State::present) continue;
    if (end != begin + 1) *end++ = ',';
    end = std::copy(member.text.begin(), member.text.end(), end);
  }
  *end++ = ']';
  const auto used = static_cast<size_t>(end - begin);
  block_->arena.commit(used);
  return {begin, used};
}

void BlockParser::go_to(const Bookmark& place) {
  k_ = place.k;
  next_bad_escape_ = place.next_bad_escape;
  key_position_ = place.key_position;
}

// Gives each field what the first of its paths that has a value holds; where none has one, the first that is there says
// why.
void BlockParser::choose() {
  const auto rank = [&](int32_t index) {
    const auto state = static_cast<State>(states_[index]);
    return state == State::present ? 0 : state == State::absent ? 2 : 1;
  };
  for (int32_t i = 0; i < plan_->n_fields(); ++i) {
    const Field& field = plan_->fields[static_cast<size_t>(i)];
    int32_t best = i;
    for (const int32_t other : field.alternatives) {
      if (rank(other) < rank(best)) best = other;
    }
    for (const int32_t other : field.alternatives) {
      std::ranges::replace(row_duplicates_, other, i);
      if (other != best) std::erase(row_coerced_, other);
    }
    if (best == i) continue;
    std::erase(row_coerced_, i);
    std::ranges::replace(row_coerced_, best, i);
    const int32_t slot = plan_->fields[static_cast<size_t>(best)].slot;
    states_[i] = states_[best];
    if (field.is_text()) {
      texts_[field.slot] = texts_[slot];
    } else {
      numbers_[field.slot] = numbers_[slot];
    }
  }
}

}  // namespace jenga::refinery
