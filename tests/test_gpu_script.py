"""benchmarks/gpu.sh, with stand-ins for the programs that it starts: what it keeps, and what it goes on with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.sh"
PYTHON = f"""#!/bin/sh
if [ "$1" = - ]; then exec {sys.executable} "$@"; fi
echo "$*" | head -n 1 >> "$CALLS"
case "$*" in *"$FAILING"*) echo "it failed"; exit 3;; esac
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    for name, text in {"python3": PYTHON, "compute-sanitizer": '#!/bin/sh\nshift 4\nexec "$@"\n'}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def run(folder: Path, failing: str = "no such call") -> tuple[int, list[str], dict[str, dict[str, object]]]:
    """Return the exit code, the commands that were run, and what stands in the records."""
    calls = folder / "calls"
    calls.write_text("")
    done = subprocess.run(
        ["bash", str(SCRIPT), str(folder / "out")], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "FAILING": failing},
    )  # fmt: skip
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "out").glob("*.json")}
    return done.returncode, calls.read_text().splitlines(), records


def test_each_step_is_recorded_and_only_what_failed_is_run_again(stand_ins: Path) -> None:
    code, calls, records = run(stand_ins, failing="gpu_tables.py lora_linear")
    assert code == 1
    # One that fails keeps none of those after it from being run.
    assert {name for name, record in records.items() if record["exit"] == 3} == {"table-lora_linear"}
    assert records["table-lora_linear"]["end"] == "it failed\n"
    assert records["train"]["exit"] == 0
    assert len(calls) == len(records)

    code, calls, records = run(stand_ins)
    assert code == 0
    assert len(calls) == 1
    assert "lora_linear" in calls[0]
    assert all(record["exit"] == 0 for record in records.values())


def test_the_steps_take_less_than_ten_minutes(stand_ins: Path) -> None:
    expected = sum(int(str(record["expected_s"])) for record in run(stand_ins)[2].values())
    assert 0 < expected < 600


def test_every_file_of_a_step_is_there() -> None:
    named = set(re.findall(r"(?:tests|benchmarks|configs)/[\w/]+\.(?:py|yml|sh)", SCRIPT.read_text()))
    assert len(named) >= 4
    assert [name for name in sorted(named) if not (SCRIPT.parents[1] / name).exists()] == []


def test_an_unknown_option_is_refused_before_anything_runs(stand_ins: Path) -> None:
    done = subprocess.run(["bash", str(SCRIPT), "--fast"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--fast is not known; allowed: --dry-run, a folder" in done.stderr
