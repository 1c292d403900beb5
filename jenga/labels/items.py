"""K independent yes/no items: float32 ``(M, K)``, NaN where missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from jenga.config.strict import PositiveFloat
from jenga.config.tasks import CalibrationMethod, HeadConfig
from jenga.labels.base import LABEL_KINDS, Answers, Errors, Estimators, LabelKind, Mask, Question, Reader, Texts
from jenga.labels.certain import Additive, Evidence
from jenga.labels.column import HeadColumn
from jenga.labels.curves import curves_of
from jenga.labels.item_cells import ItemReader, item_names, settle_items
from jenga.labels.item_sums import item_sums
from jenga.labels.joined import JOINED, check_joined
from jenga.labels.metric import Metric
from jenga.labels.shapes import SHARE, TRUTH, Shape, record
from jenga.labels.tables import columns, kappa, per_label, rounded, stacked
from jenga.labels.thresholds import F1, ThresholdRule, chosen_threshold
from jenga.types import IGNORE_INDEX, HeadSpace


class ItemsHead(HeadConfig):
    """`num_labels` independent yes/no items."""

    pos_weight: Literal["balanced"] | list[PositiveFloat] | None = Field(
        None,
        description="Factor of each item's positive loss; 'balanced': negatives per positive in the training rows.",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        description="What parts the labels of one cell, or none. Default: '|', ';' or ',' where the training rows "
        "show it.",
    )
    columns: list[str] | None = JOINED
    true_values: list[str] | None = Field(
        None, min_length=1, description="Words for yes, case aside. Default: yes, true, 1 and the like."
    )
    false_values: list[str] | None = Field(
        None, min_length=1, description="Words for no, case aside. Default: no, false, 0 and the like."
    )
    calibration: CalibrationMethod | None = Field(
        None, description="How this head's probabilities are calibrated. Default: as evaluation.calibration says."
    )

    @model_validator(mode="after")
    def _columns_agree(self) -> ItemsHead:
        check_joined(self, self.columns)
        return self

    @model_validator(mode="after")
    def _a_word_means_one_thing(self) -> ItemsHead:
        words: dict[str, str] = {}
        for key in ("true_values", "false_values", "missing_values"):
            for word in getattr(self, key) or ():
                if words.setdefault(word.strip().casefold(), key) != key:
                    raise ValueError(f"{key}: '{word}' is among {words[word.strip().casefold()]} too; keep one of them")
        return self


FEWEST_POSITIVE = 5
"""Rows with a yes that an item needs for a threshold of its own; one tuned to fewer is drawn by chance."""


@LABEL_KINDS.register("items")
class Items(LabelKind):
    """K answers of yes or no, each by itself."""

    block = ItemsHead
    metrics = (Metric("macro_f1"), Metric("micro_f1"), Metric("accuracy"))
    hub_task = "{}-classification"
    loss = "bce"
    noun = "items"

    def settle(self, column: HeadColumn, cells: Sequence[Any]) -> tuple[HeadColumn, list[str]]:
        """Decide whether words are marks or names, what parts them, and which are missing labels."""
        return settle_items(column, cells)

    def infer(self, column: HeadColumn, values: Sequence[Any], *, max_bad_fraction: float) -> tuple[str, ...]:
        """Return the names of the items, sorted; those without names are numbered."""
        return item_names(column, values)

    def reader(self, column: HeadColumn, space: HeadSpace) -> Reader:
        """Return what reads marks, names and mappings."""
        return ItemReader(column, space)

    def labelled(self, space: HeadSpace, targets: Any) -> Mask:
        """Return which rows have an answer to any item."""
        return np.asarray(~np.isnan(columns(space, targets)).all(axis=1))

    def counts(self, space: HeadSpace, targets: Any) -> NDArray[np.int64]:
        """Return the rows with a yes of each item."""
        return np.asarray((targets == 1).sum(axis=0))

    def balanced(self, space: HeadSpace, targets: Any) -> dict[str, list[float]]:
        """Return ``pos_weight``: the rows with a no over those with a yes."""
        positive, negative = np.nansum(targets == 1, axis=0), np.nansum(targets == 0, axis=0)
        return {"pos_weight": (np.maximum(negative, 1) / np.maximum(positive, 1)).tolist()}

    def predict(self, logits: torch.Tensor, threshold: NDArray[np.float64] | float) -> NDArray[Any]:
        """Return yes or no, bool ``(M, K)``."""
        answers: NDArray[np.bool_] = torch.sigmoid(logits.double()).numpy() >= threshold
        return answers

    def scores(self, logits: torch.Tensor) -> NDArray[np.float64]:
        """Return probabilities ``(M, K)``."""
        probabilities: NDArray[np.float64] = torch.sigmoid(logits.double()).numpy()
        return probabilities

    def tuned(self, scores: NDArray[np.float64], targets: Any) -> NDArray[np.float64]:
        """Return for each item the probability that gives its best F1 over labelled rows; see `chosen`."""
        return _thresholds(scores, np.asarray(targets), F1)[0]

    def chosen(
        self, space: HeadSpace, scores: NDArray[np.float64], targets: Any, rule: ThresholdRule
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Return for each item the probability that `rule` asks for, and the items that it cannot have it of.

        Items with fewer than `FEWEST_POSITIVE` rows with a yes share the one of all answers.
        """
        found, unmet = _thresholds(scores, np.asarray(targets), rule)
        return found, [f"{space.labels[item]}: {words}" for item, words in unmet.items()]

    def untuned(self, space: HeadSpace, threshold: float) -> NDArray[np.float64]:
        """Return `threshold` for each item."""
        return np.full(space.size, threshold)

    def conditions(self, space: HeadSpace) -> frozenset[str]:
        """Return that rules may ask for labels and how probable they are."""
        return frozenset({"label", "probability"})

    def decode(
        self, space: HeadSpace, predictions: Any, logits: Sequence[torch.Tensor], rows: Texts, *,
        as_words: Sequence[bool], probabilities: bool,
    ) -> Answers:  # fmt: skip
        """Return ``value`` and ``probability`` of each item of each row."""
        shares = self.scores(stacked(logits))
        return [
            {
                label: {"value": bool(value), "probability": rounded(share)}
                for label, value, share in zip(space.labels, row, row_shares, strict=True)
            }
            for row, row_shares in zip(predictions, shares, strict=True)
        ]

    def shape(self, space: HeadSpace) -> Shape:
        """Return that of an answer."""
        return record(dict.fromkeys(space.labels, record({"value": TRUTH, "probability": SHARE})))

    def evidence(self, space: HeadSpace, logits: Sequence[torch.Tensor], targets: Any) -> Evidence | None:
        """Return the logits of the rows with an answer to any item."""
        rows = np.flatnonzero(self.labelled(space, targets))
        if not len(rows) or logits[0].shape != (space.size,):
            return None
        return Evidence(stacked(logits).double().numpy()[rows], columns(space, targets)[rows], rows)

    def additive(self, space: HeadSpace, predictions: Any, targets: Any) -> Additive:
        """Return what `judge` does, and the kappa of `agreement`, by the verdicts on each row's items."""
        return item_sums(columns(space, predictions) > 0.5, columns(space, targets))

    def judge(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
        """Return accuracy, macro and micro F1 of yes.

        ``macro_f1`` is the mean over the items with a yes in targets or predictions; without any such item only
        ``accuracy``, the share of the labelled answers that are right, is defined.
        """
        counts = _item_counts(space, predictions, targets)
        wrong = counts["false_alarms"] + counts["misses"]
        metrics = {"accuracy": float(1 - wrong.sum() / counts["labelled"].sum())}
        defined = (counts["hits"] + wrong) > 0
        if defined.any():
            twice = 2 * counts["hits"][defined]
            metrics["macro_f1"] = float(np.mean(twice / (twice + wrong[defined])))
            metrics["micro_f1"] = float(twice.sum() / (twice.sum() + wrong.sum()))
        return metrics

    def details(self, space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
        """Return ``per_label``, with how many answers are labelled and the share of yes, and ``warnings``."""
        counts = _item_counts(space, predictions, targets)
        table = per_label(space.labels, counts["hits"], counts["false_alarms"], counts["misses"])
        answered_yes = counts["hits"] + counts["false_alarms"]
        one_answer = []
        for row, labelled, yes in zip(table, counts["labelled"].tolist(), answered_yes.tolist(), strict=True):
            row["labelled"] = labelled
            row["positive_rate_predicted"] = yes / labelled if labelled else None
            if 0 < row["support"] < labelled and yes in (0, labelled):
                one_answer.append(f"{row['label']}: {'yes' if yes else 'no'}")
        warnings = []
        if one_answer:
            shown = ", ".join(one_answer[:5]) + (", ..." if len(one_answer) > 5 else "")
            warnings.append(f"predicts one answer only for {len(one_answer)} of {space.size} items ({shown})")
        unlabelled = [row["label"] for row in table if not row["labelled"]]
        if unlabelled:
            shown = ", ".join(unlabelled[:5]) + (", ..." if len(unlabelled) > 5 else "")
            warnings.append(f"no labelled row for {len(unlabelled)} of {space.size} items ({shown})")
        return {"per_label": table, "warnings": warnings}

    def errors(self, space: HeadSpace, predictions: Any, targets: Any, logits: Sequence[torch.Tensor]) -> Errors:
        """Return the binary cross-entropy of the items that are wrong, all together."""
        gold = np.asarray(targets, np.float64)
        signs = np.where(gold > 0.5, -1.0, 1.0)
        losses = np.logaddexp(0.0, signs * stacked(logits).double().numpy())
        wrong = ~np.isnan(gold) & ((gold > 0.5) != np.asarray(predictions, bool))
        return Errors("loss", np.where(wrong, losses, 0.0).sum(1))

    def said(self, logits: torch.Tensor) -> torch.Tensor:
        """Return how far all answers are from a toss."""
        return logits.abs().sum(-1)

    def curves(self, space: HeadSpace, targets: Any, logits: Sequence[torch.Tensor]) -> dict[str, Any] | None:
        """Return them of each item, and of the probability of yes over all items."""
        gold = columns(space, targets)
        known = ~np.isnan(gold)
        if not known.any():
            return None
        shares, yes = self.scores(stacked(logits)), gold > 0.5
        by_item = zip(space.labels, shares.T, yes.T, known.T, strict=True)
        return curves_of((shares[known], yes[known]), ((name, p[k], y[k]) for name, p, y, k in by_item))

    def written(self, space: HeadSpace, labels: Any, rows: Texts) -> list[str]:
        """Return the names of the items that hold; "-" where none does."""
        holds = np.nan_to_num(np.asarray(labels, np.float64)) > 0.5
        return [", ".join(name for name, each in zip(space.labels, row, strict=True) if each) or "-" for row in holds]

    def agreement(self, predictions: Any, targets: Any) -> float | None:
        """Return Cohen's kappa over all labelled answers."""
        answers = np.asarray(targets, dtype=float)
        known = ~np.isnan(answers)
        return kappa(np.asarray(predictions)[known].astype(np.int64), answers[known].astype(np.int64), weights=None)

    def points(self, size: int) -> NDArray[np.float64]:
        """Return one point for each item."""
        return np.ones(size)

    def reached(
        self, points: NDArray[np.float64], values: NDArray[Any], applicable: Mask
    ) -> tuple[NDArray[np.float64], float]:
        """Return the points of the items that hold as a share of those of the items that apply."""
        possible = (applicable * points).sum(1)
        gained = (np.where(applicable, values, 0) * points).sum(1)
        shares = np.divide(gained, possible, out=np.full(len(possible), np.nan), where=possible > 0)
        return shares, float(points.sum())

    def distilled(
        self, student: torch.Tensor, teacher: torch.Tensor,
        divergence: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the mean divergence over rows and items; an item is a choice of two, yes at its logit and no at 0."""
        ours, theirs = (torch.stack([each, torch.zeros_like(each)], -1) for each in (student, teacher))
        return divergence(ours, theirs).mean()

    def majority(self, space: HeadSpace, train: Any, test: Any) -> NDArray[np.bool_]:
        """Return each item's more frequent answer; no where they tie or none is labelled."""
        known = columns(space, train)
        yes = np.nan_to_num(np.nansum(known, axis=0) / np.maximum((~np.isnan(known)).sum(axis=0), 1))
        return np.tile(yes > 0.5, (len(test), 1))

    def questions(self, space: HeadSpace, targets: Any) -> list[Question]:
        """Return which rows have each item."""
        found = []
        for name, column in zip(space.labels, columns(space, targets).T, strict=True):
            answers = np.where(np.isnan(column), IGNORE_INDEX, column > 0.5).astype(np.int64)
            found.append(Question(name, ("no", "yes"), answers))
        return found

    def learnt(self, space: HeadSpace, features: tuple[Any, Any], targets: Any, estimators: Estimators) -> Any:
        """Return each item's answer for the test rows, by a classifier of the rows that are labelled for it."""
        train, test = features
        answers = []
        for column in columns(space, targets).T:
            known = np.flatnonzero(~np.isnan(column))
            gold = (column[known] > 0.5).astype(np.int64)
            if not len(known) or np.ptp(gold) == 0:
                answers.append(np.full(test.shape[0], bool(len(known) and gold[0])))
            else:
                answers.append(np.asarray(estimators.classes(train[known], gold, test) == 1))
        return np.stack(answers, axis=1)


def _thresholds(
    scores: NDArray[np.float64], gold: NDArray[Any], rule: ThresholdRule
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Return the threshold of each item by `rule`, and why it is not met by those where it is not."""
    shared = chosen_threshold(scores.ravel(), gold.ravel(), rule)
    found = [
        chosen_threshold(p, t, rule) if np.count_nonzero(t > 0.5) >= FEWEST_POSITIVE else shared
        for p, t in zip(scores.T, gold.T, strict=True)
    ]
    unmet = {item: each.unmet for item, each in enumerate(found) if each.unmet}
    return np.array([each.threshold for each in found]), unmet


def _item_counts(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, NDArray[np.int64]]:
    gold, yes = columns(space, targets), columns(space, predictions) > 0.5
    known, wanted = ~np.isnan(gold), gold > 0.5
    counted = {
        "hits": known & wanted & yes,
        "false_alarms": known & ~wanted & yes,
        "misses": known & wanted & ~yes,
        "labelled": known,
    }
    return {name: cells.sum(axis=0) for name, cells in counted.items()}
