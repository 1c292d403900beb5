"""The rows of a split whose answers are the most wrong, with what stands in them, beside its metrics."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jenga.files import atomic_file
from jenga.labels import kind_named
from jenga.labels.base import Errors
from jenga.labels.judge import labelled_rows
from jenga.modalities import Encoder
from jenga.modalities.base import Shown
from jenga.rows.batches import EncodedSplit, Source
from jenga.tasks import BaseTask
from jenga.trainer.evaluate import HeadKey, Runner, SplitResult
from jenga.trainer.mattered import Mattered, mattered
from jenga.types import HeadSpace

logger = logging.getLogger(__name__)

FOLDER = "worst"
"""In the folder of a run: the pictures of what its evaluation.json names."""
MOST_PARTS = 20
"""Tokens of a row that are marked as those that mattered."""
_BATCH_SIZE = 8
"""Rows of a pass with gradients at most: it needs several times the memory of one without."""
TEXT_LENGTH = 1000
"""Characters that are shown of a row."""


def add_worst(
    description: dict[str, Any], runner: Runner, result: SplitResult, inputs: Mapping[str, Encoder],
    sources: Sequence[Source], split: str, *, most: int, run: Path | None,
) -> None:  # fmt: skip
    """Add to the details of each head that has errors ``worst``: up to `most` rows, the worst first.

    Each is ``{"id", "error", "expected", "answer", "text", "pictures"}``, the pictures by their paths in the folder
    `run`, which they are written to; None: without pictures. Where labels are of parts of the text, ``"spans"`` has
    those that are ``"expected"`` and those of the ``"answer"``. ``"mattered"`` has the parts of the text that speak
    most for the answer, and ``"attention"`` those that the fusion looks at, where they can be told (see
    `jenga.trainer.mattered`). inputs: what made inputs of the rows of `sources`, by the name of their encoder.
    description: what `describe_split` gave for `split`.
    """
    if not most:
        return
    described = {(head["task"], head["head"]): head for head in description["heads"]}
    for source in sources:
        part = source.splits.get(split)
        if part is None:
            continue
        for key in part.spaces:
            if key not in result.errors:
                continue
            errors = result.errors[key]
            at = worst_rows(errors, most)
            found = _written(runner.model.tasks[key[0]], result, key, part, at)
            why = _why(runner, part, result.spaces[key], at)
            for place, (row, each) in enumerate(zip(at, found, strict=True)):
                shown = inputs[source.encoder].shown(part.rows.content, row)
                if why is not None and shown.places:
                    each["mattered"] = _strongest(why.shares[place], shown)
                    if why.attention is not None:
                        each["attention"] = _strongest(why.attention[place], shown)
                each |= {
                    "text": shown.text[:TEXT_LENGTH],
                    "pictures": _kept(shown, run, f"{split}-{source.name}-{row}"),
                }
            described[key]["details"]["worst"] = {"error": errors.name, "rows": found}


def _why(runner: Runner, part: EncodedSplit, space: HeadSpace, at: Sequence[int]) -> Mattered | None:
    """Return what `mattered` tells; where its pass fails, as for want of memory, None: a run is not to end of it."""
    size = min(_BATCH_SIZE, runner.size_for(space.task))
    try:
        return mattered(
            runner.model, part, space, at, batch_size=size, device=runner.device, autocast=runner.autocast
        )  # fmt: skip
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        logger.warning(
            "%s.%s: what its worst answers rest on cannot be told, and the report shows these rows unshaded: %s",
            space.task, space.head, reason,
        )  # fmt: skip
        return None


def _strongest(weights: np.ndarray, shown: Shown) -> list[list[float]]:
    """Return ``[start, end, weight]`` of the characters with the greatest weights, as shares of the greatest one."""
    places = list(shown.places)
    # What was cut off has no weight; a last token that ends the row stands for none of its characters.
    places = places if len(places) == len(weights) else places[: len(weights) - 1]
    kept = [
        (start, min(end, TEXT_LENGTH), float(weight))
        for (start, end), weight in zip(places, weights.tolist(), strict=False)
        if start < min(end, TEXT_LENGTH)
    ]
    kept = sorted(kept, key=lambda each: -each[2])[:MOST_PARTS]
    most = max((weight for *_, weight in kept), default=0.0)
    return [[start, end, round(weight / most, 3)] for start, end, weight in sorted(kept)] if most > 0 else []


def rows_apart(result: SplitResult) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by task and head which rows are answered wrongly, by their places, and how wrongly; ready for JSON.

    Without the heads whose answers are not right or wrong, but off by some distance.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (task, head), errors in result.errors.items():
        if errors.distance:
            continue
        at = np.flatnonzero(errors.sizes > 0)
        wrong = {"at": at.tolist(), "sizes": [float(f"{size:.4g}") for size in errors.sizes[at].tolist()]}
        rows = labelled_rows(result.spaces[task, head], result.targets[task, head])
        found.setdefault(task, {})[head] = {"rows": rows, "error": errors.name, "wrong": wrong}
    return found


def worst_rows(errors: Errors, most: int) -> list[int]:
    """Return the places of the rows with the greatest errors, the greatest first; of equal ones the first."""
    order = np.argsort(-errors.sizes, kind="stable")[:most]
    return [row for row in order.tolist() if errors.sizes[row] > 0]


def _written(
    task: BaseTask, result: SplitResult, key: HeadKey, part: EncodedSplit, at: Sequence[int]
) -> list[dict[str, Any]]:
    predictions, targets = ([column[row] for row in at] for column in (result.predictions[key], result.targets[key]))
    if not at:
        return []
    rows, space = part.rows.content.take(np.asarray(at)), result.spaces[key]
    found = [
        {
            "id": part.rows.ids[row],
            "error": float(result.errors[key].sizes[row]),
            "expected": expected,
            "answer": answer,
        }
        for row, (expected, answer) in zip(at, task.written(space, predictions, targets, rows), strict=True)
    ]
    kind = kind_named(space.kind)
    expected, answered = (kind.spans(space, labels, rows) for labels in (targets, predictions))
    if expected is not None and answered is not None:
        for each, wanted, given in zip(found, expected, answered, strict=True):
            each["spans"] = {"expected": wanted, "answer": given}
    return found


def _kept(shown: Shown, run: Path | None, name: str) -> list[str]:
    """Write the pictures of a row, and return their paths in the folder of the run."""
    kept: list[str] = []
    if run is None:
        return kept
    for number, picture in enumerate(shown.pictures):
        path = Path(FOLDER, f"{name.replace('/', '-')}-{number}.png")
        (run / FOLDER).mkdir(exist_ok=True)
        with atomic_file(run / path) as file:
            file.write(picture)
        kept.append(path.as_posix())
    return kept
