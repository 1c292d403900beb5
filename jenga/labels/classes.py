"""One of K classes: int64 ``(M,)``, -100 where missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from jenga.config.strict import Fraction, PositiveFloat
from jenga.config.tasks import CalibrationMethod, HeadConfig
from jenga.errors import DataError
from jenga.labels.base import (
    LABEL_KINDS,
    Answers,
    Encoding,
    Errors,
    Estimators,
    LabelKind,
    Mask,
    Plausible,
    Question,
    Reader,
    Texts,
)
from jenga.labels.cells import MISSING, class_name, counted, folded
from jenga.labels.certain import Additive, Evidence, Unlike
from jenga.labels.class_cells import ClassReader, class_names
from jenga.labels.class_sums import class_sums
from jenga.labels.column import HeadColumn, show
from jenga.labels.curves import class_curves
from jenga.labels.forms import times, with_missing
from jenga.labels.metric import Metric
from jenga.labels.separators import find_separator
from jenga.labels.shapes import NUMBER, SHARE, TRUTH, Shape, list_of, one_of, record
from jenga.labels.tables import all_rounded, kappa, per_label, stacked
from jenga.labels.unseen import is_unseen, learnable
from jenga.types import IGNORE_INDEX, HeadSpace

_UNSEEN = "(a class of no training row)"
_MATRIX_CLASSES, _MOST_CONFUSED = 200, 1000
"""A matrix has as many cells as the square of its classes: of 10,000, gigabytes of JSON, nearly all of them 0."""
_LEAST_SHARE = 1e-12


class ClassHead(HeadConfig):
    """Exactly one of `num_labels` classes."""

    label_smoothing: Fraction = Field(0.0, description="Share of the target spread evenly over all classes.")
    class_weight: Literal["balanced"] | list[PositiveFloat] | None = Field(
        None, description="Factor of each class's loss; 'balanced': inverse to its frequency in the training rows."
    )
    calibration: CalibrationMethod | None = Field(
        None, description="How this head's probabilities are calibrated. Default: as evaluation.calibration says."
    )


@LABEL_KINDS.register("class")
class Classes(LabelKind):
    """Exactly one of K classes."""

    block = ClassHead
    metrics = (Metric("macro_f1"), Metric("accuracy"), Metric("weighted_f1"))
    hub_task = "{}-classification"
    loss = "ce"
    noun = "classes"
    strata = True

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Decide which words are missing labels; tell of those that could be, and of cells of several labels."""
        asked = column.cells.missing is None
        usual = folded(MISSING)
        texts: Counter[str] = Counter()
        for cell, count in counted(cells):
            if isinstance(cell, str) and cell.strip():
                texts[cell.strip()] += count
        doubtful = Counter({text: count for text, count in texts.items() if text.casefold() in usual})
        others = [
            class_name(cell)
            for cell, _ in counted(cells)
            if not (isinstance(cell, str) and cell.strip().casefold() in usual)
        ]
        if column.labels is not None or not asked:
            return replace(column, cells=with_missing(column, ("",))), []
        if others and all(isinstance(name, int) for name in others):
            return replace(column, cells=with_missing(column, MISSING)), []
        warnings = []
        if doubtful:
            words = ", ".join(map(show, sorted(doubtful)))
            warnings.append(
                f"{times(doubtful)} are learnt as classes; set `missing_values: [{words}]` of the head where they mean "
                "that there is no label, or `missing_values: []` where they are classes"
            )
        separator, example = find_separator(texts, ())
        if separator:
            warnings.append(
                f"cells such as {show(example)} look like several labels parted by '{separator}', and each combination "
                "is a class of its own; multi_label_classification learns the labels apart"
            )
        return replace(column, cells=with_missing(column, ("",))), warnings

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the names of the classes, sorted; integers count from 0."""
        names = class_names(column, values, max_bad_fraction=max_bad_fraction)
        if len(names) == 1 and column.absent is None:
            raise DataError(
                f"{column.where}: all training rows are of one class, '{names[0]}', which cannot be told from another; "
                "give rows of a second class, list both in `labels`, or learn what is normal from these rows alone "
                "(anomaly_detection with mode: unsupervised)"
            )
        return names

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads names, numbers and truth values."""
        return ClassReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a class."""
        found: Mask = np.asarray(targets) != IGNORE_INDEX
        return found

    def known(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have a class that training rows have."""
        found: Mask = np.asarray(targets) >= 0
        return found

    def batches(self, targets: Any, encoding: Encoding) -> Callable[[Sequence[int]], torch.Tensor]:
        """Return the classes of a batch, int64 ``(B,)``; one that no training row has is ignored."""
        return lambda index: torch.from_numpy(learnable(targets[list(index)]))

    def counts(self, space: HeadSpace, targets: Any) -> NDArray[np.int64]:
        """Return the rows of each class."""
        codes = np.asarray(targets, dtype=np.int64)
        return np.bincount(codes[codes >= 0], minlength=space.size)

    def balanced(self, space: HeadSpace, targets: Any) -> dict[str, list[float]]:
        """Return ``class_weight``: rows over K times the rows of the class."""
        return {"class_weight": balanced_weights(self.counts(space, targets))}

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NDArray[Any]:
        """Return the likeliest class, int64 ``(M,)``."""
        likeliest: NDArray[np.int64] = logits.argmax(-1).numpy()
        return likeliest

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return that rules may ask for labels and how probable they are."""
        return frozenset({"label", "probability"})

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return ``label``, ``probability`` and, where wanted, ``probabilities`` of each row."""
        shares = stacked(logits).double().softmax(-1).numpy()
        codes = np.asarray(predictions, np.int64)
        own = all_rounded(shares[np.arange(len(codes)), codes])
        answers: Answers = [
            {"label": space.labels[code], "probability": share} for code, share in zip(codes.tolist(), own, strict=True)
        ]
        if probabilities:
            for answer, share in zip(answers, shares, strict=True):
                answer["probabilities"] = dict(zip(space.labels, all_rounded(share), strict=True))
        return answers

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        shares = record(dict.fromkeys(space.labels, SHARE))
        label = one_of(space.labels)
        scope = {"unlikeness": NUMBER, "out_of_scope": TRUTH}
        return record({"label": label, "probability": SHARE}, {"probabilities": shares, "set": list_of(label), **scope})

    def evidence(self, space: HeadSpace, logits: Sequence[torch.Tensor], targets: Any) -> Evidence | None:
        """Return the logits of the rows with a class that training rows have."""
        gold = np.asarray(targets, np.int64)
        rows = np.flatnonzero(gold >= 0)
        if not len(rows) or logits[0].shape != (space.size,):
            return None
        return Evidence(stacked(logits).double().numpy()[rows], gold[rows], rows)

    def strangeness(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], targets: Any
    ) -> NDArray[np.float64]:
        """Return 1 - p of each row's class ``(M, 1)``, as least ambiguous sets have it (Sadinle et al. 2019).

        0 of the answer itself, which is in every set; infinite of a class that no training row has, which is in none.
        """
        gold, predicted = np.asarray(targets, np.int64), np.asarray(predictions, np.int64)
        shares = stacked(logits).double().softmax(-1).numpy()
        found = 1.0 - shares[np.arange(len(gold)), gold.clip(0)]
        found = np.where(gold == predicted, 0.0, np.where(gold < 0, np.inf, found))
        return np.where(gold == IGNORE_INDEX, np.nan, found)[:, None]

    def plausible(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], limits: Sequence[float]
    ) -> Plausible:
        """Return the ``set`` of classes of each row, the likeliest first; the answer is always in it."""
        codes = np.asarray(predictions, np.int64)
        shares = stacked(logits).double().softmax(-1).numpy()
        kept = 1.0 - shares <= limits[0]
        kept[np.arange(len(codes)), codes] = True
        order = np.argsort(-shares, axis=1, kind="stable")
        answers: Answers = [
            {"set": [space.labels[code] for code in ranked[own[ranked]].tolist()]}
            for ranked, own in zip(order, kept, strict=True)
        ]
        return Plausible(answers, kept.sum(1, keepdims=True).astype(np.float64))

    def unlikeness(self, space: HeadSpace, logits: Sequence[torch.Tensor], score: Unlike) -> NDArray[np.float64]:
        """Return of each row the energy of its logits (Liu et al. 2020), or 1 - p of the likeliest class.

        The latter is the baseline of Hendrycks & Gimpel (2017).
        """
        exact = stacked(logits).double()
        found = -exact.logsumexp(-1) if score == "energy" else 1 - exact.softmax(-1).amax(-1)
        return found.numpy()

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive:
        """Return what `judge` does, and the kappa of `agreement`, by how often each class gets each answer."""
        return class_sums(*known_classes(predictions, targets))

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return accuracy, macro and weighted F1; the former over the classes that occur in the targets.

        A class that no training row has is one of them, with an F1 of 0.
        """
        predicted, gold = known_classes(predictions, targets)
        seen, at, rows = np.unique(gold, return_inverse=True, return_counts=True)
        given, times = np.unique(predicted, return_counts=True)
        _, among_seen, among_given = np.intersect1d(seen, given, assume_unique=True, return_indices=True)
        answers = np.zeros(len(seen))
        answers[among_seen] = times[among_given]
        f1 = 2 * np.bincount(at, weights=predicted == gold) / (rows + answers)
        return {
            "accuracy": float(np.mean(predicted == gold)),
            "macro_f1": float(f1.mean()),
            "weighted_f1": float(np.average(f1, weights=rows)),
        }

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``confusion`` (rows are targets, columns predictions), ``per_label`` and ``warnings``.

        Of more than 200 classes it has ``confused`` instead: the most frequent wrong answers, with their rows.
        """
        predicted, gold = known_classes(predictions, targets)
        known = ~is_unseen(gold)
        right = predicted[known & (predicted == gold)]
        hits, support, answers = (np.bincount(each, minlength=space.size) for each in (right, gold[known], predicted))
        # An answer to a row of a class that no training row has is a false alarm, in no row of the confusion.
        table = per_label(space.labels, hits, answers - hits, support - hits)
        warnings = []
        seen, answered = np.unique(gold), np.unique(predicted)
        if unseen := int(is_unseen(gold).sum()):
            warnings.append(f"{unseen} of {len(gold)} rows are of classes that no training row has, and count as wrong")
        elif len(seen) == 1:
            warnings.append(f"every labelled row is {space.labels[seen[0]]}")
        if len(answered) == 1 < len(seen):
            warnings.append(f"predicts one class only ({space.labels[answered[0]]})")
        return {**_confusion(space, predicted[known], gold[known]), "per_label": table, "warnings": warnings}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return the cross-entropy of wrong answers; of a class that no training row has, how certain the answer is."""
        gold, predicted = np.asarray(targets, np.int64), np.asarray(predictions, np.int64)
        shares = stacked(logits).double().log_softmax(-1).numpy()
        rows = np.arange(len(gold))
        certain = -np.log1p(-np.exp(shares[rows, predicted]).clip(max=1 - _LEAST_SHARE))
        losses = np.where(is_unseen(gold), certain, -shares[rows, gold.clip(0)])
        wrong = (gold != IGNORE_INDEX) & (gold != predicted)
        return Errors("loss", np.where(wrong, losses, 0.0))

    def said(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logit of the likeliest class, beside those of all."""
        return logits.amax(-1) - logits.mean(-1)

    def curves(self, space: HeadSpace, targets: Any, logits: Sequence[torch.Tensor]) -> dict[str, Any] | None:
        """Return them of each class told from all others, and of the likeliest one's probability."""
        return class_curves(space.labels, stacked(logits).double().softmax(-1).numpy(), np.asarray(targets, np.int64))

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return the name of each class."""
        codes = np.asarray(labels, np.int64).tolist()
        return [space.labels[code] if code >= 0 else "" if code == IGNORE_INDEX else _UNSEEN for code in codes]

    def agreement(self, predictions: Any, targets: Any) -> float | None:
        """Return Cohen's kappa with quadratic weights, for grades in order; one that no training row has has none."""
        predicted, gold = known_classes(predictions, targets)
        return kappa(predicted[gold >= 0], gold[gold >= 0], weights="quadratic")

    def points(self, size: int) -> NDArray[np.float64]:
        """Return the number of each grade."""
        return np.arange(size, dtype=float)

    def reached(
        self, points: NDArray[np.float64], values: NDArray[Any], applicable: Mask
    ) -> tuple[NDArray[np.float64], float]:
        """Return the points of each row's grade as a share of the highest grade's."""
        most = float(points.max())
        shares = points[np.where(applicable, values, 0)] / max(most, np.finfo(float).tiny)
        return np.where(applicable, shares, np.nan), most

    def distilled(
        self, student: torch.Tensor, teacher: torch.Tensor,
        divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the mean divergence of the rows' classes."""
        return divergence(student, teacher).mean()

    def majority(self, space: HeadSpace, train: Any, test: Any) -> NDArray[np.int64]:
        """Return the most frequent class."""
        return np.full(len(test), self.counts(space, train).argmax())

    def questions(self, space: HeadSpace, targets: Any) -> list[Question]:
        """Return which class each row has; one that no training row has is none here."""
        return [Question("", tuple(self.names(space)), learnable(np.asarray(targets, dtype=np.int64)))]

    def learnt(self, space: HeadSpace, features: tuple[Any, Any], targets: Any, estimators: Estimators) -> Any:
        """Return the class of each test row by a classifier of the labelled ones."""
        train, test = features
        gold = np.asarray(targets, dtype=np.int64)
        known = np.flatnonzero(gold != IGNORE_INDEX)
        if np.ptp(gold[known]) == 0:
            return np.full(test.shape[0], gold[known[0]])
        return estimators.classes(train[known], gold[known], test)


def _confusion(space: HeadSpace, predicted: NDArray[np.int64], gold: NDArray[np.int64]) -> dict[str, Any]:
    cells, rows = np.unique(gold * space.size + predicted, return_counts=True)
    if space.size <= _MATRIX_CLASSES:
        matrix = np.zeros(space.size**2, np.int64)
        matrix[cells] = rows
        return {"confusion": matrix.reshape(space.size, space.size).tolist()}
    label, answer = np.divmod(cells, space.size)
    wrong = np.flatnonzero(label != answer)
    most = wrong[np.argsort(-rows[wrong], kind="stable")[:_MOST_CONFUSED]]
    return {
        "confused": [
            {"label": space.labels[label[at]], "predicted": space.labels[answer[at]], "rows": int(rows[at])}
            for at in most
        ]
    }


def balanced_weights(counts: NDArray[np.int64]) -> list[float]:
    """Return a weight for each of K classes by which all count alike."""
    weights: list[float] = (counts.sum() / (len(counts) * np.maximum(counts, 1))).tolist()
    return weights


def known_classes(predictions: Any, targets: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the predictions and the targets of the labelled rows."""
    gold = np.asarray(targets, dtype=np.int64)
    known = gold != IGNORE_INDEX
    return np.asarray(predictions, dtype=np.int64)[known], gold[known]
