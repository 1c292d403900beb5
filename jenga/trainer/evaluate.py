"""Judging a model on whole splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jenga.ahead import made_ahead
from jenga.certainty.head import Certainty
from jenga.errors import ConfigError, DataError, DivergedError, SetupError, suggest
from jenga.labels import kind_named
from jenga.labels.base import Errors
from jenga.labels.judge import labelled_rows
from jenga.labels.tables import stacked
from jenga.model import MultiTaskModel
from jenga.processes import Processes
from jenga.rows.batches import EncodedSplit, Source
from jenga.rows.budget import longest_within
from jenga.rows.order import longest_first
from jenga.tasks import BaseTask
from jenga.trainer.directions import SCORE, score_of
from jenga.trainer.slices import described, slices_of
from jenga.types import HeadSpace

HeadKey = tuple[str, str]
_Said = tuple[list[int], Mapping[HeadKey, "torch.Tensor | list[torch.Tensor]"]]


@dataclass
class SplitResult:
    """Predictions and losses over one split of every source.

    `metrics`: ``loss``, ``<task>_loss`` and ``<task>_<head>_<metric>``. The rest by (task, head), in the order of the
    rows; `scores` of heads whose task gives any: probabilities ``(M, K)`` of items, raw scores ``(M,)`` of anomalies.
    `judged_by_loss`: the metrics of language heads, which have nothing else. `errors` and `curves`: for a report.
    `raw` and `logits`: before and after calibration, where they are asked for.
    """

    rows: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    predictions: dict[HeadKey, Any] = field(default_factory=dict)
    targets: dict[HeadKey, Any] = field(default_factory=dict)
    scores: dict[HeadKey, np.ndarray] = field(default_factory=dict)
    spaces: dict[HeadKey, HeadSpace] = field(default_factory=dict)
    judged_by_loss: dict[HeadKey, dict[str, float]] = field(default_factory=dict)
    curves: dict[HeadKey, dict[str, Any]] = field(default_factory=dict)
    errors: dict[HeadKey, Errors] = field(default_factory=dict)
    raw: dict[HeadKey, Sequence[torch.Tensor]] = field(default_factory=dict)
    logits: dict[HeadKey, Sequence[torch.Tensor]] = field(default_factory=dict)


@dataclass
class Runner:
    """Runs a model over splits; shared by evaluation in training, at the end, and by the predictor.

    `batch_sizes`: rows of a forward pass, by encoder; `batch_tokens`: its most tokens, which count instead where rows
    are cut by length. `workers`: processes that make batches ahead. `processes`: share the batches, and have all
    answers in the end. `in_step`: whether each of them runs the model equally often.
    """

    model: MultiTaskModel
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    batch_sizes: Mapping[str, int]
    thresholds: Mapping[HeadKey, np.ndarray]
    on_batch: Callable[[], None] = lambda: None
    workers: int = 0
    processes: Processes = field(default_factory=Processes)
    in_step: bool = False
    certainty: Mapping[HeadKey, Certainty] = field(default_factory=dict)
    batch_tokens: Mapping[str, int] = field(default_factory=dict)

    def size_for(self, task: str) -> int:
        """Return the rows of a forward pass of what `task` reads."""
        return self.batch_sizes[self.model.reads[task]]

    def cut(self, split: EncodedSplit, task: str) -> Sequence[list[int]]:
        """Return the rows of each forward pass over `split`, which `task` reads, the longest first."""
        tokens = self.batch_tokens.get(self.model.reads[task])
        if tokens is None:
            return longest_first(split.lengths, self.size_for(task))
        return longest_within(split.lengths, tokens)

    def logits(
        self, split: EncodedSplit, tasks: Sequence[str], losses: dict[str, _LossSum] | None = None
    ) -> dict[HeadKey, Sequence[torch.Tensor]]:
        """Return each row's float32 logits by head: ``(K,)``, ``(W, K)`` where it reads tokens, ``(T, K)`` frames.

        Those of all rows are one tensor ``(M, K)`` where they are equally large, else a list. A word without a token of
        its own (cut off, or merged into the one before) gets NaN.
        """
        cut = self.cut(split, tasks[0])
        own = self.processes.share(cut)
        idle = -(-len(cut) // self.processes.size) - len(own) if self.in_step else 0
        said: Iterable[_Said] = self._said(split, tasks, own, losses, idle=list(cut[-1:]) * idle)
        if self.processes.size > 1:
            said = [each for of_process in self.processes.gathered(list(said)) for each in of_process]
            if losses is not None:
                losses |= _LossSum.joined(self.processes.gathered(losses))
        found: dict[HeadKey, Any] = {}
        for index, answers in said:
            for (task, head), exact in answers.items():
                if isinstance(exact, torch.Tensor):
                    if (task, head) not in found:
                        found[task, head] = exact.new_empty((len(split), *exact.shape[1:]))
                    found[task, head][index] = exact
                    continue
                rows = found.setdefault((task, head), [torch.empty(0)] * len(split))
                for row, each in zip(index, exact, strict=True):
                    rows[row] = each
        return found

    def _said(
        self,
        split: EncodedSplit,
        tasks: Sequence[str],
        cut: Sequence[list[int]],
        losses: dict[str, _LossSum] | None,
        *,
        idle: Sequence[list[int]],
    ) -> Iterator[_Said]:
        """Yield the rows of each batch in `cut`, and their logits by head; a list where they differ in size.

        idle: batches that are run after them, and of which nothing is told.
        """
        tokens = split.encoded.tokens
        self.model.eval()
        # What is gathered of parted weights, in place, is for training too.
        mode = torch.no_grad() if self.in_step else torch.inference_mode()
        with mode, self.processes.watched(), made_ahead(split.batch, cut, workers=self.workers) as batches:
            for index in cut:
                self.on_batch()
                batch = next(batches).to(self.device)
                with self.autocast():
                    outputs = self.model(batch.inputs, tasks, batch.labels if losses is not None else None)
                answers: dict[HeadKey, torch.Tensor | list[torch.Tensor]] = {}
                for task, output in outputs.items():
                    if losses is not None:
                        losses[task].add(output.loss_sum, output.count, output.loss, len(index))
                    for head, logits in output.logits.items():
                        exact = logits.float().cpu()
                        answers[task, head] = exact
                        if self.model.tasks[task].by_position:
                            by_word = tokens is not None and self.model.tasks[task].reads == "tokens"
                            answers[task, head] = [
                                _by_word(each, tokens.words(row)) if by_word and tokens is not None else each
                                for row, each in zip(index, exact.unbind(), strict=True)
                            ]
                yield index, answers
            for index in idle:
                with self.autocast():
                    self.model(split.batch(index).to(self.device).inputs, tasks)

    def calibrated(self, logits: Mapping[HeadKey, Sequence[torch.Tensor]]) -> dict[HeadKey, Sequence[torch.Tensor]]:
        """Return what `logits` gave with the calibration of each head that has one; all probabilities are of these."""
        plain = Certainty()
        return {key: self.certainty.get(key, plain).calibrated(rows) for key, rows in logits.items()}

    def predictions(self, logits: Mapping[HeadKey, Sequence[torch.Tensor]]) -> dict[HeadKey, Any]:
        """Decode `logits`: arrays over rows; for tags a list of int64 arrays over words, O where there is no token."""
        decoded: dict[HeadKey, Any] = {}
        for (task_name, head), rows in logits.items():
            task: BaseTask = self.model.tasks[task_name]
            if task.by_position:
                decoded[task_name, head] = [task.predict(head, row) for row in rows]
            else:
                threshold = self.thresholds.get((task_name, head), 0.5)
                decoded[task_name, head] = task.predict(head, stacked(rows), threshold)
        return decoded

    def evaluate(
        self, sources: Sequence[Source], split: str, *, report: bool = False, logits: bool = False,
        known: SplitResult | None = None,
    ) -> SplitResult:  # fmt: skip
        """Run every source's `split` and judge every head by its task's metrics.

        report: tell how wrong the answer to each row is, and how they rank, too. logits: keep them, in a report those
        that tell how certain a head is. known: what was found of the same split with all its logits, which are not
        computed again.
        """
        result = SplitResult()
        weighted: list[float] = []
        for source in sources:
            part = source.splits.get(split)
            if part is None or not len(part):
                continue
            result.rows += len(part.rows)
            losses = {task: _LossSum() for task in source.tasks}
            raw = known.raw if known is not None else self.logits(part, source.tasks, losses)
            raw = {key: rows for key, rows in raw.items() if key[0] in source.tasks}
            found_logits = self.calibrated(raw)
            predictions = self.predictions(found_logits)
            for name in source.tasks:
                if known is None:
                    loss = losses[name].mean([head.weight for head in self.model.tasks[name].config.heads])
                else:
                    loss = known.metrics.get(f"{name}_loss")
                if loss is not None:
                    result.metrics[f"{name}_loss"] = loss
                    weighted.append(self.model.tasks[name].config.weight * loss)
            for key, space in part.spaces.items():
                task = self.model.tasks[space.task]
                if kind_named(space.kind).from_text:
                    found = task.metrics_of_loss(space, result.metrics[f"{space.task}_loss"])
                    result.judged_by_loss[key], result.spaces[key] = found, space
                    result.metrics |= {f"{space.task}_{space.head}_{name}": value for name, value in found.items()}
                    continue
                targets, said = part.rows.labels[key], found_logits[key]
                result.predictions[key], result.targets[key], result.spaces[key] = predictions[key], targets, space
                scores = None if task.by_position else task.scores(space.head, stacked(said))
                if scores is not None:
                    result.scores[key] = scores
                found = task.metrics(space, predictions[key], targets, scores=scores)
                result.metrics |= {f"{space.task}_{space.head}_{name}": value for name, value in found.items()}
                if report:
                    _add_figures(result, task, key, said)
                if logits and (not report or _tells_certainty(result, task, key, raw[key])):
                    result.raw[key], result.logits[key] = raw[key], said
        if weighted:
            result.metrics = {"loss": sum(weighted), **result.metrics}
        return result


def _add_figures(result: SplitResult, task: BaseTask, key: HeadKey, logits: Sequence[torch.Tensor]) -> None:
    space, targets = result.spaces[key], result.targets[key]
    if (sizes := task.errors(space, result.predictions[key], targets, logits)) is not None:
        result.errors[key] = sizes
    if (curves := task.curves(space, targets, logits)) is not None:
        result.curves[key] = curves


def _tells_certainty(result: SplitResult, task: BaseTask, key: HeadKey, raw: Sequence[torch.Tensor]) -> bool:
    """Whether `raw` logits are of use beyond the answers; those of each frame of hours of sound are large."""
    space, targets = result.spaces[key], result.targets[key]
    if task.evidence(space, raw, targets) is not None or task.unlikeness(space, raw, "energy") is not None:
        return True
    return task.strangeness(space, result.predictions[key], raw, targets) is not None


def valid_metrics(result: SplitResult, model: MultiTaskModel, metric: str, *, step: int) -> dict[str, float]:
    """Return the metrics of the validation rows, as evaluations in training name them.

    metric: that by which models are told apart; ``eval_score`` is there where it is that one. Raises DivergedError
    where one is not finite, DataError where `metric` is undefined.
    """
    metrics = {f"eval_{name}": value for name, value in _with_score(result, model, metric).items()}
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise DivergedError(f"step {step}: not finite: {', '.join(broken)}. The last checkpoint is unharmed")
    if metric not in metrics:
        raise DataError(f"evaluation.metric: '{metric}' is undefined on the validation rows (no labelled row)")
    return metrics


def _with_score(result: SplitResult, model: MultiTaskModel, metric: str) -> dict[str, float]:
    score = score_of(result.metrics, result.spaces.values(), model) if metric == SCORE else None
    return result.metrics if score is None else {**result.metrics, "score": score}


def describe_split(
    result: SplitResult, model: MultiTaskModel, sources: Sequence[Source], split: str, *, metric: str = "",
    slices: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return one split's part of evaluation.json: ``rows``, ``metrics`` and, with its tables, each of the ``heads``.

    metric: `evaluation.metric`; the head that it is of shows it first. slices: as of `evaluation.slices`.
    """
    heads = []
    for source in sources:
        part = source.splits.get(split)
        if part is None or not len(part):
            continue
        cut = slices_of(part, slices)
        for key, space in part.spaces.items():
            task = model.tasks[space.task]
            head = {"task": space.task, "head": space.head, "kind": space.kind, "labels": list(space.labels)}
            if kind_named(space.kind).from_text:
                found = result.judged_by_loss[key]
                judged = {"rows": len(part.rows), "metrics": found, "details": {"warnings": [], "answers": []}}
            else:
                targets = result.targets[key]
                known, scores = (space, result.predictions[key], targets), result.scores.get(key)
                details = task.details(*known, scores=scores)
                if key in result.curves:
                    details["curves"] = result.curves[key]
                if lines := described(task, space, cut, *known[1:], scores):
                    details["slices"] = lines
                metrics = task.metrics(*known, scores=scores)
                judged = {"rows": labelled_rows(space, targets), "metrics": metrics, "details": details}
            declared = task.declared_metrics(space)
            chosen = [each for each in declared if metric == f"eval_{space.task}_{space.head}_{each.name}"]
            primary = (chosen or declared)[0]
            shown = {"primary_metric": primary.name, "greater_is_better": primary.greater_is_better}
            directions = {each.name: each.greater_is_better for each in declared}
            heads.append({**head, **shown, "directions": directions, **judged, "baselines": {}})
    return {"rows": result.rows, "metrics": _with_score(result, model, metric), "heads": heads}


