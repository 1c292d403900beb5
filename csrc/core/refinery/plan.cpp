#include "core/refinery/plan.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <random>
#include <utility>

#include "core/refinery/paths.h"
#include "jenga/check.h"

namespace jenga::refinery {

namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr int64_t max_columns = 1 << 24;
constexpr int64_t max_buckets = 1 << 20;
constexpr int64_t max_kept_entities = 1 << 24;

// One object of the plan with its name in messages. Every key is asked for by type; none is optional but by name.
struct Reader {
  object json;
  std::string where;

  element at(const char* key) const {
    element value;
    check(json.at_key(key).get(value) == simdjson::SUCCESS, where, ".", key, ": missing");
    return value;
  }

  template <typename T>
  T get(const char* key, const char* wanted) const {
    T value{};
    check(at(key).get(value) == simdjson::SUCCESS, where, ".", key, ": must be ", wanted);
    return value;
  }

  bool flag(const char* key) const { return get<bool>(key, "true or false"); }

  std::string_view word(const char* key) const { return get<std::string_view>(key, "a string"); }

  int64_t integer(const char* key, int64_t low, int64_t high) const {
    const auto value = get<int64_t>(key, "an integer");
    check(value >= low && value <= high, where, ".", key, ": got ", value, "; allowed: ", low, " to ", high);
    return value;
  }

  double number(const char* key) const { return get<double>(key, "a number"); }

  template <typename Enum>
  Enum choice(const char* key, std::initializer_list<std::pair<const char*, Enum>> options) const {
    const std::string_view name = word(key);
    for (const auto& [option, value] : options) {
      if (name == option) return value;
    }
    fail(where, ".", key, ": unknown '", name, "'");
  }

  std::vector<double> numbers(const char* key) const {
    std::vector<double> values;
    for (const element value : get<simdjson::dom::array>(key, "a list of numbers")) {
      double number;
      check(value.get(number) == simdjson::SUCCESS, where, ".", key, ": must hold numbers");
      values.push_back(number);
    }
    return values;
  }

  std::vector<std::string> words(const char* key) const {
    std::vector<std::string> values;
    for (const element value : get<simdjson::dom::array>(key, "a list of strings")) {
      std::string_view text;
      check(value.get(text) == simdjson::SUCCESS, where, ".", key, ": must hold strings");
      values.emplace_back(text);
    }
    return values;
  }
};

HashKind hash_kind(const Reader& in) {
  return in.choice<HashKind>("hash", {{"jenga", HashKind::jenga}, {"murmur3", HashKind::murmur3}});
}

double bound(const element& value, double absent, const std::string& where) {
  if (value.is_null()) return absent;
  double number;
  check(value.get(number) == simdjson::SUCCESS, where, ": must be a number or null");
  return number;
}

void read_numeric(const Reader& in, Field& field) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  simdjson::dom::array clip;
  if (!in.at("clip").is_null()) {
    clip = in.get<simdjson::dom::array>("clip", "two bounds or null");
    check(clip.size() == 2, in.where, ".clip: must hold two bounds");
    field.clip_low = bound(clip.at(0), -infinity, in.where + ".clip");
    field.clip_high = bound(clip.at(1), infinity, in.where + ".clip");
    check(field.clip_low <= field.clip_high, in.where, ".clip: the lower bound is above the upper one");
  }
  field.log1p = in.flag("log1p");
  field.offset = in.number("offset");
  field.scale = in.number("scale");
  field.limit = bound(in.at("limit"), infinity, in.where + ".limit");
  check(field.limit > 0, in.where, ".limit: must be above 0");
  field.knots = in.numbers("knots");
  field.references = in.numbers("references");
  check(field.knots.size() == field.references.size(), in.where, ".knots: not as many as references");
  check(std::is_sorted(field.knots.begin(), field.knots.end()), in.where, ".knots: must rise");
  field.n_columns = 1;
}

void read_categorical(const Reader& in, Field& field) {
  field.encoding = in.choice<Encoding>(
      "encoding", {{"onehot", Encoding::onehot}, {"hash", Encoding::hash}, {"frequency", Encoding::frequency}});
  if (field.encoding == Encoding::hash) {
    field.n_buckets = static_cast<uint32_t>(in.integer("n_buckets", 1, max_buckets));
    field.has_sign = in.flag("signed");
    field.hash = hash_kind(in);
    field.n_columns = static_cast<int32_t>(field.n_buckets);
    return;
  }
  field.vocabulary.build(in.words("values"));
  field.n_columns = 1;
  if (field.encoding == Encoding::frequency) {
    field.frequencies = in.numbers("frequencies");
    check(static_cast<int32_t>(field.frequencies.size()) == field.vocabulary.size(), in.where,
          ".frequencies: not as many as values");
  } else {
    field.n_columns = field.vocabulary.size() + 1;
  }
}

