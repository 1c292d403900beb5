"""The training loop: what a step computes, what happens when, and going on where a run stopped."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jenga.callbacks import Action, BaseCallback, GoBack
from jenga.callbacks.early_stopping import EarlyStopping
from jenga.errors import ConfigError, DataError, DivergedError, InterruptedRun
from jenga.files import damage, link_folder
from jenga.labels.metric import Metric
from jenga.modalities import BaseBackbone
from jenga.modalities.text.backbone import TextBackbone
from jenga.processes import Processes
from jenga.run.build import Bundle
from jenga.tasks import TASK_REGISTRY, BaseTask
from jenga.trainer.checkpoint import load_checkpoint, newest_checkpoint
from jenga.types import BackboneOutput

NO_DROPOUT = {"dropout": 0.0}
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_optimizer") is None, reason="jenga[optimizers] is not there"
)


class OwnLoss(BaseTask):
    """A user's task, with a loss that is a mean over rows."""

    def get_forward_output(self, encoder_outputs: BackboneOutput, labels: Any = None) -> Mapping[str, Any]:
        logits = self.head(encoder_outputs.pooler_output)
        return {"loss": F.cross_entropy(logits, labels) if labels is not None else None, "logits": logits}


@pytest.fixture
def own_loss() -> Iterator[None]:
    TASK_REGISTRY["own_loss"] = OwnLoss
    yield
    del TASK_REGISTRY["own_loss"]


class PowerCutError(Exception):
    """The run ends here, with nothing saved."""


class Do(BaseCallback):
    """Calls a function at one event."""

    def __init__(self, event: str, action: Callable[..., Any]) -> None:
        setattr(self, event, lambda trainer, **details: action(trainer, **details))


def at_step(step: int, action: Callable[[Any], Any]) -> Callable[..., None]:
    return lambda trainer, **_: action(trainer) if trainer.state.step == step else None


def interrupt(trainer: Any) -> None:
    trainer.interrupted = True


