#include "core/refinery/paths.h"

#include <algorithm>

#include "jenga/check.h"

namespace jenga::refinery {

namespace {

constexpr int64_t max_dots = 8;
constexpr size_t max_selectors = 8;
constexpr size_t max_digits = 9;

// Brackets that may select: the backslashes before them, which element, and where they end (0: there are none).
struct Brackets {
  size_t n_backslashes = 0;
  int64_t index = every;
  size_t end = 0;
};

Brackets brackets_at(std::string_view path, size_t at) {
  Brackets found;
  while (at < path.size() && path[at] == '\\') ++at, ++found.n_backslashes;
  if (at >= path.size() || path[at] != '[') return {};
  const size_t close = path.find(']', ++at);
  if (close == std::string_view::npos || close == at || close - at > max_digits) return {};
  const std::string_view inside = path.substr(at, close - at);
  if (inside != "*") {
    found.index = 0;
    for (const char c : inside) {
      if (c < '0' || c > '9') return {};
      found.index = 10 * found.index + (c - '0');
    }
  }
  found.end = close + 1;
  return found;
}

}  // namespace

std::vector<Step> steps_of(std::string_view path) {
  std::vector<Step> steps(1);
  for (size_t at = 0; at < path.size();) {
    std::vector<Brackets> run;
    size_t end = at;
    for (Brackets next = brackets_at(path, at); next.end > 0; next = brackets_at(path, end)) {
      end = next.end;
      run.push_back(next);
    }
    std::string& text = steps.back().keys;
    if (run.empty() || (end < path.size() && path[end] != '.')) {
      // What is no run here is none further on in it.
      const size_t until = std::max(end, at + 1);
      text += path.substr(at, until - at);
      at = until;
      continue;
    }
    // Those behind the last that belongs to a key select.
    size_t n_literal = run.size();
    while (n_literal > 0 && run[n_literal - 1].n_backslashes == 0) --n_literal;
    if (n_literal > 0 && run[n_literal - 1].n_backslashes % 2 == 0) --n_literal;
    size_t begin = at;
    for (size_t i = 0; i < run.size(); ++i) {
      const Brackets& each = run[i];
      text.append(each.n_backslashes / 2, '\\');
      const bool behind_key = !steps.back().selectors.empty() || (!text.empty() && text.back() != '.');
      if (i >= n_literal && behind_key) {
        steps.back().selectors.push_back(each.index);
      } else {
        text += path.substr(begin + each.n_backslashes, each.end - begin - each.n_backslashes);
      }
      begin = each.end;
    }
    at = end;
    if (at < path.size() && !steps.back().selectors.empty()) {
      ++at;
      steps.emplace_back();
    }
  }
  return steps;
}

int32_t PathTree::add(std::string_view path, int32_t field) {
  path_ = path;
  field_ = field;
  steps_ = steps_of(path);
  size_t n_selectors = 0;
  int32_t n_levels = 0;
  for (const Step& step : steps_) {
    check(!step.keys.empty(), "fields: the path '", path, "' names no key behind its brackets");
    n_selectors += step.selectors.size();
    n_levels += static_cast<int32_t>(std::ranges::count(step.selectors, every));
  }
  // Each dot doubles the ways to read a path.
  check(std::ranges::count(path, '.') <= max_dots, "fields: the path '", path, "' has more than ", max_dots, " dots");
  check(n_selectors <= max_selectors, "fields: the path '", path, "' has more than ", max_selectors, " brackets");
  keys(0, steps_.front().keys, 0);
  return n_levels;
}

// Every split of a dotted path is a way to it: `a.b` is that very key, or `b` inside `a`.
void PathTree::keys(int32_t node, std::string_view text, size_t step) {
  selectors(edge(node, text), step);
  for (size_t dot = text.find('.'); dot != std::string_view::npos; dot = text.find('.', dot + 1)) {
    if (dot == 0 || dot + 1 == text.size()) continue;
    keys(child(edge(node, text.substr(0, dot))), text.substr(dot + 1), step);
  }
}

void PathTree::selectors(Place place, size_t step) {
  for (const int64_t index : steps_[step].selectors) place = item(child(place), index);
  if (step + 1 < steps_.size()) return keys(child(place), steps_[step + 1].keys, step + 1);
  check(target(place).field < 0, "fields: the path '", path_, "' is given twice");
  target(place).field = field_;
}

PathTree::Place PathTree::edge(int32_t node, std::string_view key) {
  auto& edges = nodes_[static_cast<size_t>(node)].edges;
  const auto found = std::ranges::find(edges, key, &Edge::key);
  const auto at = static_cast<size_t>(found - edges.begin());
  if (found == edges.end()) edges.push_back({{}, std::string(key)});
  return {node, false, at};
}

PathTree::Place PathTree::item(int32_t node, int64_t index) {
  Node& list = nodes_[static_cast<size_t>(node)];
  if (index == every) list.sets.push_back(field_);
  const auto found = std::ranges::lower_bound(list.items, index, {}, &Item::index);
  const auto at = static_cast<size_t>(found - list.items.begin());
  if (found == list.items.end() || found->index != index) list.items.insert(found, {{}, index});
  return {node, true, at};
}

// The node that a place leads to.
int32_t PathTree::child(Place place) {
  if (target(place).node < 0) {
    const Node& outer = nodes_[static_cast<size_t>(place.node)];
    const bool is_every = place.is_item && outer.items[place.at].index == every;
    const int32_t level = outer.level + (is_every ? 1 : 0);
    target(place).node = static_cast<int32_t>(nodes_.size());
    nodes_.emplace_back().level = level;
  }
  return target(place).node;
}

Target& PathTree::target(Place place) {
  Node& node = nodes_[static_cast<size_t>(place.node)];
  if (place.is_item) return node.items[place.at];
  return node.edges[place.at];
}

}  // namespace jenga::refinery