void read_timestamp(const Reader& in, Field& field) {
  field.unit = in.choice<TimeUnit>("unit", {{"auto", TimeUnit::automatic},
                                            {"s", TimeUnit::seconds},
                                            {"ms", TimeUnit::milliseconds},
                                            {"us", TimeUnit::microseconds},
                                            {"ns", TimeUnit::nanoseconds}});
  field.inter_arrival = in.flag("inter_arrival");
  field.offset = in.number("offset");
  field.scale = in.number("scale");
  field.n_columns = field.inter_arrival ? 5 : 4;
}

void read_text(const Reader& in, Field& field) {
  field.ngram = static_cast<int32_t>(in.integer("ngram", 1, 16));
  field.n_buckets = static_cast<uint32_t>(in.integer("n_buckets", 0, max_buckets));
  field.lower = in.flag("lower");
  field.has_sign = in.flag("signed");
  field.hash = hash_kind(in);
  field.l2 = in.choice<bool>("norm", {{"l2", true}, {"none", false}});
  field.n_columns = 6 + static_cast<int32_t>(field.n_buckets);
}

Field read_field(const Reader& in) {
  Field field;
  field.path = in.word("path");
  check(!field.path.empty(), in.where, ".path: must not be empty");
  field.kind = in.choice<Kind>("kind", {{"numeric", Kind::numeric},
                                        {"boolean", Kind::boolean},
                                        {"port", Kind::port},
                                        {"timestamp", Kind::timestamp},
                                        {"categorical", Kind::categorical},
                                        {"ip", Kind::ip},
                                        {"text", Kind::text},
                                        {"raw", Kind::raw}});
  field.required = in.flag("required");
  field.column = static_cast<int32_t>(in.integer("column", -1, max_columns));
  field.indicator = static_cast<int32_t>(in.integer("indicator", -1, max_columns));
  // Before fitting only what decides how a value is read is known.
  const bool fitted = field.column >= 0;
  switch (field.kind) {
    case Kind::numeric:
      if (fitted) read_numeric(in, field);
      break;
    case Kind::boolean:
      field.n_columns = 1;
      break;
    case Kind::port:
      field.n_buckets = static_cast<uint32_t>(in.integer("n_buckets", 0, max_buckets));
      field.n_columns = 3 + static_cast<int32_t>(field.n_buckets);
      break;
    case Kind::timestamp:
      read_timestamp(in, field);
      break;
    case Kind::categorical:
      if (fitted) read_categorical(in, field);
      break;
    case Kind::ip:
      field.prefix_bits = static_cast<int32_t>(in.integer("prefix_bits", 0, 128));
      field.n_columns = 7 + field.prefix_bits;
      break;
    case Kind::text:
      read_text(in, field);
      break;
    case Kind::raw:
      break;
  }
  return field;
}

// A field whose path has [*]: what of its values becomes what.
void read_set(const Reader& in, Field& field) {
  const bool is_numeric = field.kind == Kind::numeric;
  const bool is_frequency =
      field.kind == Kind::categorical && field.column >= 0 && field.encoding == Encoding::frequency;
  check((is_numeric || field.kind == Kind::categorical || field.kind == Kind::raw) && !is_frequency, in.where,
        ".path: '", field.path, "' leads to many values; allowed: numeric, and categorical by onehot or hash");
  if (!is_numeric) return;
  field.reduce = in.choice<Reduce>("reduce", {{"count", Reduce::count},
                                              {"sum", Reduce::sum},
                                              {"mean", Reduce::mean},
                                              {"min", Reduce::min},
                                              {"max", Reduce::max}});
}

void add_field(const Reader& in, Field field, PathTree& paths, Plan& plan) {
  field.slot = field.is_text() ? plan.n_texts++ : plan.n_numbers++;
  field.n_levels = paths.add(field.path, plan.n_given++);
  if (field.n_levels > 0) {
    read_set(in, field);
    field.set = static_cast<int32_t>(plan.set_fields.size());
    plan.set_fields.push_back(plan.n_given - 1);
  }
  plan.fields.push_back(std::move(field));
}

