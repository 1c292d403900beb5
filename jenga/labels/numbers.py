"""K numbers: float32 ``(M, K)``, NaN where missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch.nn import functional as F

from jenga.config.tasks import HeadConfig
from jenga.labels.base import (
    LABEL_KINDS,
    Answers,
    CellReader,
    Errors,
    Estimators,
    LabelKind,
    Mask,
    Plausible,
    Question,
    Reader,
    Texts,
)
from jenga.labels.cells import MISSING
from jenga.labels.certain import Additive, Floats, mean_defined, ratio
from jenga.labels.column import HeadColumn, RowError, numbered_names, read_cell, show
from jenga.labels.forms import readable, with_missing
from jenga.labels.joined import JOINED, check_joined
from jenga.labels.metric import Metric
from jenga.labels.shapes import NUMBER, Shape, list_of, record
from jenga.labels.tables import columns
from jenga.types import HeadSpace

MAX_POINTS = 500
_LARGEST = float(np.finfo(np.float32).max)
_TINY, _LEAST_VARIANCE = float(np.finfo(np.float64).tiny), 1e-9


class NumberHead(HeadConfig):
    """`num_labels` numbers."""

    columns: list[str] | None = JOINED
    standardize: bool = Field(True, description="Learn numbers scaled to the training rows' mean 0 and deviation 1.")

    @model_validator(mode="after")
    def _columns_agree(self) -> NumberHead:
        check_joined(self, self.columns)
        return self


@LABEL_KINDS.register("number")
class Numbers(LabelKind):
    """K numbers in units of their own."""

    block = NumberHead
    metrics = (Metric("mae"), Metric("rmse"), Metric("r2"), Metric("spearman"))
    hub_task = "{}-regression"
    loss = "mse"
    noun = "numbers"

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Take the usual words for missing; a number that came out as NaN went wrong, and is no missing one."""
        return replace(column, cells=with_missing(column, [word for word in MISSING if word != "nan"])), []

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the names of the numbers: the head's where there is one, else their positions."""
        return _number_names(column, readable(values))

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads numbers, alone, in lists and as text."""
        return NumberReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have any number."""
        return np.asarray(~np.isnan(columns(space, targets)).all(axis=1))

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NDArray[Any]:
        """Return the numbers, float64 ``(M, K)``."""
        numbers: NDArray[np.float64] = logits.double().numpy()
        return numbers

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return that rules may ask for a number, and for which where there are several."""
        return frozenset({"value"} if space.size == 1 else {"label", "value"})

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return ``value``, or ``values`` by name, of each row."""
        if space.size == 1:
            return [{"value": float(row[0])} for row in predictions]
        return [{"values": dict(zip(space.labels, map(float, row), strict=True))} for row in predictions]

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        ends = list_of(NUMBER) | {"minItems": 2, "maxItems": 2}
        if space.size == 1:
            return record({"value": NUMBER}, {"interval": ends})
        values, intervals = (record(dict.fromkeys(space.labels, each)) for each in (NUMBER, ends))
        return record({"values": values}, {"intervals": intervals})

    def strangeness(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], targets: Any
    ) -> NDArray[np.float64]:
        """Return how far off each number is, ``(M, K)``."""
        return np.abs(columns(space, predictions) - columns(space, targets))

    def plausible(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], limits: Sequence[float]
    ) -> Plausible:
        """Return the ``interval`` of each row, or ``intervals`` by name, equally far to both sides of the answer."""
        numbers, off = columns(space, predictions), np.array(limits)
        ends = np.stack([numbers - off, numbers + off], axis=-1).tolist()
        sizes = np.tile(2 * off, (len(numbers), 1))
        if space.size == 1:
            return Plausible([{"interval": row[0]} for row in ends], sizes)
        return Plausible([{"intervals": dict(zip(space.labels, row, strict=True))} for row in ends], sizes)

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive:
        """Return what `judge` does but for ``spearman``, by the errors of each row."""
        labelled = self.labelled(space, targets)
        gold, predicted = columns(space, targets)[labelled], columns(space, predictions)[labelled]
        known = ~np.isnan(gold)
        off = np.where(known, predicted - gold, 0.0)
        # Centred, since squares of large numbers would leave no digits for what differs.
        means = np.where(known, gold, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        centred = np.where(known, gold - means, 0.0)
        return Additive.of_rows(np.hstack([known, np.abs(off), off**2, centred, centred**2]), _of_sums)

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return means over the K targets; ``r2`` and ``spearman`` only over those that vary."""
        from scipy.stats import rankdata
        from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

        found: dict[str, list[float]] = {metric.name: [] for metric in self.metrics}
        for _, predicted, gold in _number_columns(space, predictions, targets):
            found["mae"].append(mean_absolute_error(gold, predicted))
            found["rmse"].append(root_mean_squared_error(gold, predicted))
            if np.ptp(gold) > 0:
                found["r2"].append(r2_score(gold, predicted))
                if np.ptp(predicted) > 0:
                    found["spearman"].append(np.corrcoef(rankdata(gold), rankdata(predicted))[0, 1])
        return {name: float(np.mean(values)) for name, values in found.items() if values}

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``per_label``, with up to `MAX_POINTS` pairs of target and prediction, and ``warnings``."""
        table, warnings = [], []
        for label, predicted, gold in _number_columns(space, predictions, targets):
            shown = np.unique(np.linspace(0, len(gold) - 1, min(len(gold), MAX_POINTS)).astype(int))
            table.append(
                {
                    "label": label,
                    "labelled": len(gold),
                    "target_mean": float(gold.mean()),
                    "target_std": float(gold.std()),
                    "mae": float(np.abs(predicted - gold).mean()),
                    "points": np.stack([gold[shown], predicted[shown]], axis=1).tolist(),
                }
            )
            if np.ptp(gold) > 0 and np.ptp(predicted) == 0:
                warnings.append(f"predicts one value only for {label} ({predicted[0]:.4g})")
        return {"per_label": table, "warnings": warnings}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return how far the farthest number of each row is off, in deviations of its targets."""
        gold = columns(space, targets)
        deviations = np.array([np.nanstd(column) if (~np.isnan(column)).any() else 1.0 for column in gold.T])
        off = np.abs(np.asarray(predictions, np.float64) - gold) / np.where(deviations > 0, deviations, 1.0)
        return Errors("deviations off", np.nan_to_num(off).max(axis=1), distance=True)

    def said(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the numbers together."""
        return logits.sum(-1)

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return the numbers, with their names where there are several."""
        numbers = columns(space, labels)
        if space.size == 1:
            return ["" if np.isnan(row[0]) else f"{row[0]:.4g}" for row in numbers]
        return [
            ", ".join(f"{name} {each:.4g}" for name, each in zip(space.labels, row, strict=True) if not np.isnan(each))
            for row in numbers
        ]

    def distilled(
        self, student: torch.Tensor, teacher: torch.Tensor,
        divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the mean squared difference of the standardised values."""
        return F.mse_loss(student, teacher)

    def majority(self, space: HeadSpace, train: Any, test: Any) -> NDArray[np.float64]:
        """Return the means, 0 where none is labelled."""
        return np.tile([_mean(column) for column in columns(space, train).T], (len(test), 1))

    def questions(self, space: HeadSpace, targets: Any) -> list[Question]:
        """Return each number."""
        return [
            Question(name, (), column) for name, column in zip(space.labels, columns(space, targets).T, strict=True)
        ]

    def learnt(self, space: HeadSpace, features: tuple[Any, Any], targets: Any, estimators: Estimators) -> Any:
        """Return each number of the test rows by a regression on the rows that have it."""
        train, test = features
        answers = []
        for column in columns(space, targets).T:
            known = np.flatnonzero(~np.isnan(column))
            found = estimators.numbers(train[known], column[known], test) if len(known) else np.zeros(test.shape[0])
            answers.append(found)
        return np.stack(answers, axis=1)


def _mean(column: NDArray[np.float64]) -> float:
    known = column[~np.isnan(column)]
    return float(known.mean()) if len(known) else 0.0


def _of_sums(sums: Floats) -> dict[str, Floats]:
    """Return the metrics of sums ``(B, 5 K)``: labels, absolute and squared errors, centred targets, their squares."""
    known, off, squares, centred, spread = np.split(sums, 5, axis=1)
    varied = spread - ratio(centred**2, known)
    # Of a draw of one number alone, rounding leaves a trace of a variance; `judge` leaves such a column out.
    varies = varied > _LEAST_VARIANCE * np.maximum(spread, _TINY)
    r2 = np.where(varies, 1 - ratio(squares, varied), np.nan)
    return {
        "mae": mean_defined(ratio(off, known)),
        "rmse": mean_defined(np.sqrt(ratio(squares, known))),
        "r2": mean_defined(r2),
    }


def _number_columns(space: HeadSpace, predictions: Any, targets: Any) -> list[tuple[str, Any, Any]]:
    gold, predicted = columns(space, targets), columns(space, predictions)
    known = ~np.isnan(gold)
    return [
        (label, predicted[known[:, k], k], gold[known[:, k], k])
        for k, label in enumerate(space.labels)
        if known[:, k].any()
    ]


class NumberReader(CellReader):
    """K numbers: float32 ``(K,)``, NaN where missing."""

    def __init__(self, column: HeadColumn, space: HeadSpace) -> None:
        super().__init__()
        self.where = column.where
        self.cells = column.cells
        self.size = space.size
        self.missing = np.full(space.size, np.nan, dtype=np.float32)

    def is_missing(self, value: Any) -> bool:
        """Whether a cell holds no label. NaN is one that went wrong, and is refused."""
        return self.cells.is_missing(value) and not isinstance(value, float)

    def encode(self, value: Any) -> np.ndarray:
        """Return float32 ``(K,)``; raises RowError."""
        value = read_cell(value, self.where)
        values = value if isinstance(value, list) else [value]
        if len(values) != self.size:
            raise RowError(f"{self.where}: {show(value)} holds {len(values)} numbers; allowed: {self.size}")
        return np.array([self._number(each) for each in values], dtype=np.float32)

    def stack(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 ``(M, K)``."""
        return np.array(codes, dtype=np.float32).reshape(len(codes), self.size)

    def _number(self, value: Any) -> float:
        if self.is_missing(value):
            return float("nan")
        try:
            number = float("nan") if isinstance(value, (bool, dict, list)) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not abs(number) <= _LARGEST:
            raise RowError(f"{self.where}: {show(value)} is no finite number; null where there is none")
        return number


def _number_names(column: HeadColumn, values: Sequence[Any]) -> tuple[str, ...]:
    if column.labels is not None:
        return column.labels
    if column.joined:
        return column.joined
    lengths = Counter(len(value) if isinstance(value, list) else 1 for value in values)
    size = column.size or (lengths.most_common(1)[0][0] if lengths else 0)
    return (column.own_name,) if size == 1 else numbered_names(size)
