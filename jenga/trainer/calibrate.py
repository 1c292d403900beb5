"""What tasks learn apart from the gradient: from passes over the training rows, and from the validation rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from jenga.rows.batches import Source
from jenga.tasks.base import Stage
from jenga.trainer.evaluate import Runner


def observe(runner: Runner, sources: Sequence[Source], stage: Stage) -> None:
    """Show the training rows, in their order, to every task that wants to see them at `stage`.

    Without gradients and in evaluation mode, which draws no random number, so that a resumed run stays what it was.
    """
    model = runner.model
    was_training = model.training
    for source in sources:
        observers = {name: model.tasks[name].observer(stage) for name in source.tasks}
        watching = {name: observer for name, observer in observers.items() if observer is not None}
        if not watching:
            continue
        part = source.splits["train"]
        model.eval()
        with torch.no_grad():
            size = runner.size_for(source.tasks[0])
            for start in range(0, len(part), size):
                runner.on_batch()
                batch = part.batch(range(start, min(start + size, len(part)))).to(runner.device)
                with runner.autocast():
                    views = model.encode(batch.inputs, list(watching))
                for name, observer in watching.items():
                    observer.see(views[name], batch.labels[name])
            for observer in watching.values():
                observer.finish()
    model.train(was_training)


def calibrate(runner: Runner, sources: Sequence[Source]) -> list[str]:
    """Let every task that wants to fit its scores to the validation rows do so; return warnings.

    Where a source has no validation rows, its training rows stand in for them, with a warning.
    """
    tasks = runner.model.tasks
    wanting = [source for source in sources if any(tasks[name].calibrated for name in source.tasks)]
    warnings = []
    for split in ("valid", "train"):
        there = [source for source in wanting if split == ("valid" if _rows(source, "valid") else "train")]
        found = runner.evaluate(there, split)
        for (name, head), scores in found.scores.items():
            if not tasks[name].calibrated:
                continue
            if split == "train":
                warnings.append(
                    f"head '{name}.{head}': there are no validation rows, so its threshold and calibration come from "
                    "the training rows; expect more false alarms elsewhere"
                )
            warnings += tasks[name].calibrate(found.spaces[name, head], scores, found.targets[name, head])
    return warnings


def _rows(source: Source, split: str) -> int:
    return len(source.splits[split]) if split in source.splits else 0