void add_stand_ins(const std::vector<Reader>& entries, PathTree& paths, Plan& plan) {
  for (int32_t i = 0; i < plan.n_given; ++i) {
    const Reader& in = entries[static_cast<size_t>(i)];
    if (in.json["alternatives"].error() != simdjson::SUCCESS) continue;
    for (std::string& path : in.words("alternatives")) {
      check(!path.empty(), in.where, ".alternatives: must not hold an empty path");
      const auto index = static_cast<int32_t>(plan.fields.size());
      const Field& given = plan.fields[static_cast<size_t>(i)];
      Field field;
      field.path = std::move(path);
      field.kind = given.kind;
      field.unit = given.unit;
      field.reduce = given.reduce;
      field.slot =
          field.is_text() ? plan.n_texts + plan.n_stand_in_texts++ : plan.n_numbers + plan.n_stand_in_numbers++;
      field.n_levels = paths.add(field.path, index);
      check((field.n_levels > 0) == (given.n_levels > 0), in.where, ".alternatives: '", field.path, "' and '",
            given.path, "' must both have [*], or neither");
      if (field.n_levels > 0) {
        field.set = static_cast<int32_t>(plan.set_fields.size());
        plan.set_fields.push_back(index);
      }
      plan.fields.push_back(std::move(field));
      plan.fields[static_cast<size_t>(i)].alternatives.push_back(index);
    }
  }
}

// Which field tells the entities of a timestamp apart.
void link_entities(const std::vector<Reader>& entries, Plan& plan) {
  for (int32_t i = 0; i < plan.n_given; ++i) {
    const Reader& in = entries[static_cast<size_t>(i)];
    Field& field = plan.fields[static_cast<size_t>(i)];
    if (field.kind != Kind::timestamp || in.json["by"].error() != simdjson::SUCCESS) continue;
    const std::string_view path = in.word("by");
    const auto end = plan.fields.begin() + plan.n_given;
    const auto owner = std::find_if(plan.fields.begin(), end, [&](const Field& each) { return each.path == path; });
    check(owner != end && owner->is_text() && owner->kind != Kind::raw && owner->n_levels == 0, in.where, ".by: '",
          path, "' must be the path of a categorical, ip or text field without [*]");
    check(field.inter_arrival, in.where, ".by: goes with inter_arrival");
    field.by = static_cast<int32_t>(owner - plan.fields.begin());
    field.max_entities = in.integer("max_entities", 1, max_kept_entities);
  }
}

void add_lane(Lanes& lanes, const Field& field) {
  lanes.low.push_back(field.clip_low);
  lanes.high.push_back(field.clip_high);
  lanes.offset.push_back(field.offset);
  lanes.scale.push_back(field.scale);
  lanes.limit.push_back(std::min<double>(field.limit, std::numeric_limits<float>::max()));
  lanes.slot.push_back(field.slot);
  lanes.column.push_back(field.column);
  ++lanes.n;
}

Lanes make_lanes(const Plan& plan, bool with_log) {
  Lanes lanes;
  for (const Field& field : plan.fields) {
    const bool plain = (field.kind == Kind::numeric && field.knots.empty()) || field.kind == Kind::boolean;
    if (plain && field.column >= 0 && field.log1p == with_log) add_lane(lanes, field);
  }
  for (std::vector<double>* values : {&lanes.low, &lanes.high, &lanes.offset, &lanes.scale, &lanes.limit}) {
    const std::vector<double> row = *values;
    for (int32_t i = 1; i < Lanes::row_group; ++i) values->insert(values->end(), row.begin(), row.end());
  }
  return lanes;
}

void sort_fields(Plan& plan) {
  for (int32_t i = 0; i < plan.n_fields(); ++i) {
    const Field& field = plan.fields[i];
    plan.has_required |= field.required;
    if (field.indicator >= 0) plan.indicator_fields.push_back(i);
    if (field.column < 0) continue;
    if (field.is_text() && field.kind != Kind::raw) plan.text_fields.push_back(i);
    if (field.kind == Kind::port) plan.port_fields.push_back(i);
    if (field.kind == Kind::numeric && !field.knots.empty()) plan.quantile_fields.push_back(i);
    if (field.kind == Kind::timestamp) {
      plan.time_fields.push_back(i);
      if (field.inter_arrival) plan.inter_arrival_fields.push_back(i);
    }
  }
}

