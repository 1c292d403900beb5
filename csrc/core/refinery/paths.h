// Paths of fields: which keys and elements of lists lead to a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/refinery/plan.h"

namespace jenga::refinery {

// Keys, then which element of the list that they lead to, of the list inside it, and so on.
struct Step {
  std::string keys;
  std::vector<int64_t> selectors;  // `every` for [*]
};

// `a.b[0].c[*]` in two steps. What stands in brackets selects where `.` or the end follows and a key stands before it,
// and it is a whole number of up to nine digits or `*`. Backslashes before such brackets count double, and one more of
// them makes the brackets part of the key; elsewhere brackets and backslashes are characters like others.
std::vector<Step> steps_of(std::string_view path);

// The tree of a plan's paths.
class PathTree {
 public:
  explicit PathTree(std::vector<Node>& nodes) : nodes_(nodes) { nodes_.emplace_back(); }

  // Leads from `path` to `field`, and counts how many `[*]` are on the way.
  int32_t add(std::string_view path, int32_t field);

 private:
  // An edge, or an item, of a node: nodes move when there are more of them.
  struct Place {
    int32_t node;
    bool is_item;
    size_t at;
  };

  void keys(int32_t node, std::string_view text, size_t step);
  void selectors(Place place, size_t step);
  Place edge(int32_t node, std::string_view key);
  Place item(int32_t node, int64_t index);
  int32_t child(Place place);
  Target& target(Place place);

  std::vector<Node>& nodes_;
  std::string_view path_;
  std::vector<Step> steps_;
  int32_t field_ = -1;
};

}  // namespace jenga::refinery
