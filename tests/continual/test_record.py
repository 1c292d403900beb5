"""continual.json. (What stands in one after a whole training: test_methods.py.)"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jenga.continual.judging import Judged
from jenga.continual.place import place_of
from jenga.continual.record import ContinualRecord, known_stages
from jenga.labels.metric import Metric
from jenga.processes import Processes
from jenga.run.build import build
from jenga.run.experiment import load_config, make_accelerator
from jenga.trainer.evaluate import Runner
from jenga.types import HeadSpace


def head(name: str) -> Judged:
    return Judged("s", HeadSpace(name, "h", "class", 2, ("a", "b")), Metric("accuracy"))


def test_a_stage_is_known_where_all_its_heads_were_trained_before() -> None:
    assert known_stages([[head("a")], [head("a")], [head("b")], [head("a"), head("b")], [head("c")]]) == [1, 3]


@pytest.fixture
def made(staged: Callable[..., dict[str, Any]], tmp_path: Path) -> tuple[ContinualRecord, Any]:
    experiment = build(load_config(staged()), tmp_path)
    bundle, accelerator = experiment.bundle, make_accelerator("fp32", "cpu")
    place = place_of(bundle.config, experiment.sources, accelerator)

    @contextmanager
    def judging() -> Iterator[Runner]:
        yield Runner(bundle.model, accelerator.device, accelerator.autocast, {"shared": 16}, {})

    record = ContinualRecord(place, bundle.model, prototypes=True)
    return record, SimpleNamespace(judging=judging, folder=tmp_path, model=bundle.model, processes=Processes())


def test_it_is_written_where_a_stage_ends_and_an_end_that_comes_again_changes_nothing(
    made: tuple[ContinualRecord, Any], tmp_path: Path
) -> None:
    record, trainer = made
    record.on_epoch_begin(trainer, 0)
    record.on_epoch_end(trainer, 0, {})
    assert not (tmp_path / "continual.json").exists()
    for _ in range(2):
        record.on_epoch_end(trainer, 1, {})
        found = json.loads((tmp_path / "continual.json").read_text())
        assert len(found["matrix"]) == 1
        assert found["summary"] is None
        assert len(found["baselines"]["prototypes"]["matrix"]) == 2
    record.on_epoch_end(trainer, 3, {})
    assert json.loads((tmp_path / "continual.json").read_text())["summary"]["forgetting"] == 0.0


def test_what_came_before_the_training_is_judged_once(made: tuple[ContinualRecord, Any]) -> None:
    record, trainer = made
    record.on_epoch_begin(trainer, 0)
    before = record.state_dict()
    other_before = json.loads(json.dumps(before))
    for p in trainer.model.parameters():
        p.data.neg_()
    record.on_epoch_begin(trainer, 0)
    assert record.state_dict() == other_before
    record.load_state_dict({"before": [], "after": [], "prototypes": None})
    record.on_epoch_begin(trainer, 0)
    assert record.state_dict() != other_before
