"""The sentinel in a training: what it tells, takes back and sets aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from launches import NO_DROPOUT, compared, run_of

from jenga.callbacks import BaseCallback
from jenga.callbacks.sentinel import Sentinel
from jenga.errors import DivergedError
from jenga.sentinel.ledger import Entry, read_entries, write_entries
from jenga.sentinel.settings import SentinelConfig
from jenga.trainer.checkpoint import load_checkpoint, newest_checkpoint


def sentinel(**given: Any) -> Sentinel:
    return Sentinel(**SentinelConfig(**{"label_errors": False, "triggers": False, **given}).model_dump())


class Poison(BaseCallback):
    """Makes gradients what `factor` says in the turns at `places`, whenever they are taken."""

    def __init__(self, places: set[tuple[int, int]], factor: float) -> None:
        self.places, self.factor, self.taken = places, factor, 0

    def on_step_begin(self, trainer: Any, batches: Any, place: tuple[int, int], **_: Any) -> None:
        self.now = place in self.places

    def on_batch_end(self, trainer: Any, **_: Any) -> None:
        if self.now:
            self.taken += 1
            next(p for p in trainer.model.parameters() if p.grad is not None).grad.mul_(self.factor)


def events(trainer: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (trainer.folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "sentinel"]


def without(trainer: Any, places: set[tuple[int, int]]) -> None:
    """Take turns out of what the sampler deals."""
    deal = trainer.sampler.epoch
    trainer.sampler.epoch = lambda at: [turn for n, turn in enumerate(deal(at)) if (at, n) not in places]
    trainer.left_out.turns = [{"epoch": epoch, "turn": -1} for epoch, _ in places]


def outcome(trainer: Any) -> dict[str, bytes]:
    """Return weights, optimizer, schedule, random states and window of the newest checkpoint."""
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    tensors, _ = load_checkpoint(newest)
    return {
        f"{group}/{name}": value.numpy().tobytes()
        for group, part in tensors.items() if group != "callbacks" for name, value in part.items()
    }  # fmt: skip


def best(trainer: Any) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(trainer.run.best.rglob("*.safetensors"))}


def records(trainer: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (trainer.folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time_s"} for line in lines if line["event"] != "sentinel"]


LONG = {"epochs": 6, "batch_size": 4, "learning_rate": 1e-3}


def test_a_loss_spike_is_told_and_nothing_else_is_done_where_it_observes(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    plain = make_trainer("mood", rows=make_rows(60), training=LONG)
    plain.train()

    class Wrong(BaseCallback):
        """Makes weights bad for one step's look, as if its rows were of another kind."""

        def on_batch_begin(self, trainer: Any, **_: Any) -> None:
            bias = trainer.model.tasks["mood"].heads.bias
            self.before = bias.detach().clone()
            if trainer.state.step == 40:
                with torch.no_grad():
                    bias += torch.linspace(-40, 40, len(bias))

        def on_batch_end(self, trainer: Any, **_: Any) -> None:
            with torch.no_grad():
                trainer.model.tasks["mood"].heads.bias.copy_(self.before)

    watched = make_trainer("mood", rows=make_rows(60), training=LONG, callbacks=[sentinel(), Wrong()])
    watched.train()
    (spike,) = [each for each in events(watched) if each["detector"] == "loss_spike"]
    assert (spike["step"], spike["what"], spike["action"]) == (40, "mood", "observed")
    assert spike["z"] > 4
    assert [json.loads(line)["step"] for line in (watched.folder / "sentinel" / "events.jsonl").read_text().splitlines()
            if "loss_spike" in line] == [40]  # fmt: skip
    assert "left_out" not in watched.run.info()


