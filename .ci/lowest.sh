#!/usr/bin/env bash
# Shows that the lower bounds of pyproject.toml's dependencies are true: installs each in the lowest version that it
# allows, torch alone in that of constraints.txt, and lets the quickstart train and answer, and a few tests pass, there.
#   .ci/lowest.sh [WHEEL]
# WHEEL is made of this clone where none is given. PYTHON (python3) is what runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}

"$python" - > "$work/lowest.txt" <<'PYTHON'
import re, sys, tomllib
with open("pyproject.toml", "rb") as file:
    wanted = tomllib.load(file)["project"]["dependencies"]
for each in wanted:
    found = re.fullmatch(r"([\w-]+)>=([\w.]+)", each) or sys.exit(f"lowest: {each} has no lower bound, name>=version")
    if found[1] != "torch":
        print(f"{found[1]}=={found[2]}")
PYTHON
grep '^torch==' constraints.txt >> "$work/lowest.txt"

wheel=${1:-}
if [ -z "$wheel" ]; then
  pip wheel -q --no-deps -c constraints.txt -w "$work" .
  wheel=$(echo "$work"/*.whl)
fi
"$python" -m venv "$work/venv"
PATH="$work/venv/bin:$PATH"
pip install -q -c "$work/lowest.txt" "$wheel"
# What the tests need beside it may be new, as long as it moves none of these.
pip install -q -c "$work/lowest.txt" pytest hypothesis jsonschema
pip check
pip freeze | grep -i -f <(sed 's/==.*/==/; s/[-_]/[-_]/g' "$work/lowest.txt")

jenga-train configs/quickstart.yml --output-dir "$work/runs" --set tracking.enabled=false --set training.max_steps=20 -q
run=$(echo "$work"/runs/quickstart/*)
jenga predict "$run" --text "Hello, you are through to the helpline, my name is Asha." -o "$work/answers.jsonl"
jenga evaluate "$run" --json > "$work/evaluation.json"
jenga export "$run" -o "$work/exported" -q
# What old packages warn of is theirs.
python -m pytest -q -W default -o addopts="--import-mode=importlib --strict-markers" -m "not slow" tests/test_model.py \
  tests/test_bundle.py tests/test_hub.py tests/report/test_card.py tests/report/test_matter.py tests/labels tests/peft \
  tests/rows/test_stream.py tests/rows/test_split.py tests/config/test_registered.py tests/inference/test_predictor.py
