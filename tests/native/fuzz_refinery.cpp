// Drives the refinery's core with any bytes: a plan, then rows. Built with JENGA_LIBFUZZER it is a libFuzzer target
// (.ci/fuzz.sh); without, its main() runs the corpus and seeded mutations of it, so that any compiler's sanitizers see
// it.
//
// An input is two characters, then bytes. The first chooses a built-in plan ('0' to '9'; any other character: the first
// line is the plan), the second says what to do: A an array, B short rows only, C both, D and E many copies of lines or
// of an array, so that threads have work, H rows are what stands between backticks, but every third, so that anything
// may lie between rows; any other: lines.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include "core/refinery/refinery.h"

namespace {

namespace refinery = jenga::refinery;
using PlanPointer = std::shared_ptr<const refinery::Plan>;

constexpr const char* empty_plan = R"({"version":2,"validate":"strict","nan":"quarantine","duplicates":"last",
"n_features":1,"fields":[
{"path":"nobody gives this","kind":"boolean","required":false,"column":0,"indicator":-1}]})";

constexpr const char* flow_plan = R"({"version":2,"validate":"strict","nan":"quarantine","duplicates":"last",
"n_features":12,"fields":[
{"path":"a","kind":"numeric","required":false,"column":0,"indicator":1,"clip":[null,1e9],"log1p":true,"offset":2.5,
"scale":0.5,"limit":null,"knots":[],"references":[]},
{"path":"b","kind":"numeric","required":false,"column":2,"indicator":-1,"clip":[null,null],"log1p":false,"offset":0,
"scale":1e300,"limit":8,"knots":[],"references":[]},
{"path":"c","kind":"categorical","required":false,"column":3,"indicator":7,"encoding":"onehot",
"values":["","tcp","udp"]},
{"path":"d","kind":"boolean","required":false,"column":8,"indicator":9},
{"path":"q","kind":"numeric","required":false,"column":10,"indicator":11,"clip":[-5,null],"log1p":false,"offset":0,
"scale":1,"limit":null,"knots":[0,0,1,1,2.5,100],"references":[0,0.2,0.4,0.6,0.8,1]}]})";

constexpr const char* event_plan = R"({"version":2,"validate":"strict","nan":"missing","duplicates":"last",
"n_features":124,"fields":[
{"path":"id.orig_h","kind":"ip","required":false,"column":0,"indicator":39,"prefix_bits":32},
{"path":"id.orig_p","kind":"port","required":false,"column":40,"indicator":59,"n_buckets":16},
{"path":"ts","kind":"timestamp","required":false,"column":60,"indicator":65,"unit":"auto","inter_arrival":true,
"offset":0.5,"scale":2},
{"path":"query","kind":"text","required":false,"column":66,"indicator":88,"ngram":3,"n_buckets":16,"lower":true,
"signed":true,"hash":"jenga","norm":"l2"},
{"path":"uri.path","kind":"text","required":false,"column":89,"indicator":-1,"ngram":2,"n_buckets":5,"lower":false,
"signed":false,"hash":"murmur3","norm":"none"},
{"path":"proto","kind":"categorical","required":false,"column":100,"indicator":-1,"encoding":"hash","n_buckets":8,
"signed":true,"hash":"murmur3"},
{"path":"service","kind":"categorical","required":false,"column":108,"indicator":109,"encoding":"frequency",
"values":["dns","http"],"frequencies":[0.75,0.25]},
{"path":"t2","kind":"timestamp","required":false,"column":110,"indicator":-1,"unit":"ms","inter_arrival":false,
"offset":0,"scale":1},
{"path":"x.y.z","kind":"timestamp","required":false,"column":114,"indicator":-1,"unit":"s","inter_arrival":true,
"offset":0,"scale":1,"by":"proto","max_entities":2},
{"path":"x.y","kind":"numeric","required":false,"column":119,"indicator":120,"clip":[null,null],"log1p":true,
"offset":0,"scale":1,"limit":null,"knots":[],"references":[]},
{"path":"x","kind":"raw","required":false,"column":-1,"indicator":121},
{"path":"uri","kind":"raw","required":false,"column":-1,"indicator":122}]})";