def choose_device(name: str) -> torch.device:
    """Return the device `name`: auto, cpu, cuda or mps. Raises SetupError where this machine does not have it."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(each for each in ("cuda", "mps", "cpu") if there[each]))
    if name not in there:
        raise ConfigError(f"device: unknown '{name}'{suggest(name, there)} Known: auto, {', '.join(there)}")
    if not there[name]:
        raise SetupError(f"device: this machine, or this build of torch, has no {name}; use auto or cpu")
    return torch.device(name)


def label_counts(batches: Sequence[Any], tasks: Any) -> dict[str, torch.Tensor]:
    """Return how many labels of each task's heads ``(N,)`` count in the loss of one optimizer step's micro-batches.

    tasks: by name, as in `MultiTaskModel.tasks`.
    """
    counts: dict[str, list[int]] = {}
    for batch in batches:
        for task, heads in batch.labels.items():
            found = tasks[task].count_labels(heads)
            counts[task] = [a + b for a, b in zip(counts.get(task, [0] * len(found)), found, strict=True)]
    return {task: torch.tensor(values, dtype=torch.float32) for task, values in counts.items()}


class _LossSum:
    """The loss of one task over a split: sums and counts by head, or the row-weighted mean of the task's own loss."""

    def __init__(self) -> None:
        self.sums: np.ndarray | None = None
        self.counts: np.ndarray | None = None
        self.own, self.rows = 0.0, 0

    def add(self, loss_sum: Any, count: Any, loss: torch.Tensor | None, rows: int) -> None:
        if loss_sum is not None:
            sums, counts = _exact(loss_sum), _exact(count)
            self.sums = sums if self.sums is None else self.sums + sums
            self.counts = counts if self.counts is None else self.counts + counts
        elif loss is not None:
            self.own += float(loss) * rows
            self.rows += rows

    @classmethod
    def joined(cls, found: Sequence[Mapping[str, _LossSum]]) -> dict[str, _LossSum]:
        """Return by task the losses of all processes."""
        whole = {task: cls() for task in found[0]}
        for each in found:
            for task, part in each.items():
                whole[task].add(part.sums, part.counts, None, 0)
                whole[task].own += part.own
                whole[task].rows += part.rows
        return whole

    def mean(self, head_weight: Sequence[float]) -> float | None:
        """Return the mean loss, or None when no label arrived (which is not a loss of 0)."""
        if self.sums is not None and self.counts is not None:
            labelled = self.counts > 0
            if not labelled.any():
                return None
            return float(
                (
                    np.asarray(head_weight)
                    * np.divide(self.sums, self.counts, out=np.zeros_like(self.sums), where=labelled)
                ).sum()
            )
        return self.own / self.rows if self.rows else None


def _exact(values: torch.Tensor | np.ndarray) -> np.ndarray:
    return values.double().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _by_word(logits: torch.Tensor, tokens: np.ndarray) -> torch.Tensor:
    words = torch.full((len(tokens), logits.shape[-1]), float("nan"))
    kept = np.flatnonzero(tokens >= 0)
    words[kept] = logits[tokens[kept]]
    return words
