"""The rows that a sentinel watches: what is said of them early on, what drifts, and which are set aside."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict

import torch

from jenga.callbacks.base import TrainerView
from jenga.config.training import resolved
from jenga.processes import Processes
from jenga.rows.batches import Key, Source
from jenga.sentinel.drift import class_heads, of_counts
from jenga.sentinel.early import MOST_CELLS, EarlyProbabilities
from jenga.sentinel.ledger import Entry, Ledger
from jenga.sentinel.masks import rows_aside
from jenga.sentinel.settings import Mode
from jenga.sentinel.suspects import Caps, rows_with_triggers, within_caps, wrong_labels
from jenga.types import Batch, TaskOutput

logger = logging.getLogger(__name__)

Tell = Callable[..., None]
"""Notes an event: the trainer, a detector, and whatever is told."""


_TOGETHER = 16
"""Steps that are taken in at once."""


class _Noted(NamedTuple):
    """What was said of a batch by a head: its rows, ``logits (B, K)`` and ``labels (B,)``."""

    rows: list[int]
    logits: torch.Tensor
    labels: torch.Tensor


class RowsMemory(TypedDict):
    """What is kept of a stage: probabilities of its early epochs by head, whether triggers need no other look, the rows
    that were learnt from by source, and answers of this epoch."""

    stage: int
    early: dict[str, Any]
    searched: bool
    seen: dict[str, torch.Tensor]
    answers: dict[str, list[torch.Tensor]]


class _Place(NamedTuple):
    """An epoch by its stage and its number in it, both from 0, and how many that has."""

    stage: int
    epoch: int
    epochs: int


class WatchedRows:
    """Keeps what is said of each row, and notes in a ledger what detectors speak against.

    early_epochs: None: told by how learning goes. Heads are those with one class a row. Each stage of a training has
    early epochs of its own, and begins anew.
    """

    def __init__(
        self, *, mode: Mode, label_errors: bool, early_epochs: int | None, triggers: bool, caps: Caps, drift_psi: float,
        tell: Tell,
    ) -> None:  # fmt: skip
        self.mode, self.label_errors, self.early_epochs, self.triggers = mode, label_errors, early_epochs, triggers
        self.caps, self.drift_psi, self._tell = caps, drift_psi, tell
        self.early: dict[str, EarlyProbabilities] = {}
        self.searched = False
        self.stage = 0
        self.seen: dict[str, torch.Tensor] = {}
        self.answers: dict[str, list[torch.Tensor]] = {}
        self._heads: dict[str, list[Key]] = {}
        self._noted: dict[str, list[_Noted]] = {}
        self._learnt: dict[str, list[int]] = {}
        self._steps = 0
        self._processes = Processes()

    def begin(self, trainer: TrainerView) -> None:
        """Make room for what is said of each row, where it can be held."""
        self.early, self.searched, self._processes = {}, False, trainer.processes
        self.seen = {name: torch.zeros(len(each.splits["train"]), dtype=torch.bool)
                     for name, each in trainer.sources.items()}  # fmt: skip
        for source in trainer.sources.values() if self.label_errors else ():
            split = source.splits["train"]
            for key in _learnt_heads(trainer, source):
                rows, classes = len(split.rows), split.spaces[key].size
                if split.encoded.packed or trainer.model.tasks[key[0]].by_position:
                    continue
                if rows * classes > MOST_CELLS:
                    logger.warning(
                        "sentinel: wrong labels of %s.%s are not looked for: %s rows of %s classes are more than %s "
                        "numbers; jenga audit looks for them before a training",
                        *key, f"{rows:,}", f"{classes:,}", f"{MOST_CELLS:,}",
                    )  # fmt: skip
                    continue
                self.early[_name(source.name, key)] = EarlyProbabilities(rows, classes)

    def begin_epoch(self, trainer: TrainerView, epoch: int) -> None:
        """Count answers anew, and all else where a stage begins."""
        self.answers = {}
        if (stage := _place(trainer, epoch).stage) != self.stage:
            self._take_in()
            self.begin(trainer)
            self.stage, self.answers = stage, {}

    def note(self, trainer: TrainerView, batch: Batch, outputs: Mapping[str, TaskOutput]) -> None:
        """Take in what was said of a batch of a step that was taken."""
        self._learnt.setdefault(batch.source, []).extend(batch.rows)
        if (heads := self._heads.get(batch.source)) is None:
            heads = self._heads[batch.source] = class_heads(trainer.sources[batch.source])
        for key in heads:
            logits = outputs[key[0]].logits.get(key[1]) if key[0] in outputs else None
            if logits is not None and logits.ndim == 2:
                noted = _Noted(batch.rows, logits, batch.labels[key[0]][key[1]])
                self._noted.setdefault(_name(batch.source, key), []).append(noted)

    def end_step(self) -> None:
        """Count a step, whether this process had rows of it or not."""
        self._steps += 1
        if self._steps >= _TOGETHER:
            self._take_in()

    def _gather(self) -> None:
        """Let all processes have what each has noted."""
        if self._processes.size == 1:
            return
        own = {
            name: [_Noted(each.rows, each.logits.cpu(), each.labels.cpu()) for each in noted]
            for name, noted in self._noted.items()
        }
        everyone = self._processes.gathered((own, self._learnt))
        self._noted, self._learnt = {}, {}
        for noted, learnt in everyone:
            for name, found in noted.items():
                self._noted.setdefault(name, []).extend(found)
            for source, rows in learnt.items():
                self._learnt.setdefault(source, []).extend(rows)

    def _take_in(self) -> None:
        """Count what was noted, and keep it while the early epochs last: many batches at once cost what one does."""
        self._gather()
        for source, rows in self._learnt.items():
            self.seen[source][rows] = True
        for name, noted in self._noted.items():
            rows = [row for each in noted for row in each.rows]
            logits = torch.cat([each.logits for each in noted]).float()
            labels = torch.cat([each.labels for each in noted]).to(logits.device)
            sound = logits.isfinite().all(1)
            if not sound.all():
                rows = [row for row, kept in zip(rows, sound.tolist(), strict=True) if kept]
                logits, labels = logits[sound], labels[sound]
            if (early := self.early.get(name)) is not None and rows:
                early.add(rows, logits, labels)
            known, size = labels >= 0, logits.shape[1]
            counts = [torch.bincount(each[known], minlength=size).cpu() for each in (logits.argmax(-1), labels)]
            before = self.answers.get(name)
            self.answers[name] = counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        self._noted, self._learnt, self._steps = {}, {}, 0

    def end_epoch(self, trainer: TrainerView, ledger: Ledger, epoch: int) -> list[Entry]:
        """Compare answers with labels; once the early epochs are over, look for wrong labels and triggers.

        Returns the rows with a trigger that are set aside from now on.
        """
        self._take_in()
        _, epoch, epochs = _place(trainer, epoch)
        if epoch:
            self._compare(trainer)
        over = [
            name for name, each in self.early.items() if each.end_epoch(most_epochs=epochs, given=self.early_epochs)
        ]
        for name in over:
            source, task, head = json.loads(name)
            cells, step = ledger.cells(source), trainer.state.step
            early, first = self.early.pop(name), self._processes.first
            found = wrong_labels(trainer.sources[source], (task, head), early, cells, step) if first else []
            found = self._processes.from_first(found)
            self._set_aside(trainer, ledger, source, (task, head), found)
        # Once the model may have learnt one, and once more while there are steps left to do without.
        if not self.triggers or self.searched or not (over or epoch >= epochs - 2):
            return []
        self.searched = epoch >= epochs - 2
        return self._look_for_triggers(trainer, ledger)

    def leave_out(self, trainer: TrainerView, ledger: Ledger) -> None:
        """Let training go without the rows that are set aside in whole, from the next step on."""
        unlabelled = _unlabelled(trainer)
        for name, source in trainer.sources.items():
            split = source.splits["train"]
            split.left_out = rows_aside(split, ledger.cells(name), unlabelled)

    def state(self) -> RowsMemory:
        """Return what `restore` takes."""
        self._take_in()
        early = {name: each.state() for name, each in self.early.items()}
        return {
            "stage": self.stage, "early": early, "searched": self.searched, "seen": self.seen, "answers": self.answers
        }  # fmt: skip

    def restore(self, trainer: TrainerView, state: RowsMemory) -> None:
        """Go on from what `state` returned."""
        self._noted, self._learnt, self._steps = {}, {}, 0
        self.begin(trainer)
        self.early = {name: each for name, each in self.early.items() if name in state["early"]}
        for name, each in self.early.items():
            each.restore(state["early"][name])
        self.stage, self.searched, self.answers = state["stage"], state["searched"], state["answers"]
        self.seen = {name: each.clone() for name, each in state["seen"].items()}

    def _compare(self, trainer: TrainerView) -> None:
        for name, (said, given) in self.answers.items():
            psi = of_counts(given.numpy(), said.numpy())
            if psi is not None and psi > self.drift_psi:
                _, task, head = json.loads(name)
                what = f"answers of {task}.{head}, from its labels"
                self._tell(trainer, "drift", what=what, psi=round(psi, 4), action="observed")

    def _look_for_triggers(self, trainer: TrainerView, ledger: Ledger) -> list[Entry]:
        device = next(trainer.model.parameters()).device

        def forward(inputs: dict[str, torch.Tensor], tasks: list[str]) -> Mapping[str, TaskOutput]:
            trainer.model.eval()  # the loop sees to it that it trains again
            with torch.no_grad():
                found: Mapping[str, TaskOutput] = trainer.model(
                    {name: each.to(device) for name, each in inputs.items()}, tasks
                )
            return found

        aside: list[Entry] = []
        for source in trainer.sources.values():
            for key in _learnt_heads(trainer, source):
                cells, seen = ledger.cells(source.name), self.seen[source.name].numpy()
                # All look, since parted weights need all; the last bits may differ.
                found = rows_with_triggers(source, key, forward, cells, trainer.state.step, seen=seen)
                found = self._processes.from_first(found)
                if found:
                    aside += self._set_aside(trainer, ledger, source.name, key, found)
        return aside

    def _set_aside(
        self, trainer: TrainerView, ledger: Ledger, source: str, key: Key, entries: Sequence[Entry]
    ) -> list[Entry]:
        """Note `entries` as the mode and the caps allow, tell of them, and return those that are set aside now."""
        taken = [
            each for each in ledger.entries
            if each.source == source and each.state == "quarantined" and (each.task, each.head) in (key, (None, None))
        ]  # fmt: skip
        entries = within_caps(entries, trainer.sources[source], key, taken, self.caps)
        beyond = [each for each in entries if each.state == "observed"]
        if self.mode == "observe":
            entries = [replace(each, state="observed") for each in entries]
        new = ledger.add(entries)
        if not new:
            return []
        aside = [each for each in new if each.state == "quarantined"]
        self._tell(
            trainer, new[0].detector, source=source, task=key[0], head=key[1], rows=len(new), quarantined=len(aside),
            action="quarantined" if aside else "observed",
        )  # fmt: skip
        if beyond and self.mode != "observe":
            logger.warning(
                "sentinel: %d rows of %s.%s that a detector speaks against (%s) are not set aside: they would be more "
                "than callbacks.sentinel.max_fraction or max_class_fraction; look at them in %s",
                len(beyond), *key, new[0].detector, ledger.path,
            )  # fmt: skip
        return aside


def _place(trainer: TrainerView, epoch: int) -> _Place:
    """Return where `epoch` of a run is; of one that has no stages its length is told by its steps."""
    config = trainer.config
    if not config.stages:
        return _Place(0, epoch, max(1, round(trainer.total_steps * (epoch + 1) / max(trainer.state.step, 1))))
    lengths = [stage.epochs or resolved(config.training).epochs for stage in config.stages]
    stage = next((at for at, end in enumerate(accumulate(lengths)) if epoch < end), len(lengths) - 1)
    return _Place(stage, epoch - sum(lengths[:stage]), lengths[stage])


def _unlabelled(trainer: TrainerView) -> set[str]:
    """Return the tasks that learn from rows without a label, as ones that are normal."""
    tasks: Any = trainer.model.tasks
    return {name for name in tasks if not tasks[name].needs_labels(tasks[name].config)}


def _learnt_heads(trainer: TrainerView, source: Source) -> list[Key]:
    """Return the heads with one class a row whose tasks learn these classes."""
    unlabelled = _unlabelled(trainer)
    return [key for key in class_heads(source) if key[0] not in unlabelled]


def _name(source: str, key: Key) -> str:
    return json.dumps([source, *key], ensure_ascii=False)
