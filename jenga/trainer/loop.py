"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from jenga.callbacks import Action, BaseCallback
from jenga.callbacks.base import TrainRecord
from jenga.callbacks.chain import Asked, Chain
from jenga.config.schema import ExperimentConfig
from jenga.config.training import resolved
from jenga.errors import InterruptedRun
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.rows.batches import Source
from jenga.rows.sampling import Turn
from jenga.saved import fitting
from jenga.trainer import checkpoint
from jenga.trainer.calibrate import judged, observe
from jenga.trainer.directions import SCORE, greater_is_better, metric_directions
from jenga.trainer.evaluate import Runner, valid_metrics
from jenga.trainer.learner import Learner, Teacher
from jenga.trainer.left_out import LeftOut, Place
from jenga.trainer.memory import packed_all, unpack
from jenga.trainer.norms import join_norms
from jenga.trainer.optim import learning_rates
from jenga.trainer.recipe import evaluation_batch_sizes, evaluation_batch_tokens, trainings_of
from jenga.trainer.run import MetricsLog, RunFolder
from jenga.trainer.signals import interruptible
from jenga.trainer.state import State
from jenga.trainer.together import agree_to_end, agreed, check_chain, step_counts
from jenga.trainer.turns import epochs_of, in_halves, make_feed, make_sampler, planned_steps, warn_of_lone_tasks
from jenga.trainer.undo import BeforeTurn, go_back_to
from jenga.types import Batch


