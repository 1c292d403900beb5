"""Several runs in stages side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jenga.continual.compare import compare, spread
from jenga.continual.summary import summary
from jenga.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a run's folder of two stages; of them `last` is known at the end."""

    def make(name: str, *, last: float = 0.5, seed: int = 0, project: str = "p", **changes: Any) -> Path:
        run = tmp_path / name
        run.mkdir()
        given = {"project_name": project, "training": {"seed": seed, "ema": changes.pop("ema", None)}}
        (run / "run.json").write_text(json.dumps({"given": given}))
        matrix = [[0.9, 0.1], [last, 0.8]]
        table = {"matrix": matrix, "summary": summary(matrix, greater_is_better=True, before=[0.1, 0.1], known=[1])}
        content = {
            "stages": [{"name": "one"}, {"name": "two"}], "metric": "accuracy", "greater_is_better": True, **table,
            "baselines": {"prototypes": table}, **changes,
        }  # fmt: skip
        (run / "continual.json").write_text(json.dumps(content))
        return run

    return make


def test_runs_that_differ_by_their_seed_alone_are_one_row_with_mean_and_spread(write: Write) -> None:
    runs = [write("a", last=0.5, seed=0), write("b", last=0.7, seed=1), write("c", last=0.1, seed=0, project="q")]
    found = compare(runs)
    assert [(group.name, len(group.records)) for group in found.groups] == [("p", 2), ("q", 1), ("prototypes", 3)]
    header, first, second, _ = found.table()
    assert header == ["run", "runs", "final", "forgetting", "backward transfer", "forward transfer"]
    assert first == ["p", "2", "0.700 ± 0.071", "0.300 ± 0.141", "-0.300 ± 0.141", "0.000 ± 0.000"]
    assert second == ["q", "1", "0.450", "0.800", "-0.800", "0.000"]
    assert found.groups[0].matrix[1] == [pytest.approx(0.6), pytest.approx(0.8)]
    assert found.matrix_table(found.groups[0]) == [
        ["after", "one", "two"], ["one", "0.900", "0.100"], ["two", "0.600", "0.800"],
    ]  # fmt: skip


def test_runs_of_one_project_are_named_by_the_settings_in_which_they_differ(write: Write) -> None:
    found = compare([write("a"), write("b", ema=0.9)])
    assert [group.name for group in found.groups] == ["p", "training.ema 0.9", "prototypes"]


def test_a_run_that_ended_early_has_the_stages_that_it_did(write: Write) -> None:
    early = write("a", matrix=[[0.9, 0.1]], summary=None, baselines={})
    found = compare([early])
    assert found.groups[0].matrix == [[0.9, 0.1]]
    assert found.table() == [["run", "runs"], ["p", "1"]]


def test_runs_of_other_stages_are_not_compared(write: Write) -> None:
    one, other = write("a"), write("b", stages=[{"name": "one"}, {"name": "three"}])
    with pytest.raises(DataError, match=r"b has stages one, three judged by accuracy, and .*a has one, two"):
        compare([one, other])


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "is harmed"), ("[]", "is harmed"), ('{"stages": []}', "is harmed .*metric")],
)
def test_a_harmed_record_is_told(write: Write, content: str, why: str) -> None:
    run = write("a")
    (run / "continual.json").write_text(content)
    with pytest.raises(DataError, match=why):
        compare([run])


def test_what_is_no_run_in_stages_is_told(write: Write, tmp_path: Path) -> None:
    run = write("a")
    (run / "continual.json").unlink()
    with pytest.raises(DataError, match="it is no run in stages"):
        compare([run])
    with pytest.raises(DataError, match="there is no such run"):
        compare([tmp_path / "nothing"])


def test_one_value_has_no_spread() -> None:
    assert spread([]) == "-"
    assert spread([0.25]) == "0.250"
    assert spread([0.25, 0.5]) == f"0.375 ± {statistics.stdev([0.25, 0.5]):.3f}"