constexpr const char* strict_plan = R"({"version":2,"validate":"strict","nan":"quarantine","duplicates":"quarantine",
"n_features":9,"fields":[
{"path":"a","kind":"numeric","required":true,"column":0,"indicator":-1,"clip":[null,null],"log1p":false,"offset":0,
"scale":1,"limit":null,"knots":[],"references":[]},
{"path":"id.h","kind":"ip","required":false,"column":1,"indicator":8,"prefix_bits":0}]})";

constexpr const char* raw_plan = R"({"version":2,"validate":"strict","nan":"missing","duplicates":"last",
"n_features":0,"fields":[
{"path":"label","kind":"raw","required":true,"column":-1,"indicator":-1},
{"path":"id","kind":"raw","required":false,"column":-1,"indicator":-1},
{"path":"a","kind":"numeric","required":false,"column":-1,"indicator":-1,"clip":[null,null],"log1p":false,"offset":0,
"scale":1,"limit":null,"knots":[],"references":[]},
{"path":"c","kind":"categorical","required":false,"column":-1,"indicator":-1,"encoding":"onehot","values":[]},
{"path":"id.h","kind":"text","required":false,"column":-1,"indicator":-1,"ngram":3,"n_buckets":4,"lower":true,
"signed":true,"hash":"jenga","norm":"l2"}]})";

// As `validate` says, but lazily: a skipped value is not walked.
std::string lazy(std::string plan) {
  const auto at = plan.find("\"strict\"");
  return plan.replace(at, std::strlen("\"strict\""), "\"fast\"");
}

std::vector<std::string> built_in_plans() {
  std::vector<std::string> plans{empty_plan, flow_plan, event_plan, strict_plan, raw_plan};
  for (size_t i = 0; i < 5; ++i) plans.push_back(lazy(plans[i]));
  return plans;
}

void require(bool condition, const char* claim) {
  if (!condition) {
    std::fprintf(stderr, "FAILED: %s\n", claim);
    std::abort();
  }
}

template <typename T>
bool same_bytes(const std::vector<T>& left, const std::vector<T>& right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0);
}

bool same_bad_rows(const std::vector<refinery::BadRow>& left, const std::vector<refinery::BadRow>& right) {
  return std::ranges::equal(left, right, [](const auto& a, const auto& b) {
    return a.row == b.row && a.error == b.error && a.position == b.position;
  });
}

// Bytes in a buffer of exactly their size: a byte read behind them is a finding.
class Exact {
 public:
  explicit Exact(std::string_view bytes) : bytes_(new char[bytes.size()]), size_(bytes.size()) {
    if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
  }
  std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t size_;
};

struct Refined {
  refinery::Summary summary;
  std::vector<float> features;
  std::vector<uint8_t> states;
};

std::vector<double> nothing_before(const refinery::Plan& plan) {
  return std::vector<double>(plan.inter_arrival_fields.size(), std::nan(""));
}

Refined run_refine(const PlanPointer& plan, std::string_view data, const std::vector<int64_t>& offsets,
                   const std::vector<double>& previous, int n_threads) {
  const size_t n_rows = offsets.size() / 2;
  Refined result;
  // Runs start from different contents, so that a value which is never written shows.
  result.features.assign(n_rows * static_cast<size_t>(plan->n_features), n_threads == 1 ? std::nanf("") : 12345.0f);
  result.states.assign(n_rows * static_cast<size_t>(plan->n_fields()), static_cast<uint8_t>(100 + n_threads));
  const refinery::Rows rows{data.data(), static_cast<int64_t>(data.size()), offsets.data(),
                            static_cast<int64_t>(n_rows)};
  result.summary = refinery::refine(plan, rows, previous, n_threads, result.features.data(), result.states.data());
  const auto n_good = static_cast<size_t>(result.summary.n_rows);
  require(n_good + result.summary.bad.size() == n_rows, "rows in = rows out + quarantined");
  result.features.resize(n_good * static_cast<size_t>(plan->n_features));
  result.states.resize(n_good * static_cast<size_t>(plan->n_fields()));
  return result;
}

