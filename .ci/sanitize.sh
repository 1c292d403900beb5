#!/usr/bin/env bash
# Builds the torch-free core with its driver under ASan and UBSan and runs it. Any finding ends with a non-zero status.
set -euo pipefail
cd "$(dirname "$0")/.."
build_dir=$(mktemp -d)
trap 'rm -rf "$build_dir"' EXIT

n_drivers=0
for driver in tests/native/*.cpp; do
  binary="$build_dir/$(basename "$driver" .cpp)"
  "${CXX:-g++}" -std=c++20 -O1 -g -Wall -Wextra -Werror -fno-omit-frame-pointer \
    -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc -Icsrc/include "$driver" -o "$binary"
  "$binary"
  echo "sanitize: $driver passed"
  n_drivers=$((n_drivers + 1))
done
test "$n_drivers" -gt 0
