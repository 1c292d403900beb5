// From raw columns to feature rows.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/refinery/entities.h"
#include "core/refinery/plan.h"

namespace jenga::refinery {

// A row's time in a field that counts by entity: `at` is the field's place among those with inter-arrival.
struct Sighting {
  int64_t row;
  int32_t at;
  EntityTime time;
};

// The first and the last time of some rows by inter-arrival field, NaN where no row has one, or the field counts by
// entity: then each time is in `sightings`. `first_row`, and the row of a sighting, count from their first row.
struct TimeSpan {
  std::vector<int64_t> first_row;
  std::vector<double> first, last;
  std::vector<Sighting> sightings;
};

// Encodes rows with one fitted plan. Not shared between threads.
class Encoder {
 public:
  explicit Encoder(std::shared_ptr<const Plan> plan);

  // Raw columns of `n_rows` rows to `features (n_rows, n_features)`. States of addresses that are none become
  // mismatches, those of categories that were not seen in training become unknown. The inter-arrival of the first row
  // that has a time, and all that count by entity, are left at 0 for `set_inter_arrival`, once it is known what came
  // before.
  void encode(const double* numbers, const std::string_view* texts, uint8_t* states, int64_t n_rows, float* features,
              TimeSpan& span);

 private:
  void lanes(const Lanes& lanes, bool with_log, const double* numbers, int64_t n_rows, float* rows);
  void text_field(const Field& field, std::string_view value, uint8_t& state, float* row);
  void categorical(const Field& field, std::string_view value, uint8_t& state, float* row);
  static void members(const Field& field, std::string_view values, uint8_t& state, float* row);
  void text(const Field& field, std::string_view value, float* row);
  void ngrams(const Field& field, std::string_view value, float* row);
  void times(const double* numbers, const std::string_view* texts, const uint8_t* states, int64_t row_number,
             float* row, TimeSpan& span) const;

  // The value of a text slot that was encoded last: events repeat themselves.
  struct Recent {
    std::string_view value;
    const float* row = nullptr;
    uint8_t state = 0;
    int32_t place = -1;
  };

  std::shared_ptr<const Plan> plan_;
  std::vector<Recent> recent_;
  std::vector<double> lane_values_;
  std::vector<float> lane_results_;
  std::vector<char> lowered_;
  std::vector<uint32_t> byte_counts_;
};

// Writes the scaled inter-arrival of a row into `row`.
void set_inter_arrival(const Field& field, double seconds, double previous, float* row);

// Turns the states of addresses that are none into mismatches and empties them.
void check_addresses(const Plan& plan, std::string_view* texts, uint8_t* states, int64_t n_rows);

}  // namespace jenga::refinery