void check_columns(const Plan& plan) {
  std::vector<bool> taken(static_cast<size_t>(plan.n_features));
  const auto take = [&](const Field& field, int64_t column) {
    check(column < plan.n_features, "field '", field.path, "': column ", column, " is beyond n_features ",
          plan.n_features);
    check(!taken[static_cast<size_t>(column)], "field '", field.path, "': column ", column, " is another's");
    taken[static_cast<size_t>(column)] = true;
  };
  for (const Field& field : plan.fields) {
    for (int64_t i = 0; field.column >= 0 && i < field.n_columns; ++i) take(field, field.column + i);
    if (field.indicator >= 0) take(field, field.indicator);
  }
}

}  // namespace

const uint64_t table_seed = [] {
  std::random_device random;
  return random() | static_cast<uint64_t>(random()) << 32;
}();

void Vocabulary::build(std::vector<std::string> values) {
  values_ = std::move(values);
  size_t n_slots = 16;
  while (n_slots < 2 * values_.size()) n_slots *= 2;
  slots_.assign(n_slots, {0, -1});
  for (int32_t place = 0; place < size(); ++place) {
    check(find(values_[place]) < 0, "values: '", values_[place], "' is given twice");
    const uint64_t hash = table_hash(values_[place]);
    size_t at = hash & (n_slots - 1);
    while (slots_[at].place >= 0) at = (at + 1) & (n_slots - 1);
    slots_[at] = {static_cast<uint32_t>(hash >> 32), place};
  }
}

int32_t Vocabulary::find(std::string_view value) const {
  if (slots_.empty()) return -1;
  const uint64_t hash = table_hash(value);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.place < 0) return -1;
    if (slot.tag == tag && values_[slot.place] == value) return slot.place;
  }
}

std::shared_ptr<const Plan> parse_plan(std::string_view json) {
  simdjson::dom::parser parser;
  element document;
  const auto error = parser.parse(simdjson::padded_string(json)).get(document);
  check(error == simdjson::SUCCESS, "plan: no JSON: ", simdjson::error_message(error));
  Reader in;
  in.where = "plan";
  check(document.get(in.json) == simdjson::SUCCESS, "plan: must be an object");
  in.integer("version", 2, 2);
  auto plan = std::make_shared<Plan>();
  plan->strict = in.choice<bool>("validate", {{"strict", true}, {"fast", false}});
  plan->nan_is_missing = in.choice<bool>("nan", {{"missing", true}, {"quarantine", false}});
  plan->duplicates_are_errors = in.choice<bool>("duplicates", {{"quarantine", true}, {"last", false}});
  plan->n_features = static_cast<int32_t>(in.integer("n_features", 0, max_columns));
  if (document["missing"].error() == simdjson::SUCCESS) {
    std::vector<std::string> words = in.words("missing");
    for (const std::string& word : words) {
      plan->longest_missing_word = std::max(plan->longest_missing_word, word.size());
    }
    plan->missing_words.build(std::move(words));
  }
  PathTree paths(plan->nodes);
  std::vector<Reader> entries;
  for (const element each : in.get<simdjson::dom::array>("fields", "a list of fields")) {
    Reader& entry = entries.emplace_back();
    entry.where = "plan.fields[" + std::to_string(entries.size() - 1) + "]";
    check(each.get(entry.json) == simdjson::SUCCESS, entry.where, ": must be an object");
    add_field(entry, read_field(entry), paths, *plan);
  }
  add_stand_ins(entries, paths, *plan);
  link_entities(entries, *plan);
  for (Node& node : plan->nodes) {
    std::vector<std::string> keys;
    for (const Edge& edge : node.edges) keys.push_back(edge.key);
    node.keys.build(std::move(keys));
  }
  check(!plan->fields.empty(), "plan.fields: must hold one field or more");
  check_columns(*plan);
  sort_fields(*plan);
  plan->log_lanes = make_lanes(*plan, true);
  plan->plain_lanes = make_lanes(*plan, false);
  return plan;
}

std::shared_ptr<const Plan> cached_plan(std::string_view json) {
  struct Entry {
    std::string json;
    std::shared_ptr<const Plan> plan;
  };
  constexpr size_t n_kept = 8;
  static std::mutex mutex;
  static std::deque<Entry> entries;
  {
    const std::lock_guard lock(mutex);
    const auto found = std::ranges::find(entries, json, &Entry::json);
    if (found != entries.end()) {
      std::rotate(entries.begin(), found, found + 1);
      return entries.front().plan;
    }
  }
  auto plan = parse_plan(json);
  const std::lock_guard lock(mutex);
  entries.push_front({std::string(json), plan});
  if (entries.size() > n_kept) entries.pop_back();
  return plan;
}

}  // namespace jenga::refinery
