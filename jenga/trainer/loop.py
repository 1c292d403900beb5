"""The training loop."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from jenga.callbacks import BaseCallback
from jenga.config.schema import ExperimentConfig, evaluation_batch_size, resolved
from jenga.data.collate import Source
from jenga.data.sampling import Sampler, Turn, micro_batches
from jenga.errors import ConfigError, DataError, DivergedError, InterruptedRun, suggest
from jenga.model import MultiTaskModel
from jenga.trainer import checkpoint
from jenga.trainer.calibrate import observe
from jenga.trainer.directions import metric_directions
from jenga.trainer.evaluate import Runner, label_counts
from jenga.trainer.optim import learning_rates, make_optimizer, make_scheduler
from jenga.trainer.run import MetricsLog, RunFolder
from jenga.trainer.window import Window
from jenga.types import Batch

logger = logging.getLogger(__name__)


@dataclass
class State:
    """Progress of a run, all of it in every checkpoint.

    `turn`: optimizer steps done in this epoch. `pending`: the step's evaluation and epoch end are still to be done.
    `halves`: how rows are dealt into turns, as `Sampler` has it; the device that the run began on decides it for good.
    """

    step: int = 0
    epoch: int = 0
    turn: int = 0
    rows: int = 0
    pending: bool = False
    stopped: bool = False
    best_value: float | None = None
    best_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    evaluated_step: int = -1
    seconds: float = 0.0
    halves: bool = False


class Teacher(Protocol):
    """What the trainer asks of a teacher."""

    def teach(self, batch: Batch) -> None:
        """Put what it says of the rows of `batch` into ``batch.teacher``."""


class Trainer:
    """Trains a model on the turns that a sampler deals, one source a turn, and keeps the run's folder.

    `write_best(folder)` writes the model in the form that is kept as the run's result. `teacher`: adds to each batch
    what it says of its rows.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        sources: Sequence[Source],
        config: ExperimentConfig,
        *,
        run: RunFolder,
        accelerator: Accelerator,
        callbacks: Sequence[BaseCallback],
        write_best: Callable[[Path], None],
        teacher: Teacher | None = None,
    ) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        self.sources = {source.name: source for source in sources}
        self.callbacks = list(callbacks)
        self.write_best = write_best
        self.teacher = teacher
        # On a GPU two small passes cost twice what one does.
        self.halves = accelerator.device.type == "cpu" and model.backbone.cost_follows_tokens
        self.sampler = make_sampler(sources, config, halves=self.halves)
        self.training = training = resolved(config.training)
        self.total_steps = training.max_steps or training.epochs * len(self.sampler)
        # A checkpoint's encoder comes in evaluation mode, without dropout.
        self.model: MultiTaskModel = model.to(accelerator.device).train()
        self.optimizer = make_optimizer(self.model, training)
        self._optimizer = accelerator.prepare_optimizer(self.optimizer)
        self.scheduler = make_scheduler(self.optimizer, training, self.total_steps)
        self.state = State(halves=self.halves)
        self.window = Window(accelerator.device)
        self.log = MetricsLog(run.path / "metrics.jsonl")
        self.folder = run.path
        self.interrupted = False
        self._started = time.monotonic()
        self._saved_step: int | None = None
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.directions = metric_directions(config.evaluation, self.model, sources)

    @property
    def should_stop(self) -> bool:
        """Whether training ends after this step. A callback asks for it with True; nothing takes that back."""
        return self.state.stopped

    @should_stop.setter
    def should_stop(self, stop: bool) -> None:
        # `should_stop = loss < limit` is a callback's way to say "not for my sake" too; it knows of no other's reason.
        self.state.stopped = self.state.stopped or bool(stop)

    def greater_is_better(self, metric: str) -> bool:
        """Return whether a greater `metric` of an evaluation is better. Raises ConfigError where that is not known."""
        greater = self.directions.get(metric)
        if greater is None:
            known = [name for name, each in self.directions.items() if each is not None]
            raise ConfigError(
                f"'{metric}': not known which way it is better{suggest(metric, known) or '.'} Known: {', '.join(known)}"
            )
        return greater

    def train(self) -> None:
        """Train to the end, or until a callback or the user stops it.

        Raises InterruptedRun after Ctrl-C, with a checkpoint saved, and DivergedError when the loss is not finite.
        """
        self._started = time.monotonic() - self.state.seconds
        with self._signals():
            self._call("on_train_begin")
            if self.state.step == 0:
                observe(self._runner(), list(self.sources.values()), "start")
            if self.state.pending:
                self._finish_step()
            while not self._done():
                self._epoch()
            self._evaluate()  # where a callback stopped the run once its last step was judged
            if self.state.step != self._saved_step:
                self.save()
            self._call("on_train_end")

    def _done(self) -> bool:
        return self.state.step >= self.total_steps or self.state.stopped

    def _epoch(self) -> None:
        turns = self.sampler.epoch(self.state.epoch)
        if self.state.turn == 0:
            self._call("on_epoch_begin", epoch=self.state.epoch)
        for turn in turns[self.state.turn :]:
            self.step(turn)
            self._finish_step()
            if self.interrupted:
                self._interrupt()
            if self._done():
                break

    def step(self, turn: Turn) -> None:
        """Take one optimizer step on the rows of `turn`, in micro-batches of training.batch_size or half of it."""
        source = self.sources[turn.source]
        split = source.splits["train"]
        size = self.training.batch_size
        batches = [split.batch(rows) for rows in micro_batches(turn.rows, split.lengths, size, halves=self.halves)]
        counts = label_counts(batches, self.model.tasks) if len(batches) > 1 else None
        if not self.model.training:
            self.model.train()
        for batch in batches:
            batch = batch.to(self.accelerator.device)
            self._call("on_batch_begin", batch=batch)
            with self.accelerator.autocast():
                if self.teacher is not None:
                    self.teacher.teach(batch)
                outputs = self.model(batch.inputs, source.tasks, batch.labels, batch.teacher, batch.states)
            loss = self.window.add(outputs, self.model.tasks, counts, len(batch.rows) / len(turn.rows))
            self.accelerator.backward(loss)
            self._call("on_batch_end", batch=batch, loss=loss.detach())
        limit = self.config.training.max_grad_norm
        self.accelerator.unscale_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, math.inf if limit is None else limit)
        self.window.add_norm(norm, scaled=self.accelerator.scaler is not None)
        self._optimizer.step()
        self.scheduler.step()
        self._optimizer.zero_grad()
        self.state.step += 1
        self.state.turn += 1
        self.state.rows += len(turn.rows)
        self.state.pending = True
        self._log()

    def _log(self) -> None:
        record = None
        if self.state.step % self.config.training.log_every_steps == 0 or self.state.step == self.total_steps:
            record = self._record()
            self.log.append(record)
        self._call("on_step_end", logs=record)

    def _record(self) -> dict[str, Any]:
        self._check_finite()
        found = self.window.take()
        return {
            "event": "train",
            "step": self.state.step,
            "epoch": round(self.state.epoch + self.state.turn / len(self.sampler), 4),
            **found,
            "learning_rate": learning_rates(self.optimizer),
            "rows": self.state.rows,
            "time_s": round(time.monotonic() - self._started, 3),
        }

    def _check_finite(self) -> None:
        for what, value in (("loss", float(self.window.loss)), ("gradient norm", float(self.window.norm))):
            if not math.isfinite(value):
                raise DivergedError(
                    f"step {self.state.step}: the {what} is {value}; lower training.learning_rate, raise "
                    "training.warmup_ratio, or set training.precision to fp32. The last checkpoint is unharmed"
                )

    def _finish_step(self) -> None:
        """Evaluate, end the epoch and save, where this step is due for it."""
        epoch_ends = self.state.turn == len(self.sampler)
        every = self.config.evaluation.every_steps
        if (
            self._done()
            or (self.state.step % every == 0 if every else epoch_ends)
            or (epoch_ends and not self.state.metrics)
        ):
            self._evaluate()
        if epoch_ends:
            self._call("on_epoch_end", epoch=self.state.epoch, metrics=self.state.metrics)
            self.state.epoch += 1
            self.state.turn = 0
        self.state.pending = False
        every = self.config.checkpoint.every_steps
        if self.state.step % every == 0 if every else epoch_ends:
            self.save()

    def _evaluate(self) -> None:
        if self.state.evaluated_step == self.state.step:
            return
        config, runner, sources = self.config.evaluation, self._runner(), list(self.sources.values())
        observe(runner, sources, "evaluation")
        result = runner.evaluate(sources, "valid")
        if not result.rows:
            if self._done():
                self._keep_last()
                self.state.evaluated_step = self.state.step
            return
        metrics = {f"eval_{name}": value for name, value in result.metrics.items()}
        if not all(math.isfinite(value) for value in metrics.values()):
            broken = [name for name, value in metrics.items() if not math.isfinite(value)]
            raise DivergedError(
                f"step {self.state.step}: not finite: {', '.join(broken)}. The last checkpoint is unharmed"
            )
        if config.metric not in metrics:
            raise DataError(
                f"evaluation.metric: '{config.metric}' is undefined on the validation rows (no labelled row)"
            )
        self.log.append(
            {
                "event": "eval",
                "step": self.state.step,
                "epoch": round(self.state.epoch + self.state.turn / len(self.sampler), 4),
                "metrics": metrics,
                "time_s": round(time.monotonic() - self._started, 3),
            }
        )
        self.state.metrics = metrics
        self._keep_best(metrics[config.metric])
        self.state.evaluated_step = self.state.step
        self._call("on_evaluate", metrics=metrics)

    def _runner(self) -> Runner:
        size = evaluation_batch_size(self.config)
        return Runner(self.model, self.accelerator.device, self.accelerator.autocast, size, {}, self._check_interrupt)

    def _keep_best(self, value: float) -> None:
        best = self.state.best_value
        greater = self.greater_is_better(self.config.evaluation.metric)
        if best is None or (value > best if greater else value < best):
            self.write_best(self.run.best)
            self.state.best_value, self.state.best_step = value, self.state.step

    def _keep_last(self) -> None:
        """Where no validation rows tell which model is the best, the run's result is the last one."""
        self._check_finite()
        self.write_best(self.run.best)
        self.state.best_step = self.state.step

    def save(self) -> Path:
        """Write a checkpoint now and return its folder. Raises DivergedError where the weights are no longer finite."""
        self._check_finite()
        self.state.seconds = time.monotonic() - self._started
        random_tensors, random_state = checkpoint.random_state()
        window_tensors, window_state = self.window.state()
        tensors = {
            "model": checkpoint.model_tensors(self.model),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "random": random_tensors,
            "window": window_tensors,
        }
        scaler = self.accelerator.scaler
        state = {
            "state": asdict(self.state),
            "window": window_state,
            "random": random_state,
            "metrics_bytes": self.log.sync(),
            "base": self.model.backbone.base,
            "scheduler": self.scheduler.state_dict(),
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups],
            "scaler": None if scaler is None else scaler.state_dict(),
            "callbacks": [[type(callback).__name__, callback.state_dict()] for callback in self.callbacks],
        }
        folder = checkpoint.checkpoint_folder(self.run.checkpoints, self.state.step)
        checkpoint.save_checkpoint(folder, tensors=tensors, state=state)
        checkpoint.retain(folder, self.config.checkpoint.keep)
        self._saved_step = self.state.step
        self._call("on_save", path=folder)
        return folder

    def load(self, folder: Path | None) -> None:
        """Go on from the checkpoint in `folder`; None: from the very beginning of the run."""
        if folder is None:
            self.log.cut(0)
            return
        tensors, state = checkpoint.load_checkpoint(folder)
        checkpoint.load_model(self.model, tensors["model"], folder, base=state.get("base"))
        checkpoint.load_optimizer(self.optimizer, tensors["optimizer"], state["groups"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self._remind(state["callbacks"])
        self.state = State(**{"halves": self.halves, **state["state"]})
        self.sampler.deal(halves=self.state.halves)
        self._saved_step = self.state.step
        self.window.restore(tensors["window"], state["window"])
        self.log.cut(state["metrics_bytes"])
        checkpoint.set_random_state(tensors["random"], state["random"])

    def _remind(self, memories: list[tuple[str, dict[str, Any]]]) -> None:
        """Give each callback its memory back. The chain may have changed: where a run is tracked is no part of it."""
        left = list(self.callbacks)
        for name, memory in memories:
            callback = next((each for each in left if type(each).__name__ == name), None)
            if callback is not None:
                left.remove(callback)
                callback.load_state_dict(memory)
            elif memory:
                logger.warning(
                    "callback %s was there when the checkpoint was made; what it had in memory is dropped", name
                )

    def _call(self, event: str, **details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, **details)

    def _check_interrupt(self) -> None:
        if self.interrupted:
            self._interrupt()

    def _interrupt(self) -> None:
        folder = self.save()
        if self.state.best_value is None:
            self._keep_last()
        raise InterruptedRun(f"interrupted at step {self.state.step}; saved {folder}. Go on with --resume auto")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first Ctrl-C (or SIGTERM) end the run after this step, with a checkpoint; the second one at once."""

        def ask(number: int, _frame: Any) -> None:
            self.interrupted = True
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, where Python delivers no signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_sampler(sources: Sequence[Source], config: ExperimentConfig, *, halves: bool = False) -> Sampler:
    """Return the sampler over the training rows of `sources`; halves: as `Sampler` has it."""
    training = resolved(config.training)
    return Sampler(
        {source.name: source.splits["train"].lengths for source in sources},
        kind=training.sampler,
        rows_per_turn=training.batch_size * training.gradient_accumulation_steps,
        temperature=training.temperature,
        seed=training.seed,
        halves=halves,
    )
