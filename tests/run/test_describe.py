"""What a run is of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from jenga.processes import Processes
from jenga.run import describe
from jenga.run.describe import environment


def test_the_environment_names_what_a_run_depends_on() -> None:
    found = environment(torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["versions"]["torch"] == torch.__version__


def test_several_processes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator: Any = Accelerator(cpu=True)
    assert describe._several(accelerator) == ""
    monkeypatch.setattr(Processes, "of_run", lambda device: Processes(0, 3, device))
    assert describe._several(accelerator) == ", 3 processes"