void check_result(const refinery::Plan& plan, const Refined& result, const std::vector<int64_t>& offsets) {
  for (const float value : result.features) require(std::isfinite(value), "no NaN or Inf in the features");
  const size_t n_fields = static_cast<size_t>(plan.n_fields());
  std::vector<int64_t> counts(n_fields * refinery::n_counters);
  for (size_t i = 0; i < result.states.size(); ++i) {
    require(result.states[i] <= 5, "states are 0 to 5");
    ++counts[i % n_fields * refinery::n_counters + result.states[i]];
  }
  for (size_t field = 0; field < n_fields; ++field) {
    for (size_t state = 0; state < 6; ++state) {
      const size_t place = field * refinery::n_counters + state;
      require(counts[place] == result.summary.counters[place], "counters count the states");
    }
  }
  int64_t before = -1;
  for (const refinery::BadRow& bad : result.summary.bad) {
    require(bad.row > before, "bad rows come in order, each once");
    before = bad.row;
    const auto code = static_cast<int64_t>(bad.error);
    require(code > 0 && code < refinery::n_row_errors, "a bad row has a known error");
    const auto place = static_cast<size_t>(2 * bad.row);
    require(bad.position >= offsets[place] && bad.position <= offsets[place + 1], "an error lies in its row");
  }
}

bool same_result(const Refined& left, const Refined& right) {
  return same_bytes(left.features, right.features) && same_bytes(left.states, right.states) &&
         left.summary.counters == right.summary.counters && same_bytes(left.summary.last, right.summary.last) &&
         same_bad_rows(left.summary.bad, right.summary.bad);
}

struct Raw {
  refinery::Summary summary;
  std::vector<double> numbers;
  std::vector<uint8_t> states;
  std::string text;
  std::vector<int64_t> text_offsets;
};

Raw run_extract(const PlanPointer& plan, std::string_view data, const std::vector<int64_t>& offsets, int n_threads) {
  const size_t n_rows = offsets.size() / 2;
  Raw raw;
  raw.numbers.assign(n_rows * static_cast<size_t>(plan->n_numbers), n_threads == 1 ? HUGE_VAL : 12345.0);
  raw.states.assign(n_rows * static_cast<size_t>(plan->n_fields()), static_cast<uint8_t>(100 + n_threads));
  const refinery::Rows rows{data.data(), static_cast<int64_t>(data.size()), offsets.data(),
                            static_cast<int64_t>(n_rows)};
  raw.summary =
      refinery::extract(plan, rows, n_threads, raw.numbers.data(), raw.states.data(), raw.text, raw.text_offsets);
  const auto n_good = static_cast<size_t>(raw.summary.n_rows);
  require(n_good + raw.summary.bad.size() == n_rows, "rows in = rows out + quarantined");
  raw.numbers.resize(n_good * static_cast<size_t>(plan->n_numbers));
  raw.states.resize(n_good * static_cast<size_t>(plan->n_fields()));
  return raw;
}

void check_raw(const PlanPointer& plan, std::string_view data, const std::vector<int64_t>& offsets, const Raw& raw) {
  const auto n_texts = static_cast<size_t>(raw.summary.n_rows * plan->n_texts);
  require(raw.text_offsets.size() == n_texts + 1, "one text a slot");
  require(std::ranges::is_sorted(raw.text_offsets) && raw.text_offsets.front() == 0 &&
              raw.text_offsets.back() == static_cast<int64_t>(raw.text.size()),
          "texts lie end to end");
  for (const double number : raw.numbers) require(!std::isinf(number), "numbers are finite or missing");
  const Raw again = run_extract(plan, data, offsets, 2);
  require(same_bytes(again.numbers, raw.numbers) && same_bytes(again.states, raw.states) && again.text == raw.text &&
              again.text_offsets == raw.text_offsets && again.summary.counters == raw.summary.counters &&
              same_bad_rows(again.summary.bad, raw.summary.bad),
          "two threads extract what one extracts");
}

