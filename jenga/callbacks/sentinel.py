"""The security sentinel: watches a training, sets suspect labels and rows aside, and takes harmful steps back."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from jenga.callbacks.base import CALLBACK_REGISTRY, Action, Answer, BaseCallback, GoBack, TrainerView
from jenga.callbacks.sentinel_rows import RowsMemory, WatchedRows
from jenga.extras import command, is_here, missing
from jenga.files import writing
from jenga.processes import Processes
from jenga.sentinel.decisions import NAME, Decisions
from jenga.sentinel.drift import between_splits
from jenga.sentinel.given import check_left, given_entries
from jenga.sentinel.ledger import EVENTS, FILE, FOLDER, Ledger
from jenga.sentinel.masks import mask
from jenga.sentinel.ring import Ring, SeenRing
from jenga.sentinel.settings import Mode, SentinelConfig, without_effect
from jenga.sentinel.suspects import Caps
from jenga.sentinel.watch import Alarm, Watch
from jenga.types import Batch, TaskOutput

logger = logging.getLogger(__name__)

_MOST_UNDONE = 2
"""Turns that are undone at one step: what is still wrong then is wrong with the weights."""
_MOST_ROLLBACKS = 3
_MOST_STARTS = 2
"""Times that a run begins again, without rows that have a trigger."""
_MOST_NORMS = 1000
_SHOWN = 8


class SentinelMemory(TypedDict):
    """What a resumed run needs: the windows, the last alarm, the norms of steps by turn, and what is said of rows."""

    step: int
    watch: dict[str, Any]
    last_alarm: int
    norms: list[list[float]]
    rows: RowsMemory


@CALLBACK_REGISTRY.register("sentinel", config=SentinelConfig)
class Sentinel(BaseCallback[SentinelMemory]):
    """Sees each step's losses, gradient norm and answers. What it does, by `mode`, is in docs/sentinel.md.

    Of several processes each has it, and all know the same: what they see of their rows is gathered, what is drawn from
    it is the same in all, and what depends on files the first one says, which alone writes.
    """

    def __init__(
        self, *, mode: Mode, window: int, spike_z: float, undo_z: float, keep: int, verify_steps: int,
        label_errors: bool | None, early_epochs: int | None, triggers: bool, max_fraction: float,
        max_class_fraction: float, drift_psi: float, quarantine: str | None,
    ) -> None:  # fmt: skip
        for idle in without_effect(locals()):
            logger.warning("callbacks.sentinel.%s; it changes nothing here", idle)
        self.mode, self.undo_z, self.keep, self.verify_steps = mode, undo_z, keep, verify_steps
        self.label_errors, self.drift_psi, self.given = label_errors, drift_psi, quarantine
        self.undoes = mode == "act"
        self.watch = Watch(window, spike_z)
        self.rows = WatchedRows(
            mode=mode, label_errors=label_errors is not False, early_epochs=early_epochs, triggers=triggers,
            caps=Caps(max_fraction, max_class_fraction), drift_psi=drift_psi, tell=self._tell,
        )  # fmt: skip
        self.last_alarm, self.step = -1, 0
        self.norms: list[list[float]] = []
        self._memory: RowsMemory | None = None
        self._later: list[dict[str, Any]] = []
        self._trainer: TrainerView | None = None
        self._processes = Processes()

    # ---------------------------------------------------------------------------------------------------------- events

    def on_train_begin(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Open what is kept, and look at the rows as they are. Raises SetupError and DataError for what is missing."""
        self.folder, self._processes = trainer.folder / FOLDER, trainer.processes
        first = self._processes.first
        self.ring = (Ring if first else SeenRing)(self.folder / "verified", self.keep)
        self.ledger = Ledger(self.folder / FILE, written=first)
        self.decisions = Decisions(self.folder / NAME, written=first)
        if self.label_errors is not False and not is_here("cleanlab"):
            if self.label_errors:
                raise missing("audit", "callbacks.sentinel.label_errors needs cleanlab")
            logger.warning("sentinel: wrong labels are not looked for; they need cleanlab: %s", command("audit"))
            self.rows.label_errors = False
        self._trainer = trainer
        self._settle(trainer)
        if trainer.state.step == 0:
            if self.given is not None:
                self.ledger.add(given_entries(Path(self.given), trainer.sources))
                self.rows.leave_out(trainer, self.ledger)
                check_left(trainer.sources, Path(self.given))
            for source in trainer.sources.values():
                for found in between_splits(source, self.drift_psi):
                    self._tell(trainer, "drift", what=found.what, psi=round(found.psi, 4), action="observed")
            if self.mode == "act":
                trainer.save()

    def on_epoch_begin(self, trainer: TrainerView, epoch: int, **kwargs: Any) -> None:
        """Count answers anew."""
        self.rows.begin_epoch(trainer, epoch)

    def on_step_begin(
        self, trainer: TrainerView, batches: Sequence[Batch], place: tuple[int, int], **kwargs: Any
    ) -> None:
        """Take away the labels that are set aside."""
        self.place = place
        self._losses: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._seen: list[tuple[Batch, Mapping[str, TaskOutput]]] = []
        self._ids = [row for batch in batches for row in batch.sample_ids]
        masked = [mask(batch, self.ledger.cells(batch.source)) for batch in batches]
        self._masked, self._empty = any(masked), True

    def on_batch_end(
        self, trainer: TrainerView, batch: Batch, loss: torch.Tensor, outputs: Mapping[str, TaskOutput], **kwargs: Any
    ) -> None:
        """Keep what each task said of the batch."""
        for task, output in outputs.items():
            if output.loss_sum is not None and output.count is not None:
                self._losses.setdefault(task, []).append((output.loss_sum, output.count))
            elif output.loss is not None:
                self._losses.setdefault(task, []).append((output.loss, torch.ones_like(output.loss)))
        self._seen.append((batch, outputs))

    def on_before_optimizer_step(self, trainer: TrainerView, grad_norm: torch.Tensor, **kwargs: Any) -> Answer:
        """Judge the step, and do by `mode` what is to be done."""
        if self.decisions.to_the_start:
            return self._to_the_start(trainer)
        teaches = any(_teaches(each) for _, outputs in self._seen for each in outputs.values())
        if any(self._processes.any(self._masked)) and not any(self._processes.any(teaches)):
            return Action.SKIP
        self._empty = False
        self._norm, self._means = self._of_all_rows(grad_norm)
        alarms = self.watch.judge(self._means, self._norm)
        if trainer.config.training.precision == "fp16":
            # fp16: gradients that overflow are the loss scale's business.
            alarms = [each for each in alarms if (each.detector, each.what) != ("non_finite", "gradient")]
        return self._judged(trainer, alarms) if alarms else None

    def on_step_end(self, trainer: TrainerView, logs: Any, **kwargs: Any) -> Answer:
        """Take the step in, and verify checkpoints that have stood long enough."""
        self.step = trainer.state.step
        if not self._empty:
            # Here, as a turn that was undone is none of the steps that a rollback can be for.
            self.norms = [*self.norms, [self.step - 1, *self.place, self.watch.norm_z(self._norm)]][-_MOST_NORMS:]
            if all(map(math.isfinite, (*self._means.values(), self._norm))):
                self.watch.add(self._means, self._norm)
        for batch, outputs in self._seen:
            self.rows.note(trainer, batch, outputs)
        self.rows.end_step()
        self._verify(self.step - self.verify_steps)
        return None

    def on_evaluate(self, trainer: TrainerView, metrics: dict[str, float], **kwargs: Any) -> None:
        """Verify checkpoints since which nothing was amiss: the evaluation was finite, too."""
        self._verify(trainer.state.step - 1)

    def on_epoch_end(self, trainer: TrainerView, epoch: int, metrics: dict[str, float], **kwargs: Any) -> None:
        """Look at what was said of the rows. One with a trigger was learnt from all along: `act` begins again."""
        found = self.rows.end_epoch(trainer, self.ledger, epoch)
        self.rows.leave_out(trainer, self.ledger)
        if not found or self.mode != "act":
            return
        if self.decisions.starts >= _MOST_STARTS:
            self._learnt(trainer, f"it has begun again {_MOST_STARTS} times already")
        elif self._processes.from_first(self.ring.start()) is None:
            self._learnt(trainer, "the checkpoint of its start is gone")
        else:
            self.decisions.begin_again()

    def on_train_end(self, trainer: TrainerView, **kwargs: Any) -> None:
        """Tell of rows with a trigger that were found too late."""
        if self.decisions.to_the_start:
            self._learnt(trainer, "no step was left to go back from")

    def on_save(self, trainer: TrainerView, path: Path, **kwargs: Any) -> None:
        """Keep the checkpoint, in case that it proves good."""
        if self.mode == "act":
            self.ring.add(path, trainer.folder / "best", trainer.state.step)
            self.ring.thin(alarm=self.last_alarm)

    def state_dict(self) -> SentinelMemory:
        """Return what a resumed run needs."""
        return {
            "step": self.step, "watch": self.watch.state(), "last_alarm": self.last_alarm, "norms": self.norms,
            "rows": self.rows.state(),
        }  # fmt: skip

    def load_state_dict(self, state: SentinelMemory) -> None:
        """Go on from a checkpoint."""
        self.step, self.last_alarm, self.norms = state["step"], state["last_alarm"], state["norms"]
        self.watch.restore(state["watch"])
        self._memory = state["rows"]
        if self._trainer is not None:
            self._settle(self._trainer)

    # ------------------------------------------------------------------------------------------------------- decisions

    def _judged(self, trainer: TrainerView, alarms: list[Alarm]) -> Answer:
        """Return what to do about a step that is amiss, and tell of it."""
        step = trainer.state.step
        if any(each.detector != "gradient_outlier" for each in alarms):
            # Gradients alone stand out in healthy runs too, above all while they grow: a clipped one does no harm.
            self.last_alarm = step
        broken = [each for each in alarms if each.detector == "non_finite"]
        high = [each for each in alarms if each.z > self.undo_z]
        grave = bool(broken) or {"loss_spike", "gradient_outlier"} <= {each.detector for each in high}
        answer: Answer = None
        if grave and self.mode == "quarantine" and broken:
            answer = Action.SKIP
        elif grave and self.mode == "act":
            answer = self._undo(step, must=bool(broken))
        action = "observed" if answer is None else answer.name.lower() if isinstance(answer, Action) else "rollback"
        more: dict[str, Any] = {"turn": list(self.place), "action": action}
        if broken:
            more["rows"] = self._broken_rows()
        for each in alarms:
            value, z = _finite(each.value), _finite(each.z)
            self._tell(trainer, each.detector, later=action == "rollback", what=each.what, value=value, z=z, **more)
        return answer

    def _undo(self, step: int, *, must: bool) -> Answer:
        """Return UNDO, or a rollback where several turns in a row are amiss: then the weights are what is wrong."""
        if self.decisions.undo(step) <= _MOST_UNDONE:
            return Action.UNDO
        kept = self._processes.from_first(self.ring.newest(step - 1))
        if kept is None or (not must and self.decisions.rollbacks >= _MOST_ROLLBACKS):
            return Action.UNDO if must else None
        self.decisions.go_back(step)
        since = [each for each in self.norms if kept.step <= each[0] < step]
        epoch, number = (int(each) for each in (max(since, key=lambda each: each[3])[1:3] if since else self.place))
        return GoBack(kept.checkpoint, kept.best, (epoch, number))

    def _to_the_start(self, trainer: TrainerView) -> Answer:
        """Return a rollback to the start, without a step from it: the rows are left out from there on."""
        kept = self._processes.from_first(self.ring.start())
        assert kept is not None, "there was one when this was decided"
        self._tell(trainer, "trigger", later=True, action="rollback")
        return GoBack(kept.checkpoint, kept.best, None)

    def _learnt(self, trainer: TrainerView, why: str) -> None:
        """Tell that the run has learnt from rows with a trigger, and does not begin again without them."""
        self._tell(trainer, "trigger", action="observed")
        logger.warning(
            "sentinel: the run has learnt from rows with a trigger and does not begin again without them: %s. Train "
            "again with callbacks.sentinel.quarantine: %s", why, self.ledger.path,
        )  # fmt: skip

    def _verify(self, before: int) -> None:
        # One from before an alarm waits again, from the alarm on.
        if self.mode == "act" and before > self.last_alarm:
            self.ring.verify(self.step, before=before)

    def _of_all_rows(self, grad_norm: torch.Tensor) -> tuple[float, dict[str, float]]:
        """Return the gradient norm, and the mean loss of each task over the step's labels, heads alike."""
        own = {
            task: (torch.stack([each.sum() for each, _ in parts]).sum().cpu(), float(sum(n.sum() for _, n in parts)))
            for task, parts in self._losses.items()
        }
        everyone = self._processes.gathered((float(grad_norm), own))
        means: dict[str, float] = {}
        for task in dict.fromkeys(task for _, found in everyone for task in found):
            sums, counts = zip(*(found[task] for _, found in everyone if task in found), strict=True)
            means[task] = float(torch.stack(sums).sum() / max(sum(counts), 1))
        return everyone[0][0], means

    def _broken_rows(self) -> list[str]:
        """Return the ids of rows whose logits are not finite, or else those of the turn, the first ones."""
        found = []
        for batch, outputs in self._seen:
            for output in outputs.values():
                for logits in output.logits.values():
                    if len(logits) == len(batch.sample_ids):
                        bad = ~logits.isfinite().flatten(1).all(1)
                        found += [batch.sample_ids[at] for at in bad.nonzero().flatten().tolist()]
        everyone = self._processes.gathered((found, self._ids))
        broken, all_rows = ([row for each in lists for row in each] for lists in zip(*everyone, strict=True))
        return list(dict.fromkeys(broken or all_rows))[:_SHOWN]

    # --------------------------------------------------------------------------------------------------------- keeping

    def _settle(self, trainer: TrainerView) -> None:
        """Forget what comes after this step, where the run begins, or goes on from a checkpoint.

        At once: an epoch may end, and a checkpoint be saved, before the next step.
        """
        step = trainer.state.step
        if step == 0:
            self.decisions.at_start()
        self.ledger.cut(step)
        self.ring.forget_after(step)
        if self._memory is None:
            self.rows.begin(trainer)
        else:
            self.rows.restore(trainer, self._memory)
            self._memory = None
        self.rows.leave_out(trainer, self.ledger)
        for record in self._later:
            trainer.tell("sentinel", **record)
        self._later = []

    def _tell(self, trainer: TrainerView, detector: str, *, later: bool = False, **more: Any) -> None:
        """Note an event in the sentinel's own file, which nothing takes back, in metrics.jsonl, and on the terminal.

        later: into metrics.jsonl once the run has gone back, which takes its lines back.
        """
        record = {"detector": detector, "found_at": trainer.state.step, **more}
        if later:
            self._later.append(record)
        else:
            trainer.tell("sentinel", **record)
        if not self._processes.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / EVENTS
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": trainer.state.step, **record}, ensure_ascii=False, allow_nan=False) + "\n")
        logger.warning("sentinel: step %d: %s", trainer.state.step, ", ".join(f"{k} {v}" for k, v in record.items()))


def _teaches(output: TaskOutput) -> bool:
    """Return whether a task learns anything of what it said: from a label, a teacher, or a loss of its own."""
    return output.teacher_loss is not None or output.count is None or bool(output.count.sum() > 0)


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
