"""Processes of one run: alone, and two that know one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jenga.processes import Processes

PROGRAM = """
import json, os, sys
import torch, torch.distributed as dist
from jenga.errors import SetupError
from jenga.processes import Processes

rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
here = Processes.of_run(torch.device("cpu"))
found = {"rank": here.rank, "size": here.size, "first": here.first, "share": list(here.share(range(5)))}
found["any"] = here.any(rank == 1, False)
found["gathered"] = here.gathered({"from": rank})
found["from_first"] = here.from_first(f"of {rank}")
numbers = {"both": torch.tensor(1.0 + rank), **({"one": torch.tensor(5.0)} if rank else {})}
found["sums"] = {name: float(each) for name, each in here.sums(numbers).items()}
rows = {"a": torch.ones(3)} if rank == 0 else {"b": torch.full((3,), 2.0), "a": torch.ones(3)}
found["rows"] = {name: each.tolist() for name, each in here.sum_rows(rows, [torch.zeros(2), torch.zeros(1)]).items()}
parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
parameters.append(torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)))
parameters[0].grad = torch.tensor([1.0, rank])
parameters[3].grad = torch.tensor([1.0, rank], dtype=torch.float64)
if rank:
    parameters[1].grad = torch.tensor([3.0, 4.0])
here.sum_gradients(parameters)
found["grads"] = [None if p.grad is None else p.grad.tolist() for p in parameters]
weight = torch.full((2,), float(rank))
here.spread([weight])
found["spread"] = weight.tolist()
if rank:
    print(json.dumps(found), flush=True)
    os._exit(0)
try:
    while True:
        here.gathered(0)
except SetupError as error:
    found["gone"] = str(error)
print(json.dumps(found))
"""


def test_alone_everything_is_ones_own() -> None:
    alone = Processes()
    parameter = torch.nn.Parameter(torch.zeros(2))
    assert (alone.first, alone.size) == (True, 1)
    assert alone.share([3, 4]) == [3, 4]
    assert alone.any(True, False) == [True, False]
    assert alone.gathered("x") == ["x"]
    assert alone.from_first("x") == "x"
    alone.sum_gradients([parameter])
    assert parameter.grad is None


def test_two_tell_one_another_and_notice_that_one_is_gone(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "store")], env={**os.environ, "RANK": str(rank)},
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    found = [json.loads(each.communicate(timeout=120)[0]) for each in started]
    assert [each["rank"] for each in found] == [0, 1]
    assert [each["first"] for each in found] == [True, False]
    assert [each["share"] for each in found] == [[0, 2, 4], [1, 3]]
    for each in found:
        assert each["size"] == 2
        assert each["any"] == [True, False]
        assert each["gathered"] == [{"from": 0}, {"from": 1}]
        assert each["from_first"] == "of 0"
        assert each["sums"] == {"both": 3.0, "one": 5.0}
        assert each["rows"] == {"a": [2.0] * 3, "b": [2.0] * 3}
        assert each["grads"] == [[2.0, 1.0], [3.0, 4.0], None, [2.0, 1.0]]
        assert each["spread"] == [0.0, 0.0]
    assert "process 0 of 2: another one has ended" in found[0]["gone"]


WAITS = """
import os, sys, time
from datetime import timedelta
import torch, torch.distributed as dist
from jenga.errors import LostProcessError
from jenga.processes import Processes, meeting

rank, where = int(os.environ["RANK"]), sys.argv[1]
try:
    if where == "before":
        time.sleep({0: 0, 1: 60, 2: 1.5}[rank])
    with meeting(3):
        dist.init_process_group("gloo", timeout=timedelta(seconds=3 if where == "before" else 60))
    here = Processes.of_run(torch.device("cpu"))
    here.any()
    here.wait_at_most(3)
    time.sleep({0: 0, 1: 60, 2: 1.5}[rank])
    here.any()
except LostProcessError as error:
    print(f"{error.told_here}: {error}", flush=True)
    os._exit(4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before", "within"])
def test_who_does_not_come_in_time_is_named_by_the_first_that_waited(where: str) -> None:
    """The first waits from the beginning, the third begins to wait later: it is not the one that is missing."""
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    launched = {
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": "3",
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WAITS, where], env={**os.environ, **launched, "RANK": str(rank)},
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(3)
    ]  # fmt: skip
    told = [started[rank].communicate(timeout=120)[0] for rank in (0, 2)]
    started[1].kill()
    started[1].communicate()
    assert [each.partition(": ")[0] for each in told] == ["True", "False"]
    for each in told:
        assert "process 1 of 3 did not come within 3 s" in each
        assert "--wait-limit" in each