// The two halves of the way give what the whole way gives.
void check_halves(const PlanPointer& plan, std::string_view data, const std::vector<int64_t>& offsets,
                  const Refined& whole) {
  Raw raw = run_extract(plan, data, offsets, 1);
  check_raw(plan, data, offsets, raw);
  require(raw.summary.n_rows == whole.summary.n_rows, "extract keeps the rows that refine keeps");
  require(same_bad_rows(raw.summary.bad, whole.summary.bad), "extract refuses the rows that refine refuses");
  std::vector<float> features(static_cast<size_t>(raw.summary.n_rows * plan->n_features), std::nanf(""));
  const Exact texts(raw.text);
  const refinery::Columns columns{raw.numbers.data(), texts.view().data(), raw.text_offsets.data(), raw.summary.n_rows};
  const std::vector<double> previous = nothing_before(*plan);
  const auto encoded = refinery::encode(plan, columns, previous, 1, features.data(), raw.states.data());
  require(same_bytes(features, whole.features), "encode of extract = features of refine");
  require(same_bytes(raw.states, whole.states), "encode of extract = states of refine");
  require(same_bytes(encoded.last, whole.summary.last), "encode of extract = last times of refine");
}

// simdjson's own document parser as a second opinion on what JSON is.
void check_opinion(const refinery::Plan& plan, std::string_view row, bool accepted) {
  if (!plan.strict || plan.nan_is_missing || plan.duplicates_are_errors || plan.has_required) return;
  if (row.starts_with("\xef\xbb\xbf")) return;  // simdjson skips a BOM
  static simdjson::dom::parser parser;
  simdjson::dom::element document;
  const auto error = parser.parse(row.data(), row.size(), true).get(document);
  // A number too large for a double is fine with us: the field is missing, or nobody reads it.
  if (accepted) {
    require(!error || error == simdjson::NUMBER_ERROR || error == simdjson::BIGINT_ERROR, "what we accept is JSON");
  } else if (!error && document.is_object()) {
    size_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < row.size(); ++i) {
      if (in_string && row[i] == '\\') {
        ++i;
      } else if (row[i] == '"') {
        in_string = !in_string;
      } else if (!in_string) {
        depth += row[i] == '{' || row[i] == '[';
        deepest = std::max(deepest, depth);
        depth -= row[i] == '}' || row[i] == ']';
      }
    }
    require(deepest > static_cast<size_t>(refinery::max_depth), "what we refuse is no JSON");
  }
}

// Each row in a buffer of its own gives what it gave among the others.
void check_alone(const PlanPointer& plan, std::string_view data, const std::vector<int64_t>& offsets,
                 const Refined& whole) {
  const auto width = static_cast<size_t>(plan->n_features);
  const size_t n_rows = std::min<size_t>(offsets.size() / 2, 24);
  std::vector<double> previous = nothing_before(*plan);
  auto bad = whole.summary.bad.begin();
  size_t good = 0;
  for (size_t row = 0; row < n_rows; ++row) {
    const auto begin = offsets[2 * row];
    const Exact alone(data.substr(static_cast<size_t>(begin), static_cast<size_t>(offsets[2 * row + 1] - begin)));
    const auto size = static_cast<int64_t>(alone.view().size());
    const Refined result = run_refine(plan, alone.view(), {0, size}, previous, 1);
    const refinery::Location place = refinery::locate(plan, alone.view());
    const bool is_bad = bad != whole.summary.bad.end() && bad->row == static_cast<int64_t>(row);
    check_opinion(*plan, alone.view(), !is_bad);
    require((result.summary.n_rows == 0) == is_bad, "a row is good or bad whatever stands around it");
    if (is_bad) {
      const refinery::BadRow& own = result.summary.bad.front();
      require(own.error == bad->error && own.position + begin == bad->position, "a bad row has one error");
      require(place.error == bad->error && place.position + begin == bad->position, "locate agrees with refine");
      require(simdjson::validate_utf8(place.pointer), "a pointer is UTF-8");
      ++bad;
      continue;
    }
    require(place.error == refinery::RowError::none, "locate finds nothing in a good row");
    require(std::equal(result.features.begin(), result.features.end(), whole.features.begin() + good * width),
            "a row alone has the features that it has among others");
    require(std::equal(result.states.begin(), result.states.end(),
                       whole.states.begin() + good * static_cast<size_t>(plan->n_fields())),
            "a row alone has the states that it has among others");
    previous = result.summary.last;
    ++good;
  }
}

