#!/usr/bin/env bash
# Builds the torch-free core with its drivers under ASan and UBSan and runs them. Any finding ends with a non-zero status.
# simdjson's sources are those of SIMDJSON_ROOT, else of the wheel: pip install pysimdjson==7.0.2.
set -euo pipefail
cd "$(dirname "$0")/.."
build_dir=$(mktemp -d)
trap 'rm -rf "$build_dir"' EXIT

simdjson=${SIMDJSON_ROOT:-$(python3 -c "from importlib.util import find_spec as f; print(f('simdjson').submodule_search_locations[0])")}
compile=("${CXX:-g++}" -std=c++20 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
  -ffp-contract=off -pthread -Icsrc -Icsrc/include -isystem "$simdjson")

"${compile[@]}" -w -c "$simdjson/simdjson.cpp" -o "$build_dir/simdjson.o"
for source in csrc/core/*.cpp csrc/core/refinery/*.cpp; do
  "${compile[@]}" -Wall -Wextra -Werror -c "$source" -o "$build_dir/$(basename "$source" .cpp).o"
done
# As CMakeLists.txt has them: the kernels on vectors, once for each instruction set.
isas=(baseline)
vector_flags_baseline=(-DJENGA_VECTOR_BYTES=16)
vector_flags_avx2=(-DJENGA_VECTOR_BYTES=32 -mavx2 -mfma)
vector_flags_avx512=(-DJENGA_VECTOR_BYTES=64 -mavx512f -mavx512dq -mavx512vl -mfma)
if [ "$(uname -m)" = x86_64 ]; then isas+=(avx2 avx512); fi
for isa in "${isas[@]}"; do
  flags="vector_flags_$isa[@]"
  for source in csrc/core/vector/*.cpp; do
    "${compile[@]}" -Wall -Wextra -Werror -DJENGA_ISA="$isa" "${!flags}" -c "$source" \
      -o "$build_dir/$(basename "$source" .cpp)_$isa.o"
  done
done
ar rcs "$build_dir/core.a" "$build_dir"/*.o

n_drivers=0
for driver in tests/native/*.cpp; do
  binary="$build_dir/$(basename "$driver" .cpp)"
  "${compile[@]}" -Wall -Wextra -Werror "$driver" "$build_dir/core.a" -o "$binary"
  "$binary"
  # The narrowest vectors too, whatever this processor has.
  if [[ $driver != *fuzz* ]]; then JENGA_CPU_ISA=baseline "$binary"; fi
  echo "sanitize: $driver passed"
  n_drivers=$((n_drivers + 1))
done
test "$n_drivers" -gt 0
