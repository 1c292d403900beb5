"""continual.json: what a model knows of every stage after each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from jenga.callbacks import BaseCallback
from jenga.continual.judging import Judged, Scores, judged_heads, model_scores, one_score
from jenga.continual.place import Place
from jenga.continual.prototypes import prototype_scores
from jenga.continual.summary import FILE, summary
from jenga.files import write_atomic
from jenga.model import MultiTaskModel
from jenga.trainer import Trainer
from jenga.trainer.calibrate import observe
from jenga.trainer.evaluate import Runner

_FORMAT = 1


class Recorded(TypedDict):
    """Scores by head: of every stage before the first step, and after each stage that is done; those of prototypes."""

    before: list[Scores]
    after: list[list[Scores]]
    prototypes: list[list[Scores]] | None


class ContinualRecord(BaseCallback[Recorded]):
    """Judges the model on the rows of every stage after each of them, and writes it to the run's folder.

    Raises ConfigError as `judged_heads` does.
    """

    def __init__(self, place: Place, model: MultiTaskModel, *, prototypes: bool) -> None:
        self.place, self.prototypes = place, prototypes
        self.heads = judged_heads(place.stages, place.sources, model)
        self.recorded: Recorded = {"before": [], "after": [], "prototypes": None}

    def on_epoch_begin(self, trainer: Any, epoch: int, **kwargs: Any) -> None:
        """Judge what knows nothing yet, and the prototypes, whose encoder is that of before the training."""
        if self.recorded["before"]:
            return
        with self._judging(trainer) as runner:
            judged = (runner, self.place.stages, self.heads, self.place.sources)
            self.recorded["before"] = model_scores(*judged)
            self.recorded["prototypes"] = prototype_scores(*judged) if self.prototypes else None

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: dict[str, float], **kwargs: Any) -> None:
        """Where a stage ends, judge the model on all of them."""
        stage = self.place.ending(epoch)
        if stage is None:
            return
        with self._judging(trainer) as runner:
            scores = model_scores(runner, self.place.stages, self.heads, self.place.sources)
        self.recorded["after"] = [*self.recorded["after"][:stage], scores]
        if trainer.processes.first:
            write_record(trainer.folder, self.described())

    @contextmanager
    def _judging(self, trainer: Trainer) -> Iterator[Runner]:
        with trainer.judging() as runner:
            observe(runner, list(self.place.sources.values()), "evaluation")
            yield runner

    def described(self) -> dict[str, Any]:
        """Return the content of continual.json."""
        stages, heads = self.place.stages, self.heads
        greater = bool(heads[0][0].metric.greater_is_better)
        before = [one_score(each) for each in self.recorded["before"]]
        known = known_stages(heads)
        prototypes = self.recorded["prototypes"]
        return {
            "format": _FORMAT,
            "stages": [
                {"name": stage.name, "epochs": stage.epochs, "rows": sum(map(len, stage.rows.values())),
                 "judged_rows": sum(len(rows) for _, rows in stage.judged.values()),
                 "split": "+".join(dict.fromkeys(split for split, _ in stage.judged.values())),
                 "heads": [head.name for head in own]}
                for stage, own in zip(stages, heads, strict=True)
            ],
            "metric": " and ".join(dict.fromkeys(head.metric.name for own in heads for head in own)),
            "greater_is_better": greater,
            "before": before,
            **_table(self.recorded["after"], greater, before, known),
            "heads": self.recorded["after"],
            "baselines": {} if prototypes is None else {"prototypes": _table(prototypes, greater, None, ())},
        }  # fmt: skip

    def state_dict(self) -> Recorded:
        """Return all scores."""
        return self.recorded

    def load_state_dict(self, state: Recorded) -> None:
        """Go on from these scores."""
        self.recorded = state


def known_stages(heads: Sequence[Sequence[Judged]]) -> list[int]:
    """Return the stages all of whose heads an earlier one has trained."""
    seen: set[str] = set()
    found = []
    for number, own in enumerate(heads):
        names = {head.name for head in own}
        if names <= seen:
            found.append(number)
        seen |= names
    return found


def write_record(run: Path, content: Mapping[str, Any]) -> None:
    """Write continual.json into the folder of a run."""
    write_atomic(run / FILE, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _table(
    scores: Sequence[Sequence[Scores]], greater: bool, before: Sequence[float | None] | None, known: Sequence[int]
) -> dict[str, Any]:
    matrix = [[one_score(each) for each in row] for row in scores]
    return {"matrix": matrix, "summary": summary(matrix, greater_is_better=greater, before=before, known=known)}