std::vector<std::string_view> texts_of(std::string_view data, const std::vector<int64_t>& offsets) {
  std::vector<std::string_view> rows;
  for (size_t i = 0; i < offsets.size(); i += 2) {
    rows.push_back(data.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(offsets[i + 1] - offsets[i])));
  }
  return rows;
}

void check_places(const std::vector<int64_t>& offsets, std::string_view data) {
  int64_t before = 0;
  for (size_t i = 0; i < offsets.size(); i += 2) {
    require(offsets[i] >= before && offsets[i] <= offsets[i + 1], "rows come in order and do not overlap");
    before = offsets[i + 1];
  }
  require(before <= static_cast<int64_t>(data.size()), "rows lie in the data");
}

refinery::Split split(std::string_view data, bool array, bool opened, bool final, int64_t max_row_size) {
  const auto result = array ? refinery::split_array(data, opened, final, max_row_size)
                            : refinery::split_lines(data, final, max_row_size);
  require(result.consumed >= 0 && result.consumed <= static_cast<int64_t>(data.size()), "consumed lies in the data");
  check_places(result.offsets, data);
  check_places(result.too_long, data);
  for (const int64_t part_size : {1, 7, 40}) {
    require(array || result == refinery::split_lines(data, final, max_row_size, 2, part_size),
            "two threads find the rows that one finds");
  }
  for (const auto row : texts_of(data, result.offsets)) {
    require(static_cast<int64_t>(row.size()) <= max_row_size, "rows that are kept are not too long");
  }
  return result;
}

// A stream cut anywhere gives the rows of the whole.
void check_cut(std::string_view data, bool array, int64_t max_row_size, const refinery::Split& whole) {
  const Exact head(data.substr(0, data.size() / 2));
  const auto first = split(head.view(), array, false, false, max_row_size);
  auto rows = texts_of(head.view(), first.offsets);
  if (first.broken_at >= 0) {
    require(first.broken_at == whole.broken_at, "an array is broken where it is broken");
  } else if (!first.closed) {
    const Exact tail(data.substr(static_cast<size_t>(first.consumed)));
    const auto second = split(tail.view(), array, !rows.empty() || !first.too_long.empty(), true, max_row_size);
    const auto rest = texts_of(tail.view(), second.offsets);
    rows.insert(rows.end(), rest.begin(), rest.end());
    require((second.broken_at < 0) == (whole.broken_at < 0), "an array is broken or whole however it is cut");
    require(rows == texts_of(data, whole.offsets), "a cut stream gives the rows of the whole");
    require(first.n_blank + second.n_blank == whole.n_blank, "a cut stream has the blank lines of the whole");
  }
}

std::vector<int64_t> between_backticks(std::string_view data) {
  std::vector<int64_t> offsets;
  size_t begin = 0;
  for (int64_t piece = 0; begin <= data.size(); ++piece) {
    const size_t end = std::min(data.find('`', begin), data.size());
    if (piece % 3 != 2) offsets.insert(offsets.end(), {static_cast<int64_t>(begin), static_cast<int64_t>(end)});
    begin = end + 1;
  }
  return offsets;
}

