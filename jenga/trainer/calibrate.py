"""What tasks learn apart from the gradient: from passes over the training rows, and from the validation rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from jenga.rows.batches import Source
from jenga.tasks.base import Stage
from jenga.trainer.evaluate import Runner
from jenga.trainer.judged import Judged, batch_norms

_NORM_BATCHES = 32


def observe(runner: Runner, sources: Sequence[Source], stage: Stage) -> None:
    """Show the training rows that are learnt from, in their order, to every task that wants to see them at `stage`.

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
        rows = part.learnt
        model.eval()
        with torch.no_grad():
            size = runner.size_for(source.tasks[0])
            for start in range(0, len(rows), size):
                runner.on_batch()
                batch = part.batch(rows[start : start + size].tolist()).to(runner.device)
                with runner.autocast():
                    views = model.encode(batch.inputs, list(watching))
                for name, observer in watching.items():
                    observer.see(views[name], batch.labels[name])
            for observer in watching.values():
                observer.finish()
    model.train(was_training)


@contextmanager
def judged(weights: Judged, runner: Runner, sources: Iterable[Source]) -> Iterator[None]:
    """Let the weights that are judged and saved stand in the model of `runner`, with statistics that are theirs."""
    with weights.shown() as changed:
        # A moving average has one of the statistics too.
        if changed and weights.swapping is not None:
            settle_norms(runner, sources)
        yield


def settle_norms(runner: Runner, sources: Iterable[Source]) -> None:
    """Give batch normalisation the statistics of the weights that stand in the model now, over training rows.

    It kept those of the trained weights, which are wrong for others (Izmailov et al. 2018, section 3.2). Of each source
    up to 32 batches, spread over its rows, are looked at; nothing but these layers is in training mode.
    """
    norms = batch_norms(runner.model).values()
    if not norms:
        return
    runner.model.eval()
    momenta = [each.momentum for each in norms]
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # a plain mean over all batches
        each.train()
    with torch.no_grad(), runner.autocast():
        for source in sources:
            part, size = source.splits["train"], runner.size_for(source.tasks[0])
            rows = part.learnt
            count = min(_NORM_BATCHES, -(-len(rows) // size))
            for at in range(count):
                batch = part.batch(rows[at::count][:size].tolist()).to(runner.device)
                runner.model(batch.inputs, source.tasks)
    for each, momentum in zip(norms, momenta, strict=True):
        each.momentum = momentum
    runner.model.eval()


def calibrate(
    runner: Runner, sources: Sequence[Source], *, heads: Collection[tuple[str, str]] | None = None
) -> list[str]:
    """Let every task that wants to fit its scores to the validation rows do so; return warnings.

    Where a source has no validation rows, its training rows stand in for them, with a warning. heads: (task, head), to
    leave others as they are; default: all.
    """
    tasks = runner.model.tasks
    wanting = [source for source in sources if any(tasks[name].calibrated for name in source.tasks)]
    warnings = []
    for split in ("valid", "train"):
        there = [source for source in wanting if split == ("valid" if _rows(source, "valid") else "train")]
        found = runner.evaluate(there, split)
        for (name, head), scores in found.scores.items():
            if not tasks[name].calibrated or (heads is not None and (name, head) not in heads):
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