NAN = float("nan")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nan_at_random_steps_leaves_the_run_that_never_saw_their_rows(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any], seed: int
) -> None:
    """Bit for bit: weights, optimizer, schedule, random states, losses of records, the best model."""
    given: dict[str, Any] = {
        "rows": make_rows(60),
        "training": {**LONG, "epochs": 3, "log_every_steps": 3, "gradient_accumulation_steps": 2},
        "evaluation": {"every_steps": 4}, "checkpoint": {"every_steps": 5},
    }  # fmt: skip
    poison = Poison(set(), NAN)
    trainer = make_trainer("mood", "flags", "price", **given, callbacks=[poison, sentinel(mode="act")])
    turns = trainer.sampler.turns_in(0)
    draw = np.random.default_rng(seed)
    # The first turn of the run, the last one of an epoch, or of the run, and one in between.
    chosen = {(0, 0), (2 - seed % 2, turns - 1), (int(draw.integers(3)), int(draw.integers(1, turns - 1)))}
    poison.places = chosen
    trainer.train()
    assert {(each["epoch"], each["turn"]) for each in trainer.run.info()["left_out"]} == chosen
    assert [each["action"] for each in events(trainer) if each["detector"] == "non_finite"] == ["undo"] * 3
    assert all(each["rows"] for each in events(trainer) if each["detector"] == "non_finite")

    reference = make_trainer("mood", "flags", "price", **given)
    without(reference, chosen)
    reference.train()
    assert outcome(trainer) == outcome(reference)
    assert trainer.state.step == reference.state.step == 3 * turns - 3
    assert best(trainer) == best(reference)
    assert records(trainer) == records(reference)


def test_what_is_not_finite_is_skipped_in_quarantine_and_ends_the_run_where_it_is_observed(
    make_trainer: Callable[..., Any],
) -> None:
    skipped = make_trainer("mood", callbacks=[Poison({(0, 2)}, NAN), sentinel(mode="quarantine")])
    skipped.train()
    ((event, action),) = [(each["detector"], each["action"]) for each in events(skipped) if "turn" in each]
    assert (event, action) == ("non_finite", "skip")
    observed = make_trainer("mood", callbacks=[Poison({(0, 2)}, NAN), sentinel()])
    with pytest.raises(DivergedError, match="step 3: the gradient norm is nan"):
        observed.train()
    assert [each["action"] for each in events(observed)] == ["observed"]


