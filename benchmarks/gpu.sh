#!/usr/bin/env bash
# All that wants a GPU, in one command on a fresh CUDA machine without network: build, CUDA and Triton tests,
# compute-sanitizer, tables.
#
#   benchmarks/gpu_wheels.sh              before, where there is a network
#   benchmarks/gpu.sh [OUT]               OUT: folder for what it finds, gpu-results unless told
#   benchmarks/gpu.sh --dry-run           list the steps, and show of each what a machine without a GPU can show
#
# OUT/STEP.json is written after each step, with its command, seconds, exit code and the end of its output. A step that
# passed is not run again, so what was cut off goes on with the same command. A step that fails does not keep the next.
set -uo pipefail
cd "$(dirname "$0")/.."

# name, expected seconds, command on a GPU, command of a dry run
steps=()
step() { steps+=("$1" "$2" "$3" "$4"); }

site='"$OUT/site"'
step packages 20 \
  "python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target $site .gpu-wheels/*.whl" \
  'echo "$(find .gpu-wheels -name "*.whl" 2> /dev/null | wc -l) wheels in .gpu-wheels"'
step build 120 \
  "python3 -m pip install -q --no-index --no-build-isolation --no-deps --upgrade --target $site \
-C cmake.define.JENGA_CUDA=ON -C cmake.define.CMAKE_CUDA_ARCHITECTURES=native ." \
  'command -v nvcc || echo "no nvcc here"'
step kernels-found 10 \
  "python3 -P -c 'from jenga.kernels import backend_info as of; b = {op: d[\"cuda\"] for op, d in of().items()}; print(b)
assert all(b[op].implementation == \"native\" for op in (\"multi_head_loss\", \"lora_linear\", \"linear_cross_entropy\"))'" \
  "python3 -P -c 'from jenga.kernels import backend_info; print(*backend_info())'"
step cuda-tests 60 \
  'python3 -P -m pytest -q -n0 tests/kernels/multi_head_loss/test_op_cuda.py' \
  'python3 -P -m pytest -q -n0 --collect-only tests/kernels/multi_head_loss/test_op_cuda.py | tail -n 1'
step triton-tests 120 \
  'python3 -P -m pytest -q -n0 -m "" -k "on_a_gpu" tests/kernels' \
  'python3 -P -m pytest -q -n0 -m "" --collect-only -k "on_a_gpu or interpreted" tests/kernels | tail -n 1'
step memcheck 60 \
  'compute-sanitizer --tool memcheck --error-exitcode 9 python3 -P -m pytest -q -n0 -k "3000 or 129" \
tests/kernels/multi_head_loss/test_op_cuda.py' \
  'command -v compute-sanitizer || echo "no compute-sanitizer here"'
step racecheck 60 \
  'compute-sanitizer --tool racecheck --error-exitcode 9 python3 -P -m pytest -q -n0 -k "129" \
tests/kernels/multi_head_loss/test_op_cuda.py' \
  'command -v compute-sanitizer || echo "no compute-sanitizer here"'
for op in multi_head_loss lora_linear linear_cross_entropy; do
  step "table-$op" 30 \
    "python3 benchmarks/gpu_tables.py $op --json \"\$OUT/$op.json\"" \
    "JENGA_BENCH_SMOKE=1 python3 benchmarks/gpu_tables.py $op --device cpu"
done
step train 30 \
  'python3 -P -m jenga.train configs/quickstart.yml --output-dir "$OUT/runs" --device cuda --set tracking.enabled=false' \
  'python3 -P -m jenga.train --help | head -n 1'

dry=0
OUT=gpu-results
for argument; do
  case $argument in
    --dry-run) dry=1 ;;
    -*) echo "benchmarks/gpu.sh: $argument is not known; allowed: --dry-run, a folder" >&2; exit 2 ;;
    *) OUT=$argument ;;
  esac
done
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
export OUT
if [ "$dry" = 0 ]; then
  export PYTHONPATH="$OUT/site" TRITON_CACHE_DIR="$OUT/triton" XDG_CACHE_HOME="$OUT/cache"
fi

total=0
failed=()
for ((at = 0; at < ${#steps[@]}; at += 4)); do
  name=${steps[at]} expected=${steps[at + 1]} command=${steps[at + 2 + dry]}
  total=$((total + expected))
  record=$OUT/$name.json
  if [ "$dry" = 0 ] && grep -qs '"exit": 0' "$record"; then
    printf '%-28s passed before\n' "$name"
    continue
  fi
  printf '%-28s %3d s expected\n' "$name" "$expected"
  start=$SECONDS
  timeout $((3 * expected)) bash -o pipefail -c "$command" > "$OUT/log" 2>&1
  code=$?
  took=$((SECONDS - start))
  if [ "$code" != 0 ]; then failed+=("$name"); fi
  tail -n 3 "$OUT/log" | cut -c 1-160 | sed 's/^/    /'
  printf '    exit %d after %d s\n' "$code" "$took"
  if [ "$dry" = 0 ]; then
    python3 - "$name" "$command" "$expected" "$took" "$code" "$OUT/log" > "$record.part" <<'PYTHON' && mv "$record.part" "$record"
import json, sys
name, command, expected, took, code, log = sys.argv[1:]
end = open(log, errors="replace").read()[-4000:]
print(json.dumps({"step": name, "command": command, "expected_s": int(expected), "seconds": int(took),
                  "exit": int(code), "end": end}, indent=1))
PYTHON
  fi
done
rm -f "$OUT/log"
echo "$total s expected in all"
if [ "$dry" = 1 ]; then rmdir "$OUT" 2> /dev/null; fi
if [ "$total" -ge 600 ]; then echo "over the ten minutes of one command" >&2; exit 1; fi
if [ "${#failed[@]}" -gt 0 ]; then echo "failed: ${failed[*]}" >&2; exit 1; fi
