// When entities, such as hosts or users, were last heard of: what the time since the row before of the same one is
// counted from.
#pragma once

#include <cstdint>
#include <iterator>
#include <limits>
#include <list>
#include <string_view>
#include <unordered_map>

#include "core/refinery/hash.h"

namespace jenga::refinery {

// What stands for an entity's name: 53 bits of its hash, which a double holds exactly. Of a million entities no two
// have the same, but for one time in 18,000.
inline uint64_t entity_key(std::string_view name) { return hash64(name) >> 11; }
inline constexpr double n_entity_keys = 9007199254740992.0;

struct EntityTime {
  uint64_t key;
  double seconds;
};

// At most `limit` of them; the one that was heard of longest ago makes room for a new one.
class EntityTimes {
 public:
  explicit EntityTimes(int64_t limit) : limit_(static_cast<size_t>(limit)) {}

  // The time at which `key` was heard of before, NaN where that is not known; `seconds` takes its place.
  double exchange(uint64_t key, double seconds) {
    const auto found = places_.find(key);
    if (found != places_.end()) {
      const double before = found->second->seconds;
      found->second->seconds = seconds;
      times_.splice(times_.end(), times_, found->second);
      return before;
    }
    if (times_.size() == limit_) {
      places_.erase(times_.front().key);
      times_.pop_front();
    }
    times_.push_back({key, seconds});
    places_.emplace(key, std::prev(times_.end()));
    return std::numeric_limits<double>::quiet_NaN();
  }

  // The one that was heard of longest ago first.
  const std::list<EntityTime>& times() const { return times_; }

 private:
  // Whoever chooses the names must not choose where they fall in the table.
  struct Mixed {
    size_t operator()(uint64_t key) const {
      const uint64_t mixed = (key ^ table_seed) * 0x9E3779B97F4A7C15u;
      return static_cast<size_t>(mixed ^ mixed >> 32);
    }
  };

  size_t limit_;
  std::list<EntityTime> times_;
  std::unordered_map<uint64_t, std::list<EntityTime>::iterator, Mixed> places_;
};

}  // namespace jenga::refinery
