#!/usr/bin/env bash
# Fuzzes the refinery's core for SECONDS (60) with libFuzzer, ASan and UBSan, from the corpus in tests/native/corpus.
#   .ci/fuzz.sh [SECONDS] [FOLDER]
# FOLDER keeps what is found between runs: new inputs in FOLDER/inputs, a failing one as FOLDER/crash-*. Needs clang++
# (CLANGXX) and simdjson's sources (SIMDJSON_ROOT, else those of the wheel: pip install pysimdjson==7.0.2). Any finding
# ends with a non-zero status.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
build_dir=$(mktemp -d)
trap 'rm -rf "$build_dir"' EXIT
folder=${2:-$build_dir}
mkdir -p "$folder/inputs"

clang=${CLANGXX:-$(command -v clang++ || command -v clang++-14)} || { echo "fuzz: no clang++ found; set CLANGXX" >&2; exit 2; }
simdjson=${SIMDJSON_ROOT:-$(python3 -c "from importlib.util import find_spec as f; print(f('simdjson').submodule_search_locations[0])")}
compile=("$clang" -std=c++20 -O2 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
  -ffp-contract=off -pthread -DJENGA_LIBFUZZER -Icsrc -Icsrc/include -isystem "$simdjson")

# Only what is to be covered tells libFuzzer where it has been.
"${compile[@]}" -w -c "$simdjson/simdjson.cpp" -o "$build_dir/simdjson.o"
"${compile[@]}" -c tests/native/fuzz_refinery.cpp -o "$build_dir/target.o"
for source in csrc/core/refinery/*.cpp; do
  "${compile[@]}" -fsanitize=fuzzer-no-link -c "$source" -o "$build_dir/$(basename "$source" .cpp).o"
done
"$clang" -fsanitize=fuzzer,address,undefined -pthread "$build_dir"/*.o -o "$build_dir/fuzz"

# A fresh allocation need not be filled, and little freed memory kept: inputs are small and the parser's memory is not.
ASAN_OPTIONS=max_malloc_fill_size=0:quarantine_size_mb=32 "$build_dir/fuzz" -max_total_time="$seconds" -max_len=2000 \
  -timeout=120 -dict=tests/native/fuzz_refinery.dict -artifact_prefix="$folder/" -print_final_stats=1 -verbosity=0 \
  "$folder/inputs" tests/native/corpus
echo "fuzz: $seconds s without a finding"