class Trainer:
    """Trains a model on the turns that a sampler deals, one source a turn, and keeps the run's folder.

    `write_best(folder)` writes the model in the form that is kept as the run's result. `teacher`: adds to each batch
    what it says of its rows. `workers`: processes that make batches ahead.
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
        workers: int = 0,
    ) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        self.processes = Processes.of_run(accelerator.device)
        self.sources = {source.name: source for source in sources}
        self.chain = Chain(callbacks)
        self.write_best = write_best if self.processes.first else lambda folder: None
        self.halves = in_halves(model, config, accelerator.device)
        self.sampler = make_sampler(sources, config, halves=self.halves)
        warn_of_lone_tasks(sources, config)
        self.training, self.trainings = resolved(config.training), trainings_of(config)
        self.feed = make_feed(
            sources, config, model, accelerator.device, halves=self.halves, workers=workers, processes=self.processes
        )
        self.left_out = LeftOut(run)
        # The schedule is that of the plan, whatever is left out: the steps before must not have had other rates.
        self.planned_steps = planned_steps(self.sampler, config)
        check_chain(self.chain, self.processes)
        join_norms(model, self.processes, lambda: self.feed.fewest(self.sampler, epochs_of(config)))
        self.learner = Learner(
            model, self.training, self.trainings, accelerator, steps=self.planned_steps, teacher=teacher,
            chain=self.chain, processes=self.processes,
        )  # fmt: skip
        self.model, self.optimizer = self.learner.model, self.learner.optimizer
        self.state = State(halves=self.halves)
        self.folder, self.log = run.path, MetricsLog(run.path / "metrics.jsonl", written=self.processes.first)
        self.interrupted = self.asked_to_interrupt = False
        self._started = time.monotonic()
        self._saved_step: int | None = None
        self.directions = metric_directions(config.evaluation, self.model, sources)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run: those planned, without the turns that its epochs have left out."""
        left_out = 0 if self.training.max_steps else self.left_out.count(epochs_of(self.config))
        return sum(self.planned_steps) - left_out

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
        return greater_is_better(self.directions, metric)

    def train(self) -> None:
        """Train to the end, or until a callback or the user stops it.

        Raises InterruptedRun after Ctrl-C, with a checkpoint saved, and DivergedError when the loss is not finite.
        """
        self._started = time.monotonic() - self.state.seconds
        with interruptible(self._ask_to_interrupt), self.feed:
            self.chain.call("on_train_begin", self)
            packed_all(self.chain.memories(), {})  # what no checkpoint can hold is told now, not at the first one
            self._begin()
            agree_to_end(self)
            while not self._done():
                self._epoch()
            self._evaluate()  # where a callback stopped the run once its last step was judged
            if self.config.stages:
                self._keep_last()
            if self.state.step != self._saved_step:
                self.save()
            self.chain.call("on_train_end", self)

    def _begin(self) -> None:
        """Do what comes before the first step from here, and make batches ahead from now on."""
        if self.state.step == 0:
            observe(self._runner(), list(self.sources.values()), "start")
        self._finish_checkpoint()
        self.feed.begin(
            lambda: self.left_out.coming(
                self.sampler, self.state.epoch, self.state.turn, self.total_steps - self.state.step
            )
        )

    def _finish_checkpoint(self) -> None:
        """Do what is left of the step of a checkpoint, or due now that its epoch has no turn left: it was left out."""
        epoch_is_over = 0 < self.state.turn == self._turns and not self.state.pending
        if epoch_is_over and self._done() and self.learner.window.steps:
            self.log.append({**self._record()})
        if self.state.pending or epoch_is_over:
            self._finish_step()

    def _done(self) -> bool:
        return self.state.step >= self.total_steps or self.state.stopped

    def _epoch(self) -> None:
        """Take the turns of the epoch that are left; return earlier where the run is done, or has been rolled back."""
        epoch = self.state.epoch
        turns = self.left_out.of(self.sampler, epoch)
        self.learner.begin_stage(self.sampler.stage_of(self.state.epoch))
        if self.state.turn == 0:
            self.chain.call("on_epoch_begin", self, epoch=self.state.epoch)
        for place, turn in turns[self.state.turn :]:
            before = self.state.step
            asked = self.step(turn, place)
            agree_to_end(self)
            if asked is not None and asked.action is Action.ROLLBACK:
                self._roll_back(place, asked, before)
                return
            if asked is not None and asked.action is Action.UNDO:
                self.left_out.add(place, source=turn.name, by=asked.by, step=before + 1, back_to=before)
                self._begin()
            else:
                self._finish_step()
            agree_to_end(self)
            self._check_interrupt()
            if self._done():
                break
        if self.state.epoch == epoch and not self._turns:
            self._finish_step()  # all of its turns are left out: no step ends it

    def step(self, turn: Turn, place: Place | None = None) -> Asked | None:
        """Take one optimizer step on the rows of `turn`, in micro-batches as the feed cuts them.

        Returns what a callback asks for before or after it. A step before which it is asked for is not taken, and
        neither is one of whose rows none is left.
        """
        turn = self.feed.kept(turn)
        kept = BeforeTurn(self.learner, self.chain) if self.chain.undoes else None
        losses = self.learner.window.snapshot()
        parts = [(part, self.feed.batches(self.state.epoch, part)) for part in turn.parts]
        place = place or Place(self.state.epoch, self.state.turn)
        batches = [each for _, found in parts for each in found if not each.idle]
        self.chain.call("on_step_begin", self, batches=batches, place=place)
        if not turn.size:
            self.learner.skip()
            return self._count(turn, (None, math.nan))
        for part, batches in parts:
            self._add_gradients(part, batches)
        self.learner.settle_gradients()
        self.chain.call("on_gradients", self)
        norm = self.learner.clip_gradients()
        asked = agreed(self.processes, self.chain.call("on_before_optimizer_step", self, grad_norm=norm))
        if asked is None:
            self.learner.step(norm)
        else:
            self.learner.drop_gradients()
            self.learner.window.go_back(losses)
            if asked.action is Action.UNDO and kept is not None:
                kept.take_back()
            if asked.action in (Action.UNDO, Action.ROLLBACK):
                return asked
            self.learner.skip()
        return self._count(turn, None if asked is None else (asked.by, float(norm)))

    def _count(self, turn: Turn, skipped: tuple[str | None, float] | None) -> Asked | None:
        """Count a turn and tell of it; skipped: at whose request, and with what gradient norm."""
        self.state.step += 1
        self.state.turn += 1
        self.state.rows += turn.size
        self.state.pending = True
        if skipped is not None:
            by, norm = skipped
            self.tell("skip", source=turn.name, by=by, grad_norm=norm if math.isfinite(norm) else None)
        return self._log()

    def _add_gradients(self, turn: Turn, batches: Sequence[Batch]) -> None:
        tasks = turn.tasks or self.sources[turn.source].tasks
        counts = step_counts(self.processes, batches, self.model.tasks)
        for batch in batches:
            batch = batch.to(self.accelerator.device)
            listening = Chain([]) if batch.idle else self.chain
            listening.call("on_batch_begin", self, batch=batch)
            loss, outputs = self.learner.add_gradients(batch, tasks, counts, len(batch.rows) / len(turn.rows))
            listening.call("on_batch_end", self, batch=batch, loss=loss, outputs=outputs)

    def _roll_back(self, place: Place, asked: Asked, before: int) -> None:
        """Go back to a checkpoint of step `before` or an earlier one, by default without the turn at `place`."""
        folder = go_back_to(self.run, asked, before, self.processes)
        self.left_out.by_rollback(self.sampler, asked, place, step=before + 1, back_to=checkpoint.step_of(folder))
        self.load(folder)
        self._begin()

    def tell(self, event: str, **more: Any) -> None:
        """Write a record of `event`, which happened at this step, to metrics.jsonl."""
        head = {"event": event, "step": self.state.step, "epoch": self._epochs()}
        self.log.append({**head, **more, "time_s": self._seconds()})

    def _log(self) -> Asked | None:
        record = None
        due = self.state.step % self.config.training.log_every_steps == 0 or self.state.step == self.total_steps
        if due and self.learner.window.steps:
            record = self._record()
            self.log.append({**record})
        return agreed(self.processes, self.chain.call("on_step_end", self, logs=record))

    @property
    def _turns(self) -> int:
        """Turns of this epoch."""
        return self.sampler.turns_in(self.state.epoch) - self.left_out.count_in(self.state.epoch)

    def _epochs(self) -> float:
        """Return the epochs done, by the turns that are dealt: what is left out later changes no earlier record."""
        return round(self.state.epoch + self.state.turn / self.sampler.turns_in(self.state.epoch), 4)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def _record(self) -> TrainRecord:
        self.learner.check_finite(self.state.step)
        return {
            "event": "train", "step": self.state.step, "epoch": self._epochs(), **self.learner.figures(),
            "learning_rate": learning_rates(self.optimizer), "rows": self.state.rows, "time_s": self._seconds(),
        }  # fmt: skip

    def _finish_step(self) -> None:
        """Evaluate, end the epoch and save, where this step is due for it."""
        epoch_ends = self.state.turn == self._turns
        every = self.config.evaluation.every_steps
        if (
            self._done()
            or (self.state.step % every == 0 if every else epoch_ends)
            or (epoch_ends and not self.state.metrics)
        ):
            self._evaluate()
        if epoch_ends:
            self.learner.balance.end_epoch()
            self.chain.call("on_epoch_end", self, epoch=self.state.epoch, metrics=self.state.metrics)
            self.state.epoch += 1
            self.state.turn = 0
        self.state.pending = False
        every = self.config.checkpoint.every_steps
        if self.state.step % every == 0 if every else epoch_ends:
            self.save()

    @contextmanager
    def judging(self) -> Iterator[Runner]:
        """Let the weights that are judged and saved stand in the model, for what judges it."""
        runner = self._runner()
        with judged(self.learner.judged, runner, self.sources.values()):
            yield runner

    def _evaluate(self) -> None:
        if self.state.evaluated_step != self.state.step:
            with self.judging() as runner:
                self._judge(runner)

    def _judge(self, runner: Runner) -> None:
        config, sources = self.config.evaluation, list(self.sources.values())
        observe(runner, sources, "evaluation")
        result = runner.evaluate(sources, "valid")
        if not result.rows:
            if self._done():
                self._keep_last()
                self.state.evaluated_step = self.state.step
            return
        metrics = valid_metrics(result, self.model, config.metric, step=self.state.step)
        self.tell("eval", metrics=metrics)
        self.state.metrics = metrics
        if not self.config.stages:
            self._keep_best(metrics[config.metric])
        self.state.evaluated_step = self.state.step
        self.chain.call("on_evaluate", self, metrics=metrics)

    def _runner(self) -> Runner:
        return Runner(
            self.model, self.accelerator.device, self.accelerator.autocast, evaluation_batch_sizes(self.config), {},
            self._check_interrupt if self.processes.size == 1 else lambda: None,  # several end together, after a step
            self.feed.workers, self.processes, in_step=len(self.learner.shards) > 0,
            batch_tokens=evaluation_batch_tokens(self.config),
        )  # fmt: skip

    def _keep_best(self, value: float) -> None:
        metric = self.config.evaluation.metric
        loss = self.state.metrics["eval_loss"] if metric == SCORE else None  # few rows have few scores
        if self.state.is_surpassed(value, loss, greater=self.greater_is_better(metric)):
            with self.learner.shards.whole_model():
                self.run.renew_best(self.write_best, known=self.state.best_step)
            self.state.best_value, self.state.best_step, self.state.best_loss = value, self.state.step, loss

    def _keep_last(self) -> None:
        """Where no validation rows tell which model is the best, or those of one stage would, it is the last one."""
        self.learner.check_finite(self.state.step)
        with self.judging(), self.learner.shards.whole_model():
            self.write_best(self.run.best)
        self.state.best_step = self.state.step

    def save(self) -> Path:
        """Write a checkpoint now and return its folder. Raises DivergedError where the weights are no longer finite."""
        self.learner.check_finite(self.state.step)
        self.state.seconds = time.monotonic() - self._started
        folder = checkpoint.checkpoint_folder(self.run.checkpoints, self.state.step)
        with self.learner.judged.hidden():
            tensors, state = self.learner.state()
            tensors["callbacks"] = {}
            state |= {
                "state": asdict(self.state),
                "metrics_bytes": self.log.sync(),
                "callbacks": packed_all(self.chain.memories(), tensors["callbacks"]),
            }
            if self.processes.first:
                checkpoint.save_checkpoint(folder, tensors=tensors, state=state)
        self.run.settle_best()
        if self.processes.first:
            checkpoint.retain(folder, self.config.checkpoint.keep)
        self.processes.any()  # it is there now for all
        self._saved_step = self.state.step
        self.chain.call("on_save", self, path=folder)
        return folder

    def load(self, folder: Path | None) -> None:
        """Go on from the checkpoint in `folder`; None: from the very beginning of the run."""
        if folder is None:
            self.log.cut(0)
            return
        tensors, state = checkpoint.load_checkpoint(folder)
        with fitting(folder / "state.json"):
            self.learner.restore(tensors, state, folder)
            memories = [(name, unpack(memory, tensors["callbacks"])) for name, memory in state["callbacks"]]
            self.state = State(**{"halves": self.halves, **state["state"]})
        self.sampler.deal(halves=self.state.halves)
        self.state.turn = min(self.state.turn, self._turns)  # fewer rows may be left than the epoch had
        self._saved_step = self.state.step
        self.run.revert_best(self.state.best_step)
        self.log.cut(state["metrics_bytes"])
        self.chain.remind(memories)  # last: who remembers may tell of it

    def _check_interrupt(self) -> None:
        # Several end together: all go by what they have agreed on, whenever it is that a signal reaches each of them.
        if self.interrupted or (self.asked_to_interrupt and self.processes.size == 1):
            self._interrupt()

    def _interrupt(self) -> None:
        folder = self.save()
        if self.state.best_value is None:
            self._keep_last()
        raise InterruptedRun(f"interrupted at step {self.state.step}; saved {folder}. Go on with --resume auto")

    def _ask_to_interrupt(self) -> None:
        self.asked_to_interrupt = True
