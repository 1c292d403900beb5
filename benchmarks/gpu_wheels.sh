#!/usr/bin/env bash
# Fetch what benchmarks/gpu.sh needs and a CUDA machine without network may lack, into .gpu-wheels/ of the clone.
#
#   benchmarks/gpu_wheels.sh [PYTHON]     PYTHON: version of the machine's python3, 3.12 unless told
#
# torch, Triton and numpy are what that machine has: they come with its CUDA.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-3.12}
platforms=()
for glibc in 39 35 34 31 28 27 24 17; do
  platforms+=(--platform "manylinux_2_${glibc}_x86_64")
done
platforms+=(--platform manylinux2014_x86_64)

names=(
  pydantic pydantic-core annotated-types typing-inspection typing-extensions click rich markdown-it-py mdurl pygments
  pyyaml transformers tokenizers huggingface-hub peft accelerate safetensors
  scikit-build-core pathspec packaging pybind11 pysimdjson pytest pytest-benchmark py-cpuinfo pytest-xdist execnet hypothesis
  sortedcontainers
)
mkdir -p .gpu-wheels
for name in "${names[@]}"; do
  # Versions of constraints.txt; --no-deps, since torch would come along.
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
    "${platforms[@]}" -c constraints.txt -d .gpu-wheels "$name"
done
du -sh .gpu-wheels