void check_rows(const PlanPointer& plan, std::string_view bytes, char form) {
  std::string copies;
  if ((form == 'D' || form == 'E') && !bytes.empty()) {
    // More than one of the units that threads share out.
    while (copies.size() < 40'000) copies.append(bytes).append(1, '\n');
    bytes = copies;
  }
  const Exact exact(bytes);
  const std::string_view data = exact.view();
  const bool array = form == 'A' || form == 'C' || form == 'E';
  const int64_t max_row_size = form == 'B' || form == 'C' ? 48 : 1 << 20;
  const auto places = split(data, array, false, true, max_row_size);
  check_cut(data, array, max_row_size, places);
  const auto offsets = form == 'H' ? between_backticks(data) : places.offsets;
  if (!plan->fitted()) {
    check_raw(plan, data, offsets, run_extract(plan, data, offsets, 1));
    return;
  }
  const std::vector<double> previous = nothing_before(*plan);
  const Refined whole = run_refine(plan, data, offsets, previous, 1);
  check_result(*plan, whole, offsets);
  require(same_result(whole, run_refine(plan, data, offsets, previous, 2)), "two threads give what one gives");
  check_halves(plan, data, offsets, whole);
  check_alone(plan, data, offsets, whole);
}

PlanPointer given_plan(std::string_view json) {
  try {
    return refinery::parse_plan(Exact(json).view());
  } catch (const std::invalid_argument&) {
    return nullptr;
  }
}

void check_input(std::string_view input) {
  static const std::vector<std::string> texts = built_in_plans();
  if (input.size() < 2) return;
  const char form = input[1];
  const auto choice = static_cast<size_t>(input[0] - '0');
  input.remove_prefix(2);
  if (choice < texts.size()) {
    check_rows(refinery::cached_plan(texts[choice]), input, form);
    return;
  }
  const size_t line_end = std::min(input.find('\n'), input.size());
  const PlanPointer plan = given_plan(input.substr(0, line_end));
  // A plan may ask for any number of columns; memory is the caller's affair.
  if (plan != nullptr && plan->n_features <= 1 << 12) {
    check_rows(plan, input.substr(std::min(line_end + 1, input.size())), form);
  }
}

}  // namespace

#ifdef JENGA_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  check_input({reinterpret_cast<const char*>(bytes), size});
  return 0;
}

#else

namespace {

// Replaces, repeats and drops a few stretches of an input.
std::string mutated(std::string input, uint64_t& seed) {
  constexpr std::string_view pieces[] = {"\"",   "\\",   "{",   "}",  "[",      "]",        ",",     ":",
                                         "0",    "-",    ".",   "e9", "\n",     "\x01",     "\xff",  "\\ud800",
                                         "true", "null", "NaN", " ",  "\"a\":", "\xc3\xa9", "1e999", "\\u00e9"};
  const auto random = [&seed](size_t below) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return static_cast<size_t>(seed % std::max<size_t>(below, 1));
  };
  for (size_t n = 1 + random(3); n > 0; --n) {
    const size_t at = std::min<size_t>(2 + random(input.size()), input.size());
    switch (random(3)) {
      case 0:
        input.insert(at, pieces[random(std::size(pieces))]);
        break;
      case 1:
        input.erase(at, random(4));
        break;
      default:
        input.insert(at, input.substr(random(input.size()), random(40)));
    }
  }
  return input;
}

}  // namespace

int main() {
  constexpr int n_mutations = 40;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/native/corpus")) files.push_back(entry.path());
  std::ranges::sort(files);
  require(files.size() > 20, "the corpus is there (run from the root of the repository)");
  uint64_t seed = 88172645463325252;
  for (const auto& path : files) {
    std::ifstream stream(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(stream), {}};
    check_input(input);
    for (int i = 0; i < n_mutations; ++i) check_input(mutated(input, seed));
  }
  std::printf("fuzz_refinery: %zu inputs, %d mutations each\n", files.size(), n_mutations);
}

#endif