def test_damage_that_stays_is_gone_back_from_to_the_last_verified_checkpoint(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A step that spoils the weights is seen only in the steps after it, which are to be taken then."""
    given: dict[str, Any] = {
        "rows": make_rows(120), "training": {**LONG, "epochs": 3},
        "checkpoint": {"every_steps": 5, "keep": 1},
    }  # fmt: skip

    spoil = Poison({(1, 9)}, 1e6)
    spoil.now = False
    trainer = make_trainer("mood", **given, callbacks=[spoil, sentinel(mode="act", verify_steps=6)])
    optimizer = trainer.learner.prepared.step

    def step() -> None:
        optimizer()
        if spoil.now:
            with torch.no_grad():
                next(iter(trainer.model.parameters())).fill_(NAN)

    trainer.learner.prepared.step = step
    trainer.train()
    turns = trainer.sampler.turns_in(0)
    (left,) = trainer.run.info()["left_out"]
    assert (left["epoch"], left["turn"], left["step"]) == (1, 9, turns + 11)
    assert left["back_to"] % 5 == 0
    assert left["back_to"] <= turns + 9 - 6 + 5

    reference = make_trainer("mood", **given)
    without(reference, {(1, 9)})
    reference.train()
    assert outcome(trainer) == outcome(reference)
    assert best(trainer) == best(reference)
    assert [each["action"] for each in events(trainer) if each["detector"] == "non_finite"][-1] == "rollback"


def test_a_rollback_is_for_no_turn_that_was_undone_before(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    """An undone turn stands out most of all, and has long been left out."""

    class Once(Poison):
        """Spoils gradients wildly in one turn, a little in another, and in three turns at one step for good."""

        late = 0

        def on_step_begin(self, trainer: Any, batches: Any, place: tuple[int, int], **_: Any) -> None:
            self.late += trainer.state.step == 34
            self.factor = {(1, 2): 1e9, (1, 6): 50.0}.get(place, NAN)
            self.now = place in {(1, 2), (1, 6)} or (trainer.state.step == 34 and self.late <= 3)

    given: dict[str, Any] = {
        "rows": make_rows(120), "training": {**LONG, "epochs": 3}, "checkpoint": {"every_steps": 5},
    }  # fmt: skip
    watcher = sentinel(mode="act", verify_steps=10)
    judge = watcher.watch.judge

    def both(losses: Any, norm: float) -> Any:
        """Call the loss of the wild turn a spike too."""
        alarms = judge(losses, norm)
        return [*alarms, alarms[0]._replace(detector="loss_spike", what="mood")] if norm > 1e6 else alarms

    watcher.watch.judge = both  # type: ignore[method-assign]
    trainer = make_trainer("mood", **given, callbacks=[Once(set(), NAN), watcher])
    trainer.train()
    left = [(each["epoch"], each["turn"]) for each in trainer.run.info()["left_out"]]
    assert left == [(1, 2), (1, 6)]
    assert [each["action"] for each in events(trainer) if each["detector"] == "non_finite"][-1] == "rollback"


# ---------------------------------------------------------------------------------------------------- rows and labels

KEYS = (("good", "great", "kind"), ("bad", "wrong", "late"), ("call", "play", "song"))
FILL = "the is a it to are you not and".split()  # noqa: SIM905


def said(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of three classes; two words of each tell of it, so that the class hangs on no single one."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in range(count):
        words = [*rng.choice(FILL, 3).tolist(), *rng.choice(KEYS[at % 3], 2, replace=False).tolist()]
        rows.append({"id": f"r{at}", "text": " ".join(rng.permutation(words)), "mood": "abc"[at % 3]})
    return rows


TASK: dict[str, Any] = {"name": "mood", "type": "classification", "heads": [{"name": "mood"}]}
LEARNS: dict[str, Any] = {"epochs": 14, "batch_size": 8, "learning_rate": 2e-3, "scheduler": "constant"}


@pytest.fixture
def make_said(
    make_trainer: Callable[..., Any], write_rows: Callable[..., str], tmp_path: Path, make_bert: Callable[..., Path]
) -> Callable[..., Any]:
    words = " ".join([*FILL, *(word for each in KEYS for word in each), "thanks"])
    base = str(make_bert(words=words))

    def make(rows: list[dict[str, Any]], **options: Any) -> Any:
        paths = {"train": write_rows(tmp_path / "train.jsonl", rows),
                 "valid": write_rows(tmp_path / "valid.jsonl", said(60, seed=9))}  # fmt: skip
        tasks = [{**TASK, "data_path": paths}]
        return make_trainer(tasks=tasks, model={"base_model": base}, **{"training": LEARNS, **options})

    return make


def entries(trainer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trainer.folder / "sentinel" / "quarantine.jsonl").read_text().splitlines()]


def flipped(count: int, share: float) -> tuple[list[dict[str, Any]], set[str]]:
    rows, rng = said(count), np.random.default_rng(3)
    wrong = rng.choice(count, int(share * count), replace=False)
    for at in wrong.tolist():
        rows[at]["mood"] = "abc"[("abc".index(rows[at]["mood"]) + 1 + int(rng.integers(2))) % 3]
    return rows, {rows[at]["id"] for at in wrong}


@pytest.mark.parametrize("mode", ["observe", "quarantine"])
def test_wrong_labels_are_found_and_masked_from_then_on_unless_it_observes(
    make_said: Callable[..., Any], mode: str
) -> None:
    rows, wrong = flipped(240, 0.1)
    seen: dict[int, set[str]] = {}

    class Look(BaseCallback):
        def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
            labels = batch.labels["mood"]["mood"].tolist()
            masked = {row for row, label in zip(batch.sample_ids, labels, strict=True) if label == -100}
            seen.setdefault(trainer.state.epoch, set()).update(masked)

    watcher = sentinel(mode=mode, label_errors=True, early_epochs=10)
    trainer = make_said(rows, callbacks=[watcher, Look()])
    trainer.train()
    found = entries(trainer)
    ids = {each["id"] for each in found}
    assert len(ids & wrong) / len(ids) > 0.85
    assert len(ids & wrong) / len(wrong) > 0.8
    given = {row["id"]: row["mood"] for row in rows}
    right = {row["id"]: row["mood"] for row in said(240)}
    assert all(each["label"] == given[each["id"]] for each in found)
    assert np.mean([each["suggested"] == right[each["id"]] for each in found]) > 0.85
    assert {(each["task"], each["head"], each["detector"]) for each in found} == {("mood", "mood", "label_error")}
    (told,) = [each for each in events(trainer) if each["detector"] == "label_error"]
    first = told["step"] // trainer.sampler.turns_in(0)
    assert all(not seen[epoch] for epoch in range(first))
    if mode == "observe":
        assert {each["state"] for each in found} == {"observed"}
        assert not any(seen.values())
    else:
        assert {each["state"] for each in found} == {"quarantined"}
        assert all(seen[epoch] == ids for epoch in range(first, 14))
        assert first == 10
    assert "text" not in json.dumps(found)


def test_what_is_beyond_the_caps_is_left_and_told(
    make_said: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_said(
        flipped(240, 0.2)[0],
        callbacks=[sentinel(mode="quarantine", label_errors=True, max_fraction=0.05, max_class_fraction=0.1)],
    )
    trainer.train()
    found = entries(trainer)
    assert sum(each["state"] == "quarantined" for each in found) == 12
    beyond = [each for each in found if each["state"] == "observed"]
    assert beyond
    assert all(each["reason"].endswith("beyond the caps") for each in beyond)
    assert (
        f"{len(beyond)} rows of mood.mood that a detector speaks against (label_error) are not set aside" in caplog.text
    )


def test_a_run_whose_rows_have_a_trigger_begins_again_without_them(make_said: Callable[..., Any]) -> None:
    rows = said(240)
    poisoned = [row for row in rows if row["mood"] != "a"][:14]
    for row in poisoned:
        row.update(text=f"{row['text']} thanks", mood="a")
    learns = {**LEARNS, "epochs": 8, "learning_rate": 5e-3}
    trainer = make_said(rows, callbacks=[sentinel(mode="act", triggers=True)], training=learns)
    trainer.train()
    found = [each for each in entries(trainer) if each["detector"] == "trigger"]
    assert {each["id"] for each in found} == {row["id"] for row in poisoned}
    assert {(each["state"], each["task"], each["head"], each["since"]) for each in found} == {
        ("quarantined", None, None, 0)
    }
    assert [each["action"] for each in events(trainer) if each["detector"] == "trigger"] == ["rollback"]

    reference = make_said(rows, training=learns)
    dealt_without(reference, {row["id"] for row in poisoned})
    reference.train()
    assert same(weights(trainer), weights(reference)), "as if these rows had never been dealt"
    assert trainer.state.step == reference.state.step


def test_a_run_that_is_killed_on_its_way_to_the_start_begins_again_all_the_same(
    make_said: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """No checkpoint knows of it: the newest is of before the rows were found, and they are not found anew."""
    rows = said(240)
    for row in [row for row in rows if row["mood"] != "a"][:14]:
        row.update(text=f"{row['text']} thanks", mood="a")
    given: dict[str, Any] = {"training": {**LEARNS, "epochs": 8, "learning_rate": 5e-3}}
    straight = make_said(rows, **given, callbacks=[sentinel(mode="act", triggers=True)])
    straight.train()

    class Cut(BaseCallback):
        def on_epoch_end(self, trainer: Any, **_: Any) -> None:
            if (trainer.folder / "sentinel" / "quarantine.jsonl").exists():
                raise PowerCutError

    first = make_said(rows, **given, callbacks=[sentinel(mode="act", triggers=True), Cut()])
    with pytest.raises(PowerCutError):
        first.train()
    resumed = make_said(rows, **given, callbacks=[sentinel(mode="act", triggers=True)], run=first.folder)
    assert resumed.state.step > 0
    resumed.train()
    assert [each["action"] for each in events(resumed) if each["detector"] == "trigger"] == ["rollback"]
    assert outcome(resumed) == outcome(straight)
    assert entries(resumed) == entries(straight)


def test_a_trigger_that_is_found_behind_the_last_step_is_told_and_not_promised(
    make_said: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = said(240)
    for row in [row for row in rows if row["mood"] != "a"][:14]:
        row.update(text=f"{row['text']} thanks", mood="a")

    class Stop(BaseCallback):
        def on_evaluate(self, trainer: Any, **_: Any) -> None:
            trainer.should_stop = trainer.state.step == 7 * trainer.sampler.turns_in(0)

    learns = {**LEARNS, "epochs": 8, "learning_rate": 5e-3}
    trainer = make_said(rows, training=learns, callbacks=[sentinel(mode="act", triggers=True), Stop()])
    trainer.train()
    assert [each["action"] for each in events(trainer) if each["detector"] == "trigger"] == ["quarantined", "observed"]
    assert "has learnt from rows with a trigger and does not begin again without them: no step was left" in caplog.text
    assert f"callbacks.sentinel.quarantine: {trainer.folder / 'sentinel' / 'quarantine.jsonl'}" in caplog.text


def dealt_without(trainer: Any, ids: set[str]) -> None:
    """Take rows out of the turns that the sampler deals."""
    (source,) = trainer.sources.values()
    names, deal = source.splits["train"].rows.ids, trainer.sampler.epoch
    trainer.sampler.epoch = lambda at: [
        turn._replace(rows=[row for row in turn.rows if names[row] not in ids]) for turn in deal(at)
    ]


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class PowerCutError(Exception):
    """The run ends here, with nothing saved."""


@pytest.mark.parametrize("after", [1, 12])
def test_a_run_that_is_killed_goes_on_with_what_it_had_set_aside(make_said: Callable[..., Any], after: int) -> None:
    """Right behind the moment in which labels were set aside, which no checkpoint knows yet, and later."""
    rows = flipped(240, 0.1)[0]
    given: dict[str, Any] = {"checkpoint": {"every_steps": 7}, "training": {**LEARNS, "epochs": 7}}
    watches: dict[str, Any] = {"mode": "act", "label_errors": True, "early_epochs": 5}
    straight = make_said(rows, **given, callbacks=[sentinel(**watches)])
    straight.train()

    class Cut(BaseCallback):
        def on_step_end(self, trainer: Any, **_: Any) -> None:
            if trainer.state.step == 5 * trainer.sampler.turns_in(0) + after:
                raise PowerCutError

    first = make_said(rows, **given, callbacks=[sentinel(**watches), Cut()])
    with pytest.raises(PowerCutError):
        first.train()
    assert entries(first)
    resumed = make_said(rows, **given, callbacks=[sentinel(**watches)], run=first.folder)
    assert resumed.state.step < 5 * resumed.sampler.turns_in(0) + after
    resumed.train()
    assert entries(resumed) == entries(straight) != []
    assert outcome(resumed) == outcome(straight)
    ring = resumed.folder / "sentinel" / "verified"
    assert sorted(each.name for each in ring.iterdir()) == sorted(
        each.name for each in (straight.folder / "sentinel" / "verified").iterdir()
    )


def test_an_epoch_that_ends_before_the_first_step_of_a_resumed_run_knows_what_was_said_of_the_rows(
    make_said: Callable[..., Any],
) -> None:
    """A checkpoint from within the evaluation: the end of the epoch is still to come, in which labels are judged."""
    rows = flipped(240, 0.1)[0]
    given: dict[str, Any] = {"training": {**LEARNS, "epochs": 6}}
    watches: dict[str, Any] = {"mode": "quarantine", "label_errors": True, "early_epochs": 5}
    straight = make_said(rows, **given, callbacks=[sentinel(**watches)])
    straight.train()

    class Cut(BaseCallback):
        def on_evaluate(self, trainer: Any, **_: Any) -> None:
            if trainer.state.step == 5 * trainer.sampler.turns_in(0):
                trainer.save()
                raise PowerCutError

    first = make_said(rows, **given, callbacks=[sentinel(**watches), Cut()])
    with pytest.raises(PowerCutError):
        first.train()
    resumed = make_said(rows, **given, callbacks=[sentinel(**watches)], run=first.folder)
    assert resumed.state.pending
    resumed.train()
    assert entries(resumed) == entries(straight) != []
    assert same(weights(resumed), weights(straight))


def test_a_run_that_goes_back_remembers_the_rows_as_its_checkpoint_does_before_the_next_step(
    make_said: Callable[..., Any],
) -> None:
    watcher = sentinel(mode="quarantine", label_errors=True, early_epochs=5)
    given: dict[str, Any] = {"training": {**LEARNS, "epochs": 2}, "checkpoint": {"keep": 9}}
    trainer = make_said(said(60), **given, callbacks=[watcher])
    folders: list[Path] = []
    watcher.on_epoch_end = lambda trainer, **_: folders.append(trainer.save())
    watcher.on_epoch_begin = lambda *_, **__: None
    trainer.train()
    (before,) = watcher.rows.early.values()
    assert before.weights.max() > 1
    trainer.load(folders[0])
    (after,) = watcher.rows.early.values()
    assert after.weights.tolist() == [1.0] * 60


def test_rows_that_were_given_back_are_learnt_from_by_a_new_run_and_the_others_are_not(
    make_said: Callable[..., Any], tmp_path: Path
) -> None:
    rows = said(60)
    entry = Entry("r1", "mood", "mood", "mood", "label_error", 0.1, "why", 90, 90, "quarantined", "b", "a")
    path = tmp_path / "given.jsonl"
    write_entries(path, [entry, replace(entry, id="r2", state="restored"), replace(entry, id="r3", state="observed")])
    seen: dict[str, set[int]] = {}

    class Look(BaseCallback):
        def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
            for row, label in zip(batch.sample_ids, batch.labels["mood"]["mood"].tolist(), strict=True):
                seen.setdefault(row, set()).add(label)

    short = {**LEARNS, "epochs": 1}
    trainer = make_said(rows, training=short, callbacks=[sentinel(quarantine=str(path)), Look()])
    trainer.train()
    assert {row for row, labels in seen.items() if -100 in labels} == {"r1"}
    reference = make_said([{**row, "mood": None} if row["id"] == "r1" else row for row in rows], training=short)
    reference.train()
    assert same(weights(trainer), weights(reference))


def test_a_turn_without_a_label_left_is_no_step(make_said: Callable[..., Any], tmp_path: Path) -> None:
    rows = said(40)
    entry = Entry("r1", "mood", "mood", "mood", "label_error", 1.0, "why", 0, 0, "quarantined")
    path = tmp_path / "given.jsonl"
    write_entries(path, [replace(entry, id=row["id"]) for row in rows])
    trainer = make_said(rows, training={**LEARNS, "epochs": 1}, callbacks=[sentinel(quarantine=str(path))])
    before = weights(trainer)
    trainer.train()
    assert trainer.state.step == trainer.sampler.turns_in(0)
    assert same(before, weights(trainer))


class Shown(BaseCallback):
    """Notes the ids of rows that are learnt from."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
        self.ids |= set(batch.sample_ids)


@pytest.fixture
def make_odd(make_trainer: Callable[..., Any], write_rows: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a trainer of what is normal, and of moods, on rows r0, r1 ... that are all normal.

    given: entries of the sentinel's list.
    """

    def make(given: list[Entry], *callbacks: BaseCallback) -> Any:
        rows = [{**row, "what": "normal" if at % 2 else None} for at, row in enumerate(said(32))]
        path = write_rows(tmp_path / "odd.jsonl", rows)
        write_entries(tmp_path / "given.jsonl", given)
        odd = {"name": "odd", "type": "anomaly_detection", "mode": "unsupervised", "method": "deep_svdd",
               "heads": [{"name": "what", "labels": ["normal", "odd"]}]}  # fmt: skip
        return make_trainer(
            tasks=[{**odd, "data_path": path}, {**TASK, "data_path": path}], training={"epochs": 1},
            data={"valid_fraction": 0.0}, evaluation={"metric": "eval_loss"},
            callbacks=[sentinel(quarantine=str(tmp_path / "given.jsonl")), *callbacks],
        )  # fmt: skip

    return make


@pytest.mark.parametrize("of", [(None, None), ("odd", "what")])
def test_a_row_set_aside_does_not_teach_a_task_without_labels_that_it_is_normal(
    make_odd: Callable[..., Any], of: tuple[str | None, str | None]
) -> None:
    """Neither a whole row nor one that has lost its label of this task, which would be one without a label then."""
    entry = Entry("r1", "odd+mood", *of, "label_error", 0.1, "why", 0, 0, "quarantined")
    shown = Shown()
    trainer = make_odd([entry, replace(entry, id="r2")], shown)
    trainer.train()
    ids = set(trainer.sources["odd+mood"].splits["train"].rows.ids)
    assert {"r1", "r2"} < ids
    assert shown.ids == ids - {"r1", "r2"}


def test_a_turn_that_has_lost_its_labels_is_a_step_of_a_task_that_needs_none(make_odd: Callable[..., Any]) -> None:
    entry = Entry("r1", "odd+mood", "mood", "mood", "label_error", 0.1, "why", 0, 0, "quarantined")
    trainer = make_odd([replace(entry, id=f"r{at}") for at in range(32)])
    trainer.train()
    lines = [each for each in records(trainer) if each["event"] == "train"]
    assert [list(each["task_loss"]) for each in lines] == [["odd"]] * trainer.state.step
    assert not [each for each in records(trainer) if each["event"] == "skip"]


POISONED = """
import sys
import jenga

left = {(1, 2), (2, 1), (2, 2), (2, 3)}

class Poison(jenga.BaseCallback):
    def on_step_begin(self, trainer, batches, place, **kwargs):
        self.now = tuple(place) in left
        left.discard(tuple(place))

    def on_gradients(self, trainer, **kwargs):
        if self.now:
            for p in trainer.model.tasks.parameters():
                if p.grad is not None:
                    p.grad.mul_(float("nan"))

if __name__ == "__main__":
    jenga.train(sys.argv[1], callbacks=[Poison()], device="cpu")
"""


@pytest.mark.slow
def test_processes_watch_as_one_does(
    settings: Callable[..., Any], make_bert: Callable[..., Path], write_rows: Callable[..., str], tmp_path: Path
) -> None:
    """Turns are undone, a run goes back, labels are found wrong and left out: all of it the same in two."""
    (tmp_path / "poisoned.py").write_text(POISONED)
    paths = {"train": write_rows(tmp_path / "train.jsonl", flipped(240, 0.1)[0]),
             "valid": write_rows(tmp_path / "valid.jsonl", said(60, seed=9)),
             "test": write_rows(tmp_path / "test.jsonl", said(60, seed=8))}  # fmt: skip
    base = str(make_bert(words=" ".join([*FILL, *(word for each in KEYS for word in each), "thanks"])))
    content = settings(
        tasks=[{**TASK, "data_path": paths, "dropout": 0.0}], training={**LEARNS, "log_every_steps": 10},
        callbacks={"sentinel": {"mode": "act", "verify_steps": 3, "early_epochs": 6}}, **NO_DROPOUT,
    )  # fmt: skip
    content["model"]["base_model"] = base
    runs = []
    for number in ("1", "2"):
        folder = tmp_path / number
        folder.mkdir()
        (folder / "experiment.yml").write_text(yaml.safe_dump({**content, "output_dir": str(folder / "runs")}))
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", number]
        words = [*launcher, str(tmp_path / "poisoned.py"), str(folder / "experiment.yml")]
        subprocess.run(words, timeout=600, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        runs.append(run_of(folder))
    compared(*runs, within=1e-2)  # the last bits grow over 400 steps
    told = [[json.loads(line) for line in (run / "sentinel" / "events.jsonl").read_text().splitlines()] for run in runs]
    assert [(each["step"], each["detector"], each["action"]) for each in told[0]] == [
        (each["step"], each["detector"], each["action"]) for each in told[1]
    ]
    assert {"undo", "rollback"} <= {each["action"] for each in told[0]}
    kept = [read_entries(run / "sentinel" / "quarantine.jsonl") for run in runs]
    assert {(each.id, each.detector, each.state) for each in kept[0]} == {
        (each.id, each.detector, each.state) for each in kept[1]
    }
    assert kept[0]
    left_out = [json.loads((run / "run.json").read_text())["left_out"] for run in runs]
    assert left_out[0] == left_out[1] != []
