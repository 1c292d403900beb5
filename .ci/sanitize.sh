#!/usr/bin/env bash
# Builds the torch-free core with its drivers under ASan and UBSan, a job for each processor, and runs them. Any finding
# ends with a non-zero status.
# simdjson's sources are those of SIMDJSON_ROOT, else of the wheel: pip install pysimdjson==7.0.2.
set -euo pipefail
cd "$(dirname "$0")/.."
build_dir=$(mktemp -d)
trap 'rm -rf "$build_dir"' EXIT

simdjson=${SIMDJSON_ROOT:-$(python3 -c "from importlib.util import find_spec as f; print(f('simdjson').submodule_search_locations[0])")}
compile=("${CXX:-g++}" -std=c++20 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
  -ffp-contract=off -pthread -Icsrc -Icsrc/include -isystem "$simdjson")

# object SOURCE NAME FLAGS...: a line of arguments for the compiler, as xargs reads it.
object() { printf '%s ' "${@:3}"; printf -- '-c "%s" -o "%s"\n' "$1" "$build_dir/$2.o"; }
warn=(-Wall -Wextra -Werror)
shopt -s nullglob
drivers=(tests/native/*.cpp)
test "${#drivers[@]}" -gt 0
sources() {
  # The longest first.
  object "$simdjson/simdjson.cpp" core_simdjson -w
  for source in "${drivers[@]}"; do object "$source" "driver_$(basename "$source" .cpp)" "${warn[@]}"; done
  for source in csrc/core/refinery/*.cpp csrc/core/*.cpp; do object "$source" "core_$(basename "$source" .cpp)" "${warn[@]}"; done
  # As CMakeLists.txt has them: the kernels on vectors, once for each instruction set.
  for source in csrc/core/vector/*.cpp; do
    vector() { object "$source" "core_$(basename "$source" .cpp)_$1" "${warn[@]}" "-DJENGA_ISA=$1" "${@:2}"; }
    vector baseline -DJENGA_VECTOR_BYTES=16
    if [ "$(uname -m)" = x86_64 ]; then
      vector avx2 -DJENGA_VECTOR_BYTES=32 -mavx2 -mfma
      vector avx512 -DJENGA_VECTOR_BYTES=64 -mavx512f -mavx512dq -mavx512vl -mfma
    fi
  done
}
sources | xargs -P "$(nproc)" -L 1 "${compile[@]}"
ar rcs "$build_dir/core.a" "$build_dir"/core_*.o

for driver in "${drivers[@]}"; do
  binary="$build_dir/$(basename "$driver" .cpp)"
  "${compile[@]}" "$build_dir/driver_$(basename "$driver" .cpp).o" "$build_dir/core.a" -o "$binary"
  "$binary"
  # The narrowest vectors too, whatever this processor has.
  if [[ $driver != *fuzz* ]]; then JENGA_CPU_ISA=baseline "$binary"; fi
  echo "sanitize: $driver passed"
done