def records(trainer: Any, event: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in trainer.log.path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time_s"} for line in lines if event in (None, line["event"])]


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def partly_labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave each head another number of labels, unevenly spread."""
    for i, row in enumerate(rows):
        row["mood"] = row["mood"] if i % 3 else None
        row["flags"] = [row["flags"][0] if i < 4 else None, None if i % 2 else row["flags"][1], row["flags"][2]]
        row["price"] = row["price"] if i > 6 else None
        row["ner_tags"] = row["ner_tags"] if i % 4 else None
    return rows


# --------------------------------------------------------------------------------------------------------------- a step


@pytest.mark.usefixtures("own_loss")
@pytest.mark.parametrize(
    ("fusion", "balance"),
    [
        ("none", {}),
        ("attention", {}),
        ("none", {"loss_balance": "uncertainty"}),
        ("none", {"loss_balance": "dwa"}),
        ("none", {"loss_balance": "gradnorm"}),
        ("none", {"gradient_conflict": "sum"}),
    ],
)
def test_micro_batches_give_the_gradients_of_the_one_big_batch(
    make_trainer: Callable[..., Any],
    settings: Callable[..., Any],
    make_rows: Callable[..., Any],
    fusion: str,
    balance: dict[str, Any],
) -> None:
    names = ("mood", "flags", "names", "price")
    rows = partly_labelled(make_rows(10))
    tasks = [{**task, **NO_DROPOUT, "weight": 1.0 + i} for i, task in enumerate(settings(*names, rows=rows)["tasks"])]
    tasks[0]["heads"] = [
        {"name": "mood", "weight": 0.3, "labels": ["bad", "good"]},
        {"name": "topic", "label_smoothing": 0.1},
    ]
    tasks.append({**tasks[0], "name": "own", "type": "own_loss", "heads": [{"name": "topic"}]})
    found = []
    for size, accumulation in ((12, 1), (4, 3)):
        trainer = make_trainer(
            rows=rows, tasks=tasks, data={"valid_fraction": 0.0, "test_fraction": 0.0, "max_bad_fraction": 0.9},
            fusion={"type": fusion, **NO_DROPOUT},
            model={"base_model": settings()["model"]["base_model"], **NO_DROPOUT},
            training={
                "batch_size": size, "gradient_accumulation_steps": accumulation, "epochs": 1, "max_grad_norm": None,
                "warmup_ratio": 0.0, "learning_rate": 1e-2, **balance,
            },
        )  # fmt: skip
        settings(rows=rows)
        gradients: dict[str, torch.Tensor] = {}
        step = trainer.learner.prepared.step

        def keep(trainer: Any = trainer, gradients: dict[str, torch.Tensor] = gradients, step: Any = step) -> None:
            named = (*trainer.model.named_parameters(), *trainer.learner.balance.named_parameters())
            gradients.update({n: p.grad.clone() for n, p in named if p.grad is not None})
            step()

        trainer.learner.prepared.step = keep
        (turn,) = trainer.sampler.epoch(0)
        assert len(turn.rows) == 10
        trainer._started = 0.0
        trainer.step(turn)
        named = {**dict(trainer.model.named_parameters()), **dict(trainer.learner.balance.named_parameters())}
        found.append((gradients, named, records(trainer)))
    (big, big_weights, big_log), (micro, micro_weights, micro_log) = found
    assert big.keys() == micro.keys()
    moved = 0
    for name, gradient in big.items():
        # Sums over 10 and over 4 + 4 + 2 rows are added in another order, in float32.
        torch.testing.assert_close(
            micro[name], gradient, rtol=1e-3, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
        # Adam's first step is about lr * sign(gradient): comparable where the gradient is no rounding noise.
        clear = gradient.abs() > 1e-4
        moved += int(clear.sum())
        torch.testing.assert_close(micro_weights[name][clear], big_weights[name][clear], rtol=0, atol=1e-5)
    assert moved > 1000
    for key in ("task_loss", "head_loss"):
        assert json.dumps(big_log[0][key]) != "{}"
    assert big_log[0]["loss"] == pytest.approx(micro_log[0]["loss"], rel=1e-5)
    for task, heads in big_log[0]["head_loss"].items():
        assert micro_log[0]["head_loss"][task] == pytest.approx(heads, rel=1e-4)
    assert micro_log[0]["task_loss"] == pytest.approx(big_log[0]["task_loss"], rel=1e-4)


def test_tasks_of_one_source_share_each_encoder_pass(make_trainer: Callable[..., Any]) -> None:
    passes: list[bool] = []
    batches: list[int] = []
    count = Do("on_batch_begin", lambda trainer, batch: batches.append(len(batch.rows)))
    trainer = make_trainer("mood", "flags", "names", "price", callbacks=[count], training={"epochs": 1})
    trainer.model.encoders["shared"].register_forward_hook(lambda module, *_: passes.append(module.training))
    trainer.train()
    assert len(trainer.sources) == 1
    assert passes.count(True) == len(batches)
    assert (sum(batches), trainer.state.step) == (32, 4)
    assert set(records(trainer, "train")[0]["task_loss"]) == {"mood", "flags", "names", "price"}


def test_on_a_cpu_a_step_takes_rows_of_any_length_unless_the_encoder_is_recurrent(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer("mood")
    (lengths,) = trainer.sampler.lengths.values()
    spans = [np.ptp(lengths[turn.rows]) for turn in trainer.sampler.epoch(0)]
    assert min(spans) > np.ptp(lengths) / 3, "of eight rows; sorted together, most would span next to nothing"
    assert not make_trainer("mood", model={"base_model": "jenga/tiny-text"}).halves


def test_an_encoder_that_skips_padding_runs_the_rows_of_a_step_in_one_pass(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    for skips in (False, True):
        monkeypatch.setattr(TextBackbone, "skips_padding", skips)
        trainer = make_trainer("mood")
        assert trainer.halves
        turns = list(trainer.sampler.epoch(0))
        counts[skips] = [len(trainer.feed.batches(0, turn)) for turn in turns]
    assert set(counts[True]) == {1}
    assert 2 in counts[False]


def test_dropout_is_on_in_every_step_and_off_in_every_evaluation(make_trainer: Callable[..., Any]) -> None:
    """Loading a checkpoint leaves its encoder in evaluation mode; the first epoch must not be trained that way."""
    modes: list[tuple[bool, set[bool]]] = []
    trainer = make_trainer("mood", training={"epochs": 2})
    trainer.model.encoders["shared"].register_forward_hook(
        lambda *_: modes.append((torch.is_grad_enabled(), {each.training for each in trainer.model.modules()}))
    )
    trainer.train()
    trained = [training for with_grad, training in modes if with_grad]
    assert len(trained) >= 8
    assert trained == [{True}] * len(trained)
    assert [training for with_grad, training in modes if not with_grad] == [{False}] * 2


def test_sources_with_rows_of_their_own_take_turns(
    make_trainer: Callable[..., Any], settings: Callable[..., Any], make_rows: Callable[..., Any], tmp_path: Path,
    write_rows: Callable[..., str],
) -> None:  # fmt: skip
    tasks = settings("mood", "price", rows=make_rows(40))["tasks"]
    tasks[1]["data_path"] = write_rows(tmp_path / "other.jsonl", make_rows(20, seed=1))
    turns: dict[int, tuple[str, list[str]]] = {}
    note = Do(
        "on_batch_begin", lambda trainer, batch: turns.update({trainer.state.step: (batch.source, list(batch.labels))})
    )
    trainer = make_trainer(tasks=tasks, callbacks=[note], training={"epochs": 1})
    trainer.train()
    assert list(turns.values()) == [
        ("mood", ["mood"]),
        ("price", ["price"]),
        *[("mood", ["mood"])] * 2,
        ("price", ["price"]),
        ("mood", ["mood"]),
    ]
    assert [set(each["task_loss"]) for each in records(trainer, "train")[:2]] == [{"mood"}, {"price"}]


def test_a_head_without_labels_is_left_out_of_the_record_and_never_at_zero(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any]
) -> None:
    rows = make_rows(40)
    for row in rows[4:]:
        row["topic"] = None
    trainer = make_trainer("mood", "price", rows=rows, training={"epochs": 1, "batch_size": 4})
    labelled = trainer.experiment.sources[0].splits["train"].rows.labels["mood", "topic"] != -100
    turns = trainer.sampler.epoch(0)
    assert 0 < sum(labelled[turn.rows].any() for turn in turns) < len(turns)
    trainer.train()
    for turn, record in zip(turns, records(trainer, "train"), strict=True):
        assert set(record["head_loss"]["mood"]) == ({"mood", "topic"} if labelled[turn.rows].any() else {"mood"})
        assert 0.0 not in record["head_loss"]["mood"].values()


def test_gradients_are_clipped_and_the_norm_is_that_before(make_trainer: Callable[..., Any]) -> None:
    norms: list[float] = []

    def note(trainer: Any) -> None:
        step = trainer.learner.prepared.step

        def noting() -> None:
            norms.append(
                float(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).norm())
            )
            step()

        trainer.learner.prepared.step = noting

    for limit in (1e-3, None):
        trainer = make_trainer("mood", training={"epochs": 1, "max_grad_norm": limit})
        note(trainer)
        trainer.train()
        logged = [each["grad_norm"] for each in records(trainer, "train")]
        assert min(logged) > 0.01
        assert norms == pytest.approx([1e-3] * 4 if limit else logged, rel=1e-3)
        norms.clear()


def test_a_bf16_step_runs_on_the_cpu_and_trains_float32_weights(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(
        "mood", "flags", "names", "price", fusion={"type": "attention"}, training={"precision": "bf16"}
    )
    dtypes = set()
    trainer.model.encoders["shared"].encoder.encoder.register_forward_hook(
        lambda *_: dtypes.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
    )
    before = weights(trainer)
    trainer.train()
    assert dtypes == {torch.bfloat16}
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.model.parameters())
    assert not same(weights(trainer), before)


def test_the_learning_rates_of_a_record_follow_the_schedule(make_trainer: Callable[..., Any]) -> None:
    rates = {"backbone": 1e-4, "fusion": 1e-3, "heads": 1e-2}
    training = {"epochs": 1, "scheduler": "linear", "warmup_steps": 0, "learning_rate": rates}
    trainer = make_trainer("mood", fusion={"type": "attention"}, training=training)
    trainer.train()
    for at, record in enumerate(records(trainer, "train"), start=1):
        assert record["learning_rate"] == pytest.approx({name: rate * (1 - at / 4) for name, rate in rates.items()})


# ---------------------------------------------------------------------------------------------------- what happens when


class Diary(BaseCallback):
    """Writes every event down, with what came along."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.details: list[tuple[str, dict[str, Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def note(trainer: Any, **details: Any) -> None:
            assert trainer.model is not None
            self.events.append(name)
            self.details.append((name, details))

        return note

    def state_dict(self) -> dict[str, Any]:
        return {"events": list(self.events)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.events = state["events"]


STEP = [
    "on_step_begin", *["on_batch_begin", "on_batch_end"] * 2, "on_gradients", "on_before_optimizer_step", "on_step_end",
]  # fmt: skip
EPOCH_OF_TWO = ["on_epoch_begin", *STEP, *STEP, "on_evaluate", "on_epoch_end", "on_save"]
SMALL: dict[str, Any] = {"batch_size": 8, "gradient_accumulation_steps": 2, "epochs": 2, "log_every_steps": 2}


def test_callbacks_get_every_event_in_order_with_its_arguments(make_trainer: Callable[..., Any]) -> None:
    diary = Diary()
    trainer = make_trainer("mood", callbacks=[diary], training=SMALL)
    trainer.train()
    assert diary.events == ["on_train_begin", *EPOCH_OF_TWO, *EPOCH_OF_TWO, "on_train_end"]
    by_event: dict[str, list[dict[str, Any]]] = {}
    for event, details in diary.details:
        by_event.setdefault(event, []).append(details)
    assert {event: set(details[0]) for event, details in by_event.items()} == {
        "on_train_begin": set(), "on_train_end": set(),
        "on_epoch_begin": {"epoch"}, "on_epoch_end": {"epoch", "metrics"},
        "on_step_begin": {"batches", "place"},
        "on_batch_begin": {"batch"}, "on_batch_end": {"batch", "loss", "outputs"},
        "on_gradients": set(), "on_before_optimizer_step": {"grad_norm"}, "on_step_end": {"logs"},
        "on_evaluate": {"metrics"}, "on_save": {"path"},
    }  # fmt: skip
    assert (
        [each["epoch"] for each in by_event["on_epoch_begin"]]
        == [each["epoch"] for each in by_event["on_epoch_end"]]
        == [0, 1]
    )
    assert [each["logs"] is None for each in by_event["on_step_end"]] == [True, False] * 2
    assert [each["logs"]["step"] for each in by_event["on_step_end"] if each["logs"]] == [2, 4]
    assert not any(each["loss"].requires_grad for each in by_event["on_batch_end"])
    assert [each["place"] for each in by_event["on_step_begin"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    shares = [float(each["loss"]) for each in by_event["on_batch_end"][:4]]
    assert sum(shares) / 2 == pytest.approx(records(trainer, "train")[0]["loss"])
    assert (
        by_event["on_evaluate"][1]["metrics"]
        == by_event["on_epoch_end"][1]["metrics"]
        == records(trainer, "eval")[1]["metrics"]
    )
    assert [each["path"].name for each in by_event["on_save"]] == ["step-00000002", "step-00000004"]
    assert by_event["on_save"][1]["path"] == newest_checkpoint(trainer.run.checkpoints)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_events_and_callback_memory_go_on_after_a_resume(make_trainer: Callable[..., Any], stop_at: int) -> None:
    first = make_trainer("mood", callbacks=[Diary(), Do("on_step_end", at_step(stop_at, interrupt))], training=SMALL)
    with pytest.raises(InterruptedRun):
        first.train()
    diary = Diary()
    make_trainer("mood", callbacks=[diary], training=SMALL, run=first.folder).train()
    told = [event for event in diary.events if event not in ("on_save", "on_train_begin")]
    assert told == [event for event in [*EPOCH_OF_TWO, *EPOCH_OF_TWO, "on_train_end"] if event != "on_save"]
    assert diary.events.count("on_train_begin") == 2


def test_a_changed_chain_of_callbacks_keeps_each_memory_with_its_owner(
    make_trainer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Tracking may be switched off, or a callback added, when a run is resumed."""

    class Other(Diary):
        pass

    first = make_trainer("mood", callbacks=[Other(), Diary(), Do("on_step_end", at_step(2, interrupt))], training=SMALL)
    with pytest.raises(InterruptedRun):
        first.train()
    diary = Diary()
    make_trainer(
        "mood",
        callbacks=[EarlyStopping("eval_loss", patience=3, min_delta=0.0), diary],
        training=SMALL,
        run=first.folder,
    )
    assert diary.events[:2] == ["on_train_begin", "on_epoch_begin"]
    assert "callback Other was there when the checkpoint was made" in caplog.text


def test_max_steps_wins_over_epochs_and_the_end_is_judged_and_saved(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", training={"max_steps": 6, "epochs": 1})
    trainer.train()
    assert (trainer.state.step, trainer.total_steps) == (6, 6)
    assert [each["step"] for each in records(trainer, "eval")] == [4, 6]
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    assert newest.name == "step-00000006"
    assert [each["epoch"] for each in records(trainer, "train")] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]


def test_evaluations_and_checkpoints_come_every_so_many_steps(make_trainer: Callable[..., Any]) -> None:
    saves: list[str] = []
    trainer = make_trainer(
        "mood", evaluation={"every_steps": 3}, checkpoint={"every_steps": 2, "keep": 2},
        training={"log_every_steps": 5},
        callbacks=[Do("on_save", lambda trainer, path: saves.append(path.name))],
    )  # fmt: skip
    trainer.train()
    assert [each["step"] for each in records(trainer, "eval")] == [3, 6, 8]
    assert saves == [f"step-0000000{step}" for step in (2, 4, 6, 8)]
    assert sorted(each.name for each in trainer.run.checkpoints.iterdir()) == saves[-2:]
    assert [each["step"] for each in records(trainer, "train")] == [5, 8]


def test_every_metric_of_an_evaluation_may_be_chosen(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "flags", "names", "price", training={"epochs": 1}, data={"valid_fraction": 0.3})
    trainer.train()
    found = trainer.state.metrics
    assert {name.split("_")[1] for name in found} == {"loss", "mood", "flags", "names", "price"}
    for name in found:
        make_trainer("mood", "flags", "names", "price", evaluation={"metric": name})


def test_a_metric_without_labelled_validation_rows_is_a_data_error(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", "price", evaluation={"metric": "eval_price_loss"})
    trainer.experiment.sources[0].splits["valid"].rows.labels["price", "price"][:] = math.nan
    with pytest.raises(DataError, match="'eval_price_loss' is undefined on the validation rows"):
        trainer.train()


# ------------------------------------------------------------------------------------------------ the best, and the end


def test_the_best_model_is_that_of_the_best_evaluation(make_trainer: Callable[..., Any]) -> None:
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def spoil(trainer: Any, epoch: int) -> None:
        if epoch == 1:
            with torch.no_grad():
                trainer.model.tasks["mood"].heads.weight.mul_(50)

    def note(trainer: Any, metrics: dict[str, float]) -> None:
        seen[trainer.state.step] = weights(trainer)

    trainer = make_trainer(
        "mood", training={"epochs": 3}, evaluation={"metric": "eval_loss"},
        callbacks=[Do("on_epoch_begin", spoil), Do("on_evaluate", note)],
    )  # fmt: skip
    trainer.train()
    losses = {each["step"]: each["metrics"]["eval_loss"] for each in records(trainer, "eval")}
    best = min(losses, key=losses.__getitem__)
    assert best == 4
    assert (trainer.state.best_step, trainer.state.best_value) == (best, losses[best])
    assert same(Bundle.load(trainer.run.best).model.state_dict(), seen[best])


def test_without_a_metric_the_answers_of_classes_and_entities_pick_the_best_model(
    make_trainer: Callable[..., Any],
) -> None:
    trainer = make_trainer("mood", "names", training={"epochs": 6, "learning_rate": 1e-2})
    trainer.train()
    found = {each["step"]: each["metrics"] for each in records(trainer, "eval")}
    names = ("eval_mood_mood_macro_f1", "eval_mood_topic_macro_f1", "eval_names_names_f1")
    assert all(each["eval_score"] == pytest.approx(sum(map(each.__getitem__, names)) / 3) for each in found.values())
    reached = {step: each["eval_score"] for step, each in found.items()}
    best = max(reached.values())
    assert min(reached.values()) < best == trainer.state.best_value
    equals = {step: found[step]["eval_loss"] for step, score in reached.items() if score == best}
    assert trainer.state.best_step == min(equals, key=equals.__getitem__)


def test_a_metric_that_should_rise_picks_its_maximum(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(
        "mood", training={"epochs": 4, "learning_rate": 1e-2}, evaluation={"metric": "eval_mood_topic_accuracy"}
    )
    trainer.train()
    values = {each["step"]: each["metrics"]["eval_mood_topic_accuracy"] for each in records(trainer, "eval")}
    assert trainer.state.best_value == max(values.values())
    assert trainer.state.best_step == min(step for step, value in values.items() if value == max(values.values()))


class Scripted(OwnLoss):
    """A user's task whose metrics are an error and a number of which nobody says what it is, each rising."""

    def declared_metrics(self, space: Any) -> tuple[Metric, ...]:
        return Metric("wer"), Metric("oddity")

    def metrics(self, space: Any, predictions: Any, targets: Any, *, scores: Any = None) -> dict[str, float]:
        self.times = getattr(self, "times", 0) + 1
        return {"wer": float(self.times), "oddity": float(self.times)}


@pytest.fixture
def scripted() -> Iterator[dict[str, Any]]:
    TASK_REGISTRY["scripted"] = Scripted
    yield {"name": "mood", "type": "scripted", "heads": [{"name": "mood"}]}
    del TASK_REGISTRY["scripted"]


@pytest.mark.parametrize(
    ("evaluation", "best"),
    [
        ({"metric": "eval_mood_mood_wer"}, 4),
        ({"metric": "eval_mood_mood_oddity", "greater_is_better": False}, 4),
        ({"metric": "eval_mood_mood_oddity", "greater_is_better": True}, 12),
    ],
)
def test_the_best_model_and_early_stopping_go_by_the_metrics_own_direction(
    make_trainer: Callable[..., Any], settings: Callable[..., Any], scripted: dict[str, Any],
    evaluation: dict[str, Any], best: int,
) -> None:  # fmt: skip
    tasks = [{**settings("mood")["tasks"][0], **scripted}]
    stopping = EarlyStopping(evaluation["metric"], patience=2, min_delta=0.0)
    trainer = make_trainer(tasks=tasks, training={"epochs": 3}, evaluation=evaluation, callbacks=[stopping])
    trainer.train()
    assert trainer.state.best_step == best
    assert stopping.waited == (2 if best == 4 else 0)


def test_a_callback_is_told_which_way_a_metric_is_better(
    make_trainer: Callable[..., Any], settings: Callable[..., Any], scripted: dict[str, Any]
) -> None:
    trainer = make_trainer(tasks=[{**settings("mood")["tasks"][0], **scripted}])
    assert trainer.greater_is_better("eval_mood_mood_wer") is False
    for unknown, words in (("eval_mood_mood_oddity", ""), ("eval_lss", "; did you mean 'eval_loss'?")):
        with pytest.raises(ConfigError) as caught:
            EarlyStopping(unknown, patience=1, min_delta=0.0).on_train_begin(trainer)
        assert f"'{unknown}': not known which way it is better{words}" in str(caught.value)


def test_early_stopping_ends_the_run_and_leaves_the_best(make_trainer: Callable[..., Any]) -> None:
    stopping = EarlyStopping("eval_loss", patience=2, min_delta=1e9)
    trainer = make_trainer("mood", training={"epochs": 50}, callbacks=[stopping])
    trainer.train()
    assert [each["step"] for each in records(trainer, "eval")] == [4, 8, 12]
    assert trainer.state.step == 12
    assert damage(trainer.run.best) is None
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    assert newest.name == "step-00000012"


@pytest.mark.parametrize("event", ["on_step_end", "on_batch_end"])
def test_a_run_that_a_callback_stops_is_judged_there(make_trainer: Callable[..., Any], event: str) -> None:
    """Even before the first evaluation was due, or there would be no model."""

    def stop(trainer: Any) -> None:
        trainer.should_stop = True

    trainer = make_trainer("mood", callbacks=[Do(event, at_step(1, stop))])
    trainer.train()
    ends_at = 1 if event == "on_step_end" else 2
    assert [each["step"] for each in records(trainer, "eval")] == [ends_at]
    assert trainer.state.best_step == ends_at
    assert damage(trainer.run.best) is None


def test_no_callback_takes_back_that_another_asked_to_stop(make_trainer: Callable[..., Any]) -> None:
    def never(trainer: Any, **_: Any) -> None:
        trainer.should_stop = False

    stopping = EarlyStopping("eval_loss", patience=1, min_delta=1e9)
    trainer = make_trainer(
        "mood", training={"epochs": 5},
        callbacks=[stopping, Do("on_evaluate", never), Do("on_epoch_end", never), Do("on_save", never)],
    )  # fmt: skip
    trainer.train()
    assert [each["step"] for each in records(trainer, "eval")] == [4, 8]


def test_a_stop_may_be_asked_for_with_a_number_of_numpy(make_trainer: Callable[..., Any]) -> None:
    """Whose booleans JSON does not know; the state of a checkpoint is JSON."""

    def stop(trainer: Any, **_: Any) -> None:
        trainer.should_stop = np.float64(0.1) < 0.5

    trainer = make_trainer("mood", callbacks=[Do("on_step_end", stop)])
    trainer.train()
    assert trainer.state.step == 1
    assert trainer.should_stop is True


@pytest.mark.parametrize("event", ["on_train_begin", "on_step_end", "on_epoch_end", "on_save"])
@pytest.mark.parametrize("valid_fraction", [0.0, 0.3])
def test_a_run_that_is_stopped_anywhere_leaves_its_last_model(
    make_trainer: Callable[..., Any], event: str, valid_fraction: float
) -> None:
    """With validation rows it is the first that was judged, and so the best; the end of an epoch is no evaluation."""

    def stop(trainer: Any, **_: Any) -> None:
        trainer.should_stop = True

    trainer = make_trainer(
        "mood", training={"epochs": 3}, data={"valid_fraction": valid_fraction}, callbacks=[Do(event, stop)]
    )
    trainer.train()
    assert trainer.state.step == {"on_train_begin": 0, "on_step_end": 1}.get(event, trainer.sampler.turns_in(0))
    assert trainer.state.best_step == trainer.state.step
    assert (trainer.state.best_value is None) == (valid_fraction == 0)
    assert same(Bundle.load(trainer.run.best).model.state_dict(), weights(trainer))


@pytest.mark.parametrize("event", ["on_epoch_end", "on_save"])
def test_a_run_stopped_behind_its_evaluation_is_judged_once_more(make_trainer: Callable[..., Any], event: str) -> None:
    def stop(trainer: Any, **_: Any) -> None:
        trainer.should_stop = True

    trainer = make_trainer("mood", evaluation={"every_steps": 3}, callbacks=[Do(event, stop)])
    trainer.train()
    assert [each["step"] for each in records(trainer, "eval")] == [3, 4]


@pytest.mark.parametrize(("valid_fraction", "step"), [(0.0, 2), (0.0, 5), (0.3, 2), (0.3, 3)])
def test_a_run_interrupted_before_any_model_was_judged_leaves_its_last(
    make_trainer: Callable[..., Any], step: int, valid_fraction: float
) -> None:
    """Within the first epoch, and at its end (with validation rows: in their evaluation)."""
    trainer = make_trainer(
        "mood", training={"epochs": 3}, data={"valid_fraction": valid_fraction},
        callbacks=[Do("on_step_end", at_step(step, interrupt))],
    )  # fmt: skip
    assert step in (2, trainer.sampler.turns_in(0))
    with pytest.raises(InterruptedRun):
        trainer.train()
    assert (trainer.state.step, trainer.state.best_step, trainer.state.best_value) == (step, step, None)
    assert same(Bundle.load(trainer.run.best).model.state_dict(), weights(trainer))


def test_a_run_whose_steps_end_with_an_epoch_leaves_its_last_model(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", data={"valid_fraction": 0.0}, training={"max_steps": 5})
    assert trainer.total_steps == trainer.sampler.turns_in(0)
    trainer.train()
    assert (trainer.state.step, trainer.state.best_step) == (5, 5)
    assert same(Bundle.load(trainer.run.best).model.state_dict(), weights(trainer))


def test_a_stop_at_an_epochs_end_that_was_saved_still_leaves_a_model(make_trainer: Callable[..., Any]) -> None:
    """The checkpoint knows of the stop, the run ended before its result was written."""

    def stop(trainer: Any, **_: Any) -> None:
        trainer.should_stop = True

    first = make_trainer(
        "mood", data={"valid_fraction": 0.0},
        callbacks=[Do("on_epoch_end", stop), Do("on_save", lambda trainer, **_: interrupt(trainer))],
    )  # fmt: skip
    with pytest.raises(InterruptedRun):
        first.train()
    shutil.rmtree(first.run.best)
    second = make_trainer("mood", data={"valid_fraction": 0.0}, run=first.folder)
    second.train()
    assert (second.state.step, second.state.best_step) == (5, 5)
    assert same(Bundle.load(second.run.best).model.state_dict(), weights(first))


def test_without_validation_rows_the_last_model_is_the_result(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", data={"valid_fraction": 0.0})
    trainer.train()
    assert records(trainer, "eval") == []
    assert (trainer.state.best_step, trainer.state.best_value) == (trainer.state.step, None)
    assert same(Bundle.load(trainer.run.best).model.state_dict(), weights(trainer))


# ----------------------------------------------------------------------------------------------------------- divergence


def poison_weights(trainer: Any) -> None:
    with torch.no_grad():
        trainer.model.tasks["mood"].heads.bias.fill_(math.nan)


def poison_gradient(trainer: Any) -> None:
    trainer.model.tasks["mood"].heads.bias.grad.fill_(math.nan)


@pytest.mark.parametrize(
    ("event", "action", "log_every"),
    [
        ("on_batch_begin", poison_weights, 1),
        ("on_batch_begin", poison_weights, 1000),
        ("on_batch_end", poison_gradient, 1),
        ("on_batch_end", poison_gradient, 1000),
    ],
)
def test_a_diverged_run_stops_and_leaves_the_last_checkpoint_unharmed(
    make_trainer: Callable[..., Any], event: str, action: Callable[[Any], None], log_every: int
) -> None:
    """Whether a loss or only a gradient goes wrong, and whether a record or a checkpoint comes first."""
    trainer = make_trainer(
        "mood", checkpoint={"every_steps": 1}, training={"log_every_steps": log_every},
        callbacks=[Do(event, at_step(2, action))],
    )  # fmt: skip
    with pytest.raises(DivergedError, match=r"step 3: the (loss|gradient norm) is nan"):
        trainer.train()
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    assert newest.name == "step-00000002"
    tensors, _ = load_checkpoint(newest)
    assert all(value.isfinite().all() for value in tensors["model"].values() if value.is_floating_point())
    assert all(math.isfinite(each["loss"]) for each in records(trainer, "train"))


def test_an_evaluation_that_is_not_finite_stops_the_run_and_spares_the_best(make_trainer: Callable[..., Any]) -> None:
    def spoil(trainer: Any, **_: Any) -> None:
        if trainer.state.step == 8:
            poison_weights(trainer)

    trainer = make_trainer(
        "mood", training={"epochs": 3, "log_every_steps": 1000}, callbacks=[Do("on_step_end", spoil)]
    )
    with pytest.raises(DivergedError, match=r"step 8: not finite: eval_loss"):
        trainer.train()
    assert damage(trainer.run.best) is None
    assert all(p.isfinite().all() for p in Bundle.load(trainer.run.best).model.parameters())


# ------------------------------------------------------------------------------------------------ stopping and resuming


@pytest.fixture
def rich(
    make_trainer: Callable[..., Any], settings: Callable[..., Any], make_rows: Callable[..., Any], tmp_path: Path,
    write_rows: Callable[..., str],
) -> Callable[..., Any]:  # fmt: skip
    """A trainer with all that has a state: dropout, two sources, a random order, micro-batches, records over steps."""
    tasks = settings("mood", "flags", "price", rows=make_rows(40))["tasks"]
    tasks[2]["data_path"] = write_rows(tmp_path / "other.jsonl", make_rows(30, seed=1))

    def make(training: Mapping[str, Any] | None = None, **options: Any) -> Any:
        training = {
            "epochs": 3, "batch_size": 4, "gradient_accumulation_steps": 2, "sampler": "temperature",
            "temperature": 3.0,
            "log_every_steps": 3, "learning_rate": 1e-2, "scheduler": "cosine", **(training or {}),
        }  # fmt: skip
        given = {"fusion": {"type": "attention"}, "evaluation": {"every_steps": 2}, "checkpoint": {"every_steps": 5}}
        return make_trainer(tasks=tasks, training=training, **{**given, **options})

    return make


def result(trainer: Any) -> tuple[Any, ...]:
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    tensors, _ = load_checkpoint(newest)
    best = {each.name: each.read_bytes() for each in sorted(trainer.run.best.rglob("*.safetensors"))}
    flat = {
        f"{group}/{name}": value.numpy().tobytes() for group, part in tensors.items() for name, value in part.items()
    }
    state = {**asdict(trainer.state), "seconds": None}
    return newest.name, flat, best, records(trainer), state


def go_on(first: Any, make: Callable[..., Any]) -> Any:
    with pytest.raises(InterruptedRun, match=r"interrupted at step \d+; saved .*. Go on with --resume auto"):
        first.train()
    resumed = make(run=first.folder)
    assert resumed.state.step == first.state.step
    resumed.train()
    return resumed


@pytest.mark.parametrize("stop_at", [1, 4, 7, 9])
def test_an_interrupted_run_goes_on_bit_by_bit(rich: Callable[..., Any], stop_at: int) -> None:
    straight = rich()
    straight.train()
    assert straight.total_steps > 9
    resumed = go_on(rich(callbacks=[Do("on_step_end", at_step(stop_at, interrupt))]), rich)
    assert result(resumed) == result(straight)


def by_tokens(make: Callable[..., Any], **options: Any) -> Any:
    training = {"batch_size": None, "tokens_per_step": 60, "sampler": "proportional", **options.pop("training", {})}
    return make(training=training, **options)


def test_an_interrupted_run_by_tokens_goes_on_bit_by_bit(rich: Callable[..., Any]) -> None:
    straight = by_tokens(rich)
    straight.train()
    epochs = [straight.sampler.turns_in(epoch) for epoch in range(3)]
    assert len(set(epochs)) > 1, "epochs differ"
    assert straight.state.step == straight.total_steps == sum(epochs)
    stop_at = epochs[0] + 2
    resumed = go_on(
        by_tokens(rich, callbacks=[Do("on_step_end", at_step(stop_at, interrupt))]), partial(by_tokens, rich)
    )
    assert result(resumed) == result(straight)


def test_steps_by_tokens_show_each_row_once_an_epoch_within_the_budget(rich: Callable[..., Any]) -> None:
    shown: dict[int, list[Any]] = {}
    note = Do("on_batch_begin", lambda trainer, batch: shown.setdefault(trainer.state.step, []).append(batch))
    trainer = by_tokens(rich, callbacks=[note], training={"epochs": 1, "gradient_accumulation_steps": 2})
    trainer.train()
    lengths = {name: source.splits["train"].lengths for name, source in trainer.sources.items()}
    rows = Counter((batch.source, row) for batches in shown.values() for batch in batches for row in batch.rows)
    assert rows == dict.fromkeys(((name, row) for name, each in lengths.items() for row in range(len(each))), 1)
    for batches in shown.values():
        tokens = [int(lengths[batch.source][batch.rows].sum()) for batch in batches]
        assert sum(tokens) <= 60
        assert all(each <= 30 or len(batch.rows) == 1 for each, batch in zip(tokens, batches, strict=True))
    assert max(len(batches) for batches in shown.values()) > 1


def test_padding_parts_a_step_by_tokens_where_it_is_computed_and_only_there(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    for skips in (False, True):
        monkeypatch.setattr(TextBackbone, "skips_padding", skips)
        trainer = by_tokens(partial(make_trainer, "mood"))
        turns = list(trainer.sampler.epoch(0))
        batches = [trainer.feed.batches(0, turn) for turn in turns]
        assert all(each.inputs["input_ids"].numel() <= 60 for parts in batches for each in parts) != skips
        counts[skips] = [len(each) for each in batches]
    assert set(counts[True]) == {1}
    assert 2 in counts[False]


@pytest.mark.parametrize("began_in_halves", [True, False])
@pytest.mark.parametrize("sampler", ["round_robin", "temperature"])
def test_a_run_that_goes_on_where_turns_would_be_dealt_otherwise_shows_the_rows_of_its_own_deal(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, sampler: str, began_in_halves: bool
) -> None:
    """Begun on a CPU and resumed on a GPU, or the reverse; the encoder's kind decides here, as the device's does."""
    shown: list[tuple[int, int]] = []

    def note(trainer: Any, batch: Any, **_: Any) -> None:
        shown.extend((trainer.state.epoch, row) for row in batch.rows)

    def make(halves: bool, *callbacks: BaseCallback, **options: Any) -> Any:
        monkeypatch.setattr(BaseBackbone, "cost_follows_tokens", property(lambda self: halves))
        training = {"epochs": 2, "batch_size": 4, "sampler": sampler}
        trainer = make_trainer("mood", training=training, callbacks=[Do("on_batch_begin", note), *callbacks], **options)
        assert trainer.halves == halves, "the device decides whether a step's passes are parted"
        return trainer

    first = make(began_in_halves, Do("on_step_end", at_step(3, interrupt)))
    (rows,) = (len(each) for each in first.sampler.lengths.values())
    epochs = [[row for turn in first.sampler.epoch(epoch) for row in turn.rows] for epoch in (0, 1)]
    with pytest.raises(InterruptedRun):
        first.train()
    resumed = make(not began_in_halves, run=first.folder)
    assert 0 < resumed.state.turn < resumed.sampler.turns_in(0)
    resumed.train()
    assert shown == [(epoch, row) for epoch, order in enumerate(epochs) for row in order]
    assert Counter(row for _, row in shown) == Counter(dict.fromkeys(range(rows), 2))


@pytest.mark.parametrize("peft", [{"type": "lora", "dropout": 0.1}, {"type": "dora"}, {"type": "adapter"}])
def test_checkpoints_leave_out_the_frozen_base_and_a_run_goes_on_from_them(
    rich: Callable[..., Any], peft: dict[str, Any]
) -> None:
    straight = rich(peft=peft)
    straight.train()
    cut = rich(peft=peft, callbacks=[Do("on_step_end", at_step(4, interrupt))])
    frozen = {name for name, each in cut.model.named_parameters() if not each.requires_grad}
    assert frozen
    resumed = go_on(cut, lambda **options: rich(peft=peft, **options))
    newest = newest_checkpoint(cut.run.checkpoints)
    assert newest is not None
    assert load_checkpoint(newest)[0]["model"].keys() == cut.model.state_dict().keys() - frozen
    assert result(resumed) == result(straight)


@pytest.mark.parametrize("stop_at", [4, 6])
def test_an_interrupt_during_an_evaluation_loses_nothing(rich: Callable[..., Any], stop_at: int) -> None:
    straight = rich()
    straight.train()
    first = rich()

    def interrupt_in_evaluation(module: torch.nn.Module, *_: Any) -> None:
        if not module.training and first.state.step == stop_at:
            first.interrupted = True

    first.model.encoders["shared"].register_forward_hook(interrupt_in_evaluation)
    resumed = go_on(first, rich)
    assert first.state.pending
    assert [each["step"] for each in records(resumed, "eval")] == [each["step"] for each in records(straight, "eval")]
    assert result(resumed) == result(straight)


@pytest.mark.parametrize("event", ["on_step_end", "on_evaluate"])
def test_a_checkpoint_that_a_callback_asks_for_is_as_good_as_any(rich: Callable[..., Any], event: str) -> None:
    """A run that dies right after it must neither judge the same step twice nor forget to."""
    straight = rich()
    straight.train()

    def save(trainer: Any) -> None:
        trainer.save()
        raise PowerCutError

    first = rich(callbacks=[Do(event, at_step(4, save))])
    with pytest.raises(PowerCutError):
        first.train()
    resumed = rich(run=first.folder)
    assert resumed.state.step == 4
    resumed.train()
    assert result(resumed) == result(straight)


def test_a_run_without_a_checkpoint_begins_again(rich: Callable[..., Any]) -> None:
    straight = rich()
    straight.train()

    def cut(trainer: Any) -> None:
        raise PowerCutError

    first = rich(callbacks=[Do("on_step_end", at_step(4, cut))])
    with pytest.raises(PowerCutError):
        first.train()
    assert records(first)
    resumed = rich(run=first.folder)
    assert (resumed.state.step, records(resumed)) == (0, [])
    resumed.train()
    assert result(resumed) == result(straight)


def test_a_harmed_checkpoint_costs_its_steps_and_no_more(
    rich: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    straight = rich(checkpoint={"every_steps": 2, "keep": 3})
    straight.train()
    first = rich(checkpoint={"every_steps": 2, "keep": 3}, callbacks=[Do("on_step_end", at_step(7, interrupt))])
    with pytest.raises(InterruptedRun):
        first.train()
    newest = newest_checkpoint(first.run.checkpoints)
    assert newest is not None
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(bytes(content))
    resumed = rich(checkpoint={"every_steps": 2, "keep": 3}, run=first.folder)
    assert resumed.state.step == 6
    assert "step-00000007 is passed over" in caplog.text
    resumed.train()
    assert result(resumed) == result(straight)
    assert sorted(each.name for each in resumed.run.checkpoints.iterdir()) == sorted(
        each.name for each in straight.run.checkpoints.iterdir()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(make_trainer: Callable[..., Any], number: int) -> None:
    before = signal.getsignal(number)

    def once(trainer: Any) -> None:
        if not trainer.asked_to_interrupt:
            signal.raise_signal(number)

    trainer = make_trainer("mood", callbacks=[Do("on_batch_begin", at_step(2, once))])
    with pytest.raises(InterruptedRun, match="interrupted at step 3"):
        trainer.train()
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    assert newest.name == "step-00000003"
    assert signal.getsignal(number) is before


def test_a_signal_to_one_of_several_processes_waits_until_all_know_of_it(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood")
    trainer.asked_to_interrupt = True
    trainer.processes = Processes(0, 2)
    trainer._check_interrupt()
    trainer.processes = Processes()
    with pytest.raises(InterruptedRun):
        trainer._check_interrupt()


def test_a_second_ctrl_c_ends_the_run_at_once(make_trainer: Callable[..., Any]) -> None:
    before = signal.getsignal(signal.SIGINT)

    def twice(trainer: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer = make_trainer("mood", callbacks=[Do("on_batch_begin", at_step(2, twice))])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert newest_checkpoint(trainer.run.checkpoints) is None
    assert signal.getsignal(signal.SIGINT) is before


# -------------------------------------------------------------------------------------------------- what hooks ask for


class Ema(BaseCallback[dict[str, Any]]):
    """A moving average of the weights, in tensors, and a count of their steps."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {"mean": {}, "steps": []}

    def on_step_end(self, trainer: Any, logs: Any, **kwargs: Any) -> None:
        for name, weight in trainer.model.named_parameters():
            mean = self.memory["mean"].setdefault(name, torch.zeros_like(weight))
            mean.lerp_(weight.detach(), 0.1)
        self.memory["steps"].append(trainer.state.step)

    def state_dict(self) -> dict[str, Any]:
        return self.memory

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory = state


class Queue(BaseCallback):
    def state_dict(self) -> Any:
        return {"rows": {1, 2}}


def asking(event: str, step: int, action: Action, *, times: int = 1) -> Do:
    """Return a callback that asks for `action` where the step after `step` is under way or done."""
    left = [action] * times

    def ask(trainer: Any, **_: Any) -> Action | None:
        at = trainer.state.step - (event == "on_step_end")
        return left.pop() if at == step and left else None

    callback = Do(event, ask)
    callback.undoes = action is Action.UNDO
    return callback


@pytest.mark.parametrize("stop_at", [4, 7])
def test_a_callbacks_tensors_go_on_bit_by_bit(rich: Callable[..., Any], stop_at: int) -> None:
    straight, resumed = Ema(), Ema()
    rich(callbacks=[straight]).train()
    first = rich(callbacks=[Ema(), Do("on_step_end", at_step(stop_at, interrupt))])
    go_on(first, lambda **options: rich(callbacks=[resumed], **options))
    assert resumed.memory["steps"] == straight.memory["steps"]
    assert len(straight.memory["steps"]) > 9
    assert same(resumed.memory["mean"], straight.memory["mean"])


def test_a_memory_that_no_checkpoint_can_hold_is_told_before_the_first_step(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", callbacks=[Queue()])
    with pytest.raises(
        TypeError, match=r"0\.Queue\.rows is a builtins\.set; a checkpoint holds numbers, text, tensors"
    ):
        trainer.train()
    assert trainer.state.step == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        "adamw", "muon", {"name": "sgd", "momentum": 0.9}, "adafactor", "rprop",
        *(pytest.param(name, marks=needs_library) for name in ("lion", "soap", "schedulefreeadamw")),
    ],
)  # fmt: skip
def test_any_optimizer_goes_on_bit_by_bit(make_trainer: Callable[..., Any], optimizer: str | dict[str, Any]) -> None:
    training = {"optimizer": optimizer, "scheduler": {"name": "cosine_with_restarts", "num_cycles": 2}, "epochs": 2}
    straight = make_trainer("mood", training=training)
    straight.train()
    first = make_trainer("mood", training=training, callbacks=[Do("on_step_end", at_step(3, interrupt))])
    resumed = go_on(first, lambda **options: make_trainer("mood", training=training, **options))
    assert result(resumed) == result(straight)


@pytest.mark.parametrize(
    "balance",
    [
        {"loss_balance": "uncertainty"},
        {"loss_balance": "dwa", "gradient_accumulation_steps": 2},
        {"gradient_conflict": "upgrad", "loss_balance": "uncertainty"},
        {"gradient_conflict": "nash_mtl"},
        {"loss_balance": "gradnorm", "gradient_accumulation_steps": 2},
        {"loss_balance": "famo"},
    ],
    ids=str,
)
def test_balanced_tasks_go_on_bit_by_bit(make_trainer: Callable[..., Any], balance: dict[str, Any]) -> None:
    training = {"epochs": 4, "log_every_steps": 2, **balance}
    tasks = ("mood", "price", "flags")
    straight = make_trainer(*tasks, training=training)
    straight.train()
    first = make_trainer(*tasks, training=training, callbacks=[Do("on_step_end", at_step(5, interrupt))])
    resumed = go_on(first, lambda **options: make_trainer(*tasks, training=training, **options))
    assert result(resumed) == result(straight)
    plain = make_trainer(*tasks, training={"epochs": 4, "log_every_steps": 2})
    plain.train()
    assert result(straight) != result(plain)


def test_the_default_optimizer_is_fused_adamw(make_trainer: Callable[..., Any]) -> None:
    optimizer = make_trainer("mood").optimizer
    assert (type(optimizer), optimizer.defaults["fused"]) == (torch.optim.AdamW, True)
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_a_decay_that_the_optimizer_does_not_have_is_told(
    make_trainer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer("mood", training={"optimizer": "rprop"})
    assert "optimizer 'rprop' has no weight decay, so training.weight_decay (0.01) changes nothing" in caplog.text
    caplog.clear()
    make_trainer("mood", training={"optimizer": "rprop", "weight_decay": 0.0})
    make_trainer("mood", training={"optimizer": "sgd"})
    assert caplog.text == ""


@needs_library
@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({}, ""),
        ({"scheduler": "constant", "warmup_ratio": 0.5}, ""),
        ({"optimizer": {"name": "schedulefreeadamw", "warmup_steps": 3}, "warmup_ratio": 0.0}, ""),
        ({"scheduler": "cosine"}, "need not fall, and training.scheduler 'cosine' lets it fall as well; set it to"),
        (
            {"optimizer": {"name": "schedulefreeadamw", "warmup_steps": 3}},
            "warms up by its warmup_steps, and the schedule by training.warmup_ratio: the rate is their product; set",
        ),
    ],
)
def test_a_schedule_that_schedule_free_optimizers_have_no_use_for_is_told(
    make_trainer: Callable[..., Any], caplog: pytest.LogCaptureFixture, training: dict[str, Any], words: str
) -> None:
    trainer = make_trainer("mood", training={"optimizer": "schedulefreeadamw", **training})
    assert words in caplog.text if words else caplog.text == ""
    assert trainer.config.training.scheduler == training.get("scheduler", "constant")


# ------------------------------------------------------------------------------- weights of its own for being judged

FREE = {"optimizer": "schedulefreeadamw", "scheduler": "constant"}
two_sets = pytest.mark.parametrize("own", [{"ema": 0.9}, pytest.param(FREE, marks=needs_library)])


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def judged_weights(trainer: Any) -> dict[str, torch.Tensor]:
    """What stands for the trained weights in an evaluation, worked out from what a step leaves."""
    if trainer.learner.judged.average is not None:
        return {name: value.clone() for name, value in trainer.learner.judged.average.values.items()}
    mean = {}
    for name, p in trainer.model.named_parameters():
        z = trainer.optimizer.state[p].get("z")  # y = (1 - beta1) z + beta1 x; none where there was no gradient yet
        mean[name] = p.detach().clone() if z is None else (p.detach() - 0.1 * z) / 0.9
    return mean


@two_sets
def test_what_is_judged_is_what_is_saved_and_training_goes_on_from_its_own_weights(
    rich: Callable[..., Any], own: dict[str, Any]
) -> None:
    """Judged every step or never, the trained weights are the same; each callback sees those that were judged."""
    expected: list[dict[str, torch.Tensor]] = []
    seen: list[tuple[dict[str, torch.Tensor], float]] = []

    def note(trainer: Any, metrics: dict[str, float]) -> None:
        seen.append((parameters(trainer.model), metrics["eval_loss"]))

    often = rich(
        training=own, evaluation={"every_steps": 1},
        callbacks=[Do("on_step_end", lambda trainer, **_: expected.append(judged_weights(trainer))),
                   Do("on_evaluate", note)],
    )  # fmt: skip
    often.train()
    seldom = rich(training=own, evaluation={"every_steps": 1000})
    seldom.train()
    assert same(parameters(often.model), parameters(seldom.model))
    assert len(seen) == len(expected) == often.total_steps > 9
    for (shown, _), wanted in zip(seen, expected, strict=True):
        for name, value in wanted.items():
            # (y - 0.1 z) / 0.9 rounds otherwise than the library's lerp; an average is a copy.
            torch.testing.assert_close(shown[name], value, rtol=1e-5, atol=1e-6)
    assert not same(seen[-1][0], parameters(often.model))
    best = min(range(len(seen)), key=lambda at: seen[at][1])
    saved = Bundle.load(often.run.best).model
    assert same(parameters(saved), seen[best][0])
    runner = often._runner()
    runner.model = saved
    assert runner.evaluate(list(often.sources.values()), "valid").metrics["loss"] == seen[best][1]


@two_sets
@pytest.mark.parametrize("where", ["step", "evaluation", "saving in on_evaluate"])
def test_a_run_with_two_sets_of_weights_goes_on_bit_by_bit(
    rich: Callable[..., Any], own: dict[str, Any], where: str
) -> None:
    def make(**options: Any) -> Any:
        return rich(training=own, **options)

    straight = make()
    straight.train()

    def save(trainer: Any) -> None:
        trainer.save()
        raise PowerCutError

    first = make(callbacks=[Do("on_step_end", at_step(5, interrupt))] if where == "step" else [])
    if where == "evaluation":
        first.model.encoders["shared"].register_forward_hook(
            lambda module, *_: None if module.training or first.state.step != 4 else interrupt(first)
        )
    if where == "saving in on_evaluate":
        first.chain.callbacks.append(Do("on_evaluate", at_step(4, save)))
        with pytest.raises(PowerCutError):
            first.train()
        resumed = make(run=first.folder)
        resumed.train()
    else:
        resumed = go_on(first, make)
    assert result(resumed) == result(straight)


@two_sets
def test_without_validation_rows_the_last_model_is_saved_with_the_weights_to_judge_by(
    make_trainer: Callable[..., Any], own: dict[str, Any]
) -> None:
    options = {"epochs": 2, "learning_rate": 1e-2, "warmup_ratio": 0.0, **own}
    trainer = make_trainer("mood", data={"valid_fraction": 0.0}, training=options)
    trainer.train()
    with trainer.learner.judged.shown():
        shown = weights(trainer)
    assert same(Bundle.load(trainer.run.best).model.state_dict(), shown)
    assert not same(weights(trainer), shown)


@pytest.mark.parametrize("step", [0, 2])
def test_a_skipped_step_counts_and_leaves_weights_and_optimizer_as_they_were(
    make_trainer: Callable[..., Any], step: int
) -> None:
    seen: dict[int, tuple[dict[str, torch.Tensor], float]] = {}

    def note(trainer: Any, **_: Any) -> None:
        moments = sum(float(each["exp_avg"].sum()) for each in trainer.optimizer.state.values())
        seen[trainer.state.step] = weights(trainer), moments

    poison = Do("on_batch_end", lambda trainer, **_: at_step(step, poison_gradient)(trainer))
    trainer = make_trainer(
        "mood", training={"epochs": 1},
        callbacks=[poison, asking("on_before_optimizer_step", step, Action.SKIP), Do("on_step_end", note)],
    )  # fmt: skip
    seen[0] = weights(trainer), 0.0
    rates = []
    trainer.chain.callbacks.append(
        Do("on_step_end", lambda trainer, **_: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    )
    trainer.train()
    assert trainer.state.step == 4
    for at in range(4):
        assert (same(seen[at][0], seen[at + 1][0]), seen[at][1] == seen[at + 1][1]) == (at == step, at == step)
    assert len(set(rates)) == 4, "the schedule moves on"
    (skip,) = records(trainer, "skip")
    assert skip == {
        "event": "skip", "step": step + 1, "epoch": (step + 1) / 4, "source": "mood", "by": "Do", "grad_norm": None,
    }  # fmt: skip
    # The skipped step's NaN is in no mean, and with a record a step, it has none.
    assert [each["step"] for each in records(trainer, "train")] == [at for at in (1, 2, 3, 4) if at != step + 1]


def test_a_turn_without_a_row_left_is_no_step_but_counts(make_trainer: Callable[..., Any]) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    batches: list[int] = []
    trainer = make_trainer(
        "mood", training={"epochs": 1},
        callbacks=[Do("on_step_begin", lambda trainer, **told: batches.append(len(told["batches"]))),
                   Do("on_step_end", lambda trainer, **_: seen.append(weights(trainer)))],
    )  # fmt: skip
    split = trainer.sources["mood"].splits["train"]
    split.left_out = frozenset(trainer.sampler.epoch(0)[2].rows)
    trainer.train()
    assert [bool(each) for each in batches] == [True, True, False, True]
    assert [same(*pair) for pair in itertools.pairwise(seen)] == [False, True, False]
    assert (trainer.state.step, trainer.state.rows) == (4, len(split) - len(split.left_out))
    (skip,) = records(trainer, "skip")
    assert skip == {"event": "skip", "step": 3, "epoch": 0.75, "source": "mood", "by": None, "grad_norm": None}
    assert [each["step"] for each in records(trainer, "train")] == [1, 2, 4]


def test_a_record_over_steps_of_which_one_was_skipped_is_the_mean_of_the_others(
    make_trainer: Callable[..., Any],
) -> None:
    shares: list[float] = []
    trainer = make_trainer(
        "mood", training={"epochs": 1, "log_every_steps": 4, "batch_size": 8, "learning_rate": 1e-9},
        callbacks=[
            asking("on_before_optimizer_step", 1, Action.SKIP),
            Do("on_batch_end", lambda trainer, batch, loss, **_: shares.append((trainer.state.step, float(loss)))),
        ],
    )  # fmt: skip
    trainer.train()
    (record,) = records(trainer, "train")
    taken = sum(loss for step, loss in shares if step != 1)
    assert record["loss"] == pytest.approx(taken / 3)


def test_a_stop_before_a_step_leaves_it_out_and_ends_the_run(make_trainer: Callable[..., Any]) -> None:
    before: list[dict[str, torch.Tensor]] = []
    trainer = make_trainer(
        "mood", training={"epochs": 3},
        callbacks=[
            asking("on_before_optimizer_step", 2, Action.STOP),
            Do("on_batch_begin", at_step(2, lambda trainer: before.append(weights(trainer)))),
        ],
    )  # fmt: skip
    trainer.train()
    assert (trainer.state.step, trainer.should_stop, trainer.state.best_step) == (3, True, 3)
    assert same(weights(trainer), before[0])


@pytest.mark.parametrize("event", ["on_step_end", "on_evaluate", "on_epoch_end", "on_batch_end"])
def test_a_stop_is_what_should_stop_is(make_trainer: Callable[..., Any], event: str) -> None:
    def set_it(trainer: Any, **_: Any) -> None:
        trainer.should_stop = True

    found = []
    for stop in (Do(event, set_it), Do(event, lambda trainer, **_: Action.STOP)):
        trainer = make_trainer("mood", training={"epochs": 3}, callbacks=[stop])
        trainer.train()
        found.append(result(trainer))
    assert found[0] == found[1]


def without(trainer: Any, epoch: int, number: int) -> list[list[int]]:
    """Take a turn out of what the sampler deals, and return the rows of all turns that are left."""
    deal = trainer.sampler.epoch
    trainer.sampler.epoch = lambda at: [turn for each, turn in enumerate(deal(at)) if (at, each) != (epoch, number)]
    return [turn.rows for at in range(3) for turn in trainer.sampler.epoch(at)]


@pytest.mark.parametrize("event", ["on_before_optimizer_step", "on_step_end"])
@pytest.mark.parametrize("step", [6, 8])
def test_a_run_that_is_rolled_back_is_the_run_without_the_turn(
    rich: Callable[..., Any], caplog: pytest.LogCaptureFixture, event: str, step: int
) -> None:
    """Over an evaluation with a new best model, with the memory of a callback, in the middle of a record's steps."""
    mean, reference_mean = Ema(), Ema()
    trainer = rich(callbacks=[mean, asking(event, step, Action.ROLLBACK)])
    epoch, number = divmod(step, trainer.sampler.turns_in(0))
    planned = trainer.total_steps
    trainer.train()
    assert "Do asked to go back; the run goes on from step 5 without turn" in caplog.text

    reference = rich(callbacks=[reference_mean])
    kept = without(reference, epoch, number)
    assert len(kept) == planned - 1
    # The mechanism under test is told only how many turns there are.
    reference.left_out.turns = [{"epoch": epoch, "turn": -1}]
    seen: list[int] = []
    reference.chain.callbacks.append(Do("on_batch_begin", lambda trainer, batch: seen.append(len(batch.rows))))
    reference.train()
    assert sum(seen) == sum(map(len, kept))
    assert trainer.state.step == planned - 1
    assert result(trainer)[2:] == result(reference)[2:]
    ours, theirs = result(trainer)[1], result(reference)[1]
    assert {k: v for k, v in ours.items() if "callbacks" not in k} == {
        k: v for k, v in theirs.items() if "callbacks" not in k
    }
    assert same(mean.memory["mean"], reference_mean.memory["mean"])
    assert not list(trainer.run.path.glob(".best.*"))


class Counts(BaseCallback):
    """Remembers the rows that it has seen, and changes a batch's random numbers, as a callback may."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def on_batch_begin(self, trainer: Any, batch: Any, **_: Any) -> None:
        self.rows += batch.rows
        np.random.rand()

    def state_dict(self) -> dict[str, list[int]]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        self.rows = state["rows"]


@pytest.mark.parametrize("step", [0, 3, 5, 6, 9])
def test_a_run_with_an_undone_turn_is_the_run_without_it(rich: Callable[..., Any], step: int) -> None:
    """Whatever the turn: the first one, one before a checkpoint, the last of an epoch. No checkpoint is loaded."""
    ours, theirs = Counts(), Counts()
    poison = Do("on_batch_end", at_step(step, lambda trainer: None if trainer.left_out.turns else poison_any(trainer)))
    trainer = rich(callbacks=[ours, poison, asking("on_before_optimizer_step", step, Action.UNDO)])
    loaded: list[Path] = []
    trainer.load = loaded.append
    trainer.train()
    assert not loaded

    reference = rich(callbacks=[theirs])
    without(reference, *divmod(step, trainer.sampler.turns_in(0)))
    reference.left_out.turns = [{"epoch": step // trainer.sampler.turns_in(0), "turn": -1}]
    reference.train()
    assert trainer.state.step == reference.state.step
    assert result(trainer)[2:] == result(reference)[2:]
    assert result(trainer)[1] == result(reference)[1]
    assert ours.rows == theirs.rows


def poison_any(trainer: Any) -> None:
    next(p for p in trainer.model.parameters() if p.grad is not None).grad.fill_(math.nan)


def test_going_back_to_a_chosen_checkpoint_brings_its_best_model_back(rich: Callable[..., Any]) -> None:
    """Which is older than the newest checkpoint, and than the best model that this one knows."""
    copies: dict[str, Path] = {}

    def keep(trainer: Any, path: Path, **_: Any) -> None:
        if not copies:
            for name, folder in (("checkpoint", path), ("best", trainer.run.best)):
                copies[name] = trainer.folder / "kept" / (path.name if name == "checkpoint" else name)
                link_folder(folder, copies[name])

    def back(trainer: Any, **_: Any) -> GoBack | None:
        if trainer.state.step == 13 and not trainer.run.info().get("left_out"):
            return GoBack(copies["checkpoint"], copies["best"], (1, 0))
        return None

    trainer = rich(callbacks=[Do("on_save", keep), Do("on_step_end", back)])
    # Each model is better than the one before, until the run has gone back.
    improve = trainer._keep_best
    trainer._keep_best = lambda value: None if trainer.run.info().get("left_out") else improve(-trainer.state.step)
    trainer.train()
    turns = trainer.sampler.turns_in(0)
    assert trainer.run.info()["left_out"] == [
        {"epoch": 1, "turn": 0, "source": trainer.sampler.epoch(1)[0].name, "by": "Do", "step": 13, "back_to": 5}
    ]
    assert trainer.state.step == 3 * turns - 1
    assert trainer.state.best_step == 4
    assert (trainer.run.best / "manifest.json").read_bytes() == (copies["best"] / "manifest.json").read_bytes()


def test_a_rollback_takes_a_better_model_back_that_came_after_the_checkpoint(make_trainer: Callable[..., Any]) -> None:
    best: dict[tuple[str, int], bytes] = {}

    def note(event: str) -> Do:
        def look(trainer: Any, **_: Any) -> None:
            if trainer.run.best.exists():
                content = (trainer.run.best / "heads.safetensors").read_bytes()
                best[event, trainer.state.step] = content

        return Do(event, look)

    trainer = make_trainer(
        "mood", training={"learning_rate": 1e-2}, evaluation={"every_steps": 1, "metric": "eval_loss"},
        checkpoint={"every_steps": 4},
        callbacks=[note("on_save"), note("on_evaluate"), note("on_batch_begin"),
                   asking("on_step_end", 6, Action.ROLLBACK)],
    )  # fmt: skip
    improve = trainer._keep_best
    trainer._keep_best = lambda value: improve(-float(trainer.state.step))
    seen: list[bytes] = []
    trainer.chain.callbacks.append(
        Do(
            "on_batch_begin",
            lambda trainer, **_: seen.append(best["on_batch_begin", 4]) if trainer.state.step == 4 else None,
        )
    )
    trainer.train()
    assert len(trainer.run.info()["left_out"]) == 1
    assert len(seen) > 1
    assert set(seen) == {best["on_save", 4]}
    assert best["on_evaluate", 5] != best["on_save", 4]


@pytest.mark.parametrize("step", [3, 7])
def test_the_last_turn_of_an_epoch_may_be_left_out(make_trainer: Callable[..., Any], step: int) -> None:
    """The epoch ends with the step of the checkpoint then, and so does the run, with its last record."""
    options: dict[str, Any] = {"checkpoint": {"every_steps": 1}, "training": {"epochs": 2, "log_every_steps": 4}}
    trainer = make_trainer("mood", callbacks=[asking("on_step_end", step, Action.ROLLBACK)], **options)
    assert trainer.sampler.turns_in(0) == 4
    trainer.train()
    reference = make_trainer("mood", **options)
    without(reference, *divmod(step, 4))
    reference.left_out.turns = [{"epoch": step // 4, "turn": -1}]
    reference.train()
    assert result(trainer) == result(reference)
    assert [each["step"] for each in records(trainer, "eval")] == ([3, 7] if step == 3 else [4, 7])
    assert records(trainer, "train")[-1]["step"] == 7


def test_a_rolled_back_run_that_is_interrupted_goes_on_without_the_turn(rich: Callable[..., Any]) -> None:
    straight = rich(callbacks=[asking("on_step_end", 6, Action.ROLLBACK)])
    straight.train()
    first = rich(callbacks=[asking("on_step_end", 6, Action.ROLLBACK), Do("on_step_end", at_step(7, interrupt))])
    # Interrupted at step 7, and not at the one that is left out.
    resumed = go_on(first, rich)
    assert result(resumed) == result(straight)


def test_a_rollback_with_max_steps_takes_as_many_steps_of_other_rows(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(
        "mood", training={"max_steps": 6}, checkpoint={"every_steps": 1},
        callbacks=[asking("on_step_end", 2, Action.ROLLBACK)],
    )  # fmt: skip
    trainer.train()
    assert (trainer.state.step, trainer.total_steps) == (6, 6)
    assert [each["step"] for each in records(trainer, "train")] == [1, 2, 3, 4, 5, 6]
    assert trainer.run.info()["left_out"] == [
        {"epoch": 0, "turn": 2, "source": "mood", "by": "Do", "step": 3, "back_to": 2}
    ]


def test_a_checkpoint_of_the_turn_itself_is_none_to_go_back_to(make_trainer: Callable[..., Any]) -> None:
    def save(trainer: Any) -> None:
        trainer.save()

    trainer = make_trainer(
        "mood", checkpoint={"every_steps": 2, "keep": 9},
        callbacks=[Do("on_step_end", at_step(3, save)), asking("on_step_end", 2, Action.ROLLBACK)],
    )  # fmt: skip
    trainer.train()
    assert [each["back_to"] for each in trainer.run.info()["left_out"]] == [2]


def test_going_back_to_the_start_learns_again_what_is_learnt_there(
    make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Do("on_train_begin", lambda trainer: trainer.save() and None)
    trainer = make_trainer("mood", callbacks=[save, asking("on_before_optimizer_step", 1, Action.ROLLBACK)])
    observed: list[tuple[str, int]] = []
    monkeypatch.setattr("jenga.trainer.loop.observe", lambda *given: observed.append((given[2], trainer.state.step)))
    trainer.train()
    assert [each for each in observed if each[0] == "start"] == [("start", 0), ("start", 0)]
    assert trainer.state.step == 7


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer("mood", callbacks=[asking("on_step_end", 0, Action.ROLLBACK)])
    with pytest.raises(
        DivergedError, match=r"step 1: Do asked to go back, and there is no checkpoint yet; save one with"
    ):
        trainer.train()


@pytest.mark.parametrize("empty", [1, 2])
def test_an_epoch_whose_turns_are_all_left_out_ends_too(
    make_trainer: Callable[..., Any], make_rows: Callable[..., Any], empty: int
) -> None:
    """What waits for the end of a stage would miss it."""
    told: list[tuple[str, int]] = []
    undo = Do("on_before_optimizer_step",
              lambda trainer, **_: Action.UNDO if trainer.state.epoch == empty else None)  # fmt: skip
    undo.undoes = True
    begins = Do("on_epoch_begin", lambda trainer, epoch: told.append(("begins", epoch)))
    ends = Do("on_epoch_end", lambda trainer, epoch, **_: told.append(("ends", epoch)))
    trainer = make_trainer(
        "mood", rows=make_rows(16), training={"epochs": 3, "batch_size": 8}, data={"valid_fraction": 0.0},
        callbacks=[undo, begins, ends],
    )  # fmt: skip
    trainer.train()
    turns = trainer.sampler.turns_in(0)
    assert [each["epoch"] for each in trainer.run.info()["left_out"]] == [empty] * turns
    assert (turns, trainer.state.step) == (2, 4)
    assert told == [(word, epoch) for epoch in range(3) for word in ("begins", "ends")]


def test_going_back_again_and_again_ends_the_run(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(
        "mood",
        training={"max_steps": 30},
        checkpoint={"every_steps": 4},
        callbacks=[asking("on_before_optimizer_step", 5, Action.ROLLBACK, times=9)],
    )
    with pytest.raises(
        DivergedError, match=r"step 6: Do asked to go back to step 4 once more \(before: at step 6, 6, 6\)"
    ):
        trainer.train()
    newest = newest_checkpoint(trainer.run.checkpoints)
    assert newest is not None
    assert newest.name == "step-00000004"


# ------------------------------------------------------------------------------------------------------------ gradients


def test_what_a_callback_does_to_gradients_is_clipped_and_told_with_them(make_trainer: Callable[..., Any]) -> None:
    def tenfold(trainer: Any, **_: Any) -> None:
        for p in trainer.model.parameters():
            if p.grad is not None:
                p.grad *= 10.0

    seen: list[float] = []

    def look(trainer: Any, grad_norm: torch.Tensor, **_: Any) -> None:
        norms = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
        seen.append(float(torch.stack(norms).norm()))

    found = []
    for callbacks in ([], [Do("on_gradients", tenfold), Do("on_before_optimizer_step", look)]):
        trainer = make_trainer("mood", callbacks=callbacks, training={"max_grad_norm": 0.5, "epochs": 1})
        trainer.train()
        found.append(records(trainer, "train")[0]["grad_norm"])
    assert found[1] == pytest.approx(10 * found[0], rel=1e-4)
    assert max(seen) <= 0.5 * (1 + 1e-5)
