"""No argument, however broken, ends the process: see `tests/kernels/fuzz`, which may run for longer than this does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import jenga._C

FUZZ = Path(__file__).with_name("fuzz")
CALLS = int(os.environ.get("JENGA_FUZZ_CALLS", "800"))
"""Of each op and function."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("fuzz") / "report.json"
    command = [sys.executable, str(FUZZ), "--calls", str(CALLS), "--report", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert path.exists(), done.stderr
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_broken_arguments_end_in_a_result_or_in_an_ordinary_exception(report: dict[str, Any]) -> None:
    lines = [
        f"{each['name']}, seed {each['seed']}: {each['what']}\n    {each['arguments']}" for each in report["findings"]
    ]
    assert not lines, "\n".join(["replay one by: python tests/kernels/fuzz --replay NAME SEED", *lines])


def test_every_op_of_the_dispatcher_and_every_function_was_called(report: dict[str, Any]) -> None:
    prefix = "jenga::"
    ops = {name.removeprefix(prefix) for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)}
    functions = {f"_C.{name}" for name in vars(jenga._C) if not name.startswith("_")}
    assert {"multi_head_loss", "refine_out"} <= ops
    assert "_C.split_rows" in functions
    assert report["calls"].keys() == ops | functions


def test_every_op_succeeded_with_valid_arguments_and_refused_others(report: dict[str, Any]) -> None:
    # An op that is missing here has no valid call in tests/kernels/fuzz/calls.py; from its schema alone it is called
    # with arguments that seldom get past its first check.
    lacking = {name: counts for name, counts in report["calls"].items() if not all(counts.values())}
    assert lacking == {}
