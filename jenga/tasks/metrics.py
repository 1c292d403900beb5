"""How well a head predicts, by the kind of its labels. A missing label never counts; the undefined is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jenga.types import IGNORE_INDEX, HeadSpace, LabelKind

KNOWN_DIRECTIONS: Mapping[str, bool] = {
    **dict.fromkeys(("accuracy", "auprc", "auroc", "bleu", "f1", "kappa", "macro_f1", "micro_f1", "precision"), True),
    **dict.fromkeys(("r2", "recall", "spearman", "token_accuracy", "weighted_f1"), True),
    **dict.fromkeys(("cer", "ece", "fpr", "loss", "mae", "mape", "mse", "perplexity", "rmse", "wer"), False),
}
"""Whether greater is better, of metrics whose whole name says what they are."""


@dataclass(frozen=True)
class Metric:
    """A metric of a head as its task declares it.

    `greater_is_better`: needed but for the names in `KNOWN_DIRECTIONS`; None: nobody has said.
    """

    name: str
    greater_is_better: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.greater_is_better is None:
            object.__setattr__(self, "greater_is_better", KNOWN_DIRECTIONS.get(self.name))


METRICS: dict[LabelKind, tuple[Metric, ...]] = {
    "class": (Metric("macro_f1"), Metric("accuracy"), Metric("weighted_f1")),
    "items": (Metric("macro_f1"), Metric("micro_f1"), Metric("accuracy")),
    "tags": (Metric("f1"), Metric("precision"), Metric("recall"), Metric("token_accuracy")),
    "number": (Metric("mae"), Metric("rmse"), Metric("r2"), Metric("spearman")),
    "text": (Metric("perplexity"),),
}
"""What `head_metrics` may return for each kind, the primary metric first."""

MAX_POINTS = 500

Span = tuple[int, int, str]


def labelled_rows(space: HeadSpace, targets: Any) -> int:
    """Return how many rows have at least one label for this head."""
    match space.kind:
        case "class":
            return int(np.count_nonzero(np.asarray(targets) != IGNORE_INDEX))
        case "tags":
            return sum(bool(np.any(np.asarray(row) != IGNORE_INDEX)) for row in targets)
        case _:
            return int(np.count_nonzero(~np.isnan(_columns(space, targets)).all(axis=1)))


def head_metrics(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
    """Return the metrics of one head; {} where no row is labelled.

    `predictions`: class int ``(M,)``; items 0/1 ``(M, K)``; number float ``(M, K)``; tags a list of int arrays, one
    entry a word. `targets`: the same shapes, with -100 (class, tags) or NaN (items, number) where a label is missing.

    - class: ``macro_f1`` is over the classes that occur in the targets.
    - items: ``macro_f1`` is the mean F1 of yes over the items with a yes in targets or predictions; without any such
      item only ``accuracy`` (share of the labelled answers that are right) is defined.
    - tags: a span counts when its type and both borders are right (micro average). Without any span in targets or
      predictions only ``token_accuracy``, over labelled words, is defined.
    - number: means over the K targets; ``r2`` and ``spearman`` only over those that vary.

    Raises ValueError when predictions and targets differ in length.
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{space.task}.{space.head}: {len(predictions)} predictions for {len(targets)} targets")
    if labelled_rows(space, targets) == 0:
        return {}
    match space.kind:
        case "class":
            return _class_metrics(*_labelled_classes(predictions, targets))
        case "items":
            return _items_metrics(space, predictions, targets)
        case "tags":
            return _tags_metrics(space, predictions, targets)
        case "number":
            return _number_metrics(space, predictions, targets)
    raise ValueError(f"{space.task}.{space.head}: a language head is judged by its loss")


def head_details(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
    """Return tables of one head, ready for JSON; arguments as for `head_metrics`.

    Always ``warnings`` (a list of sentences). With labelled rows also ``per_label``, and for classes ``confusion``
    (rows are targets, columns predictions). What is undefined is None.
    """
    if labelled_rows(space, targets) == 0:
        return {"warnings": ["no labelled row"]}
    match space.kind:
        case "class":
            return _class_details(space, *_labelled_classes(predictions, targets))
        case "items":
            return _items_details(space, predictions, targets)
        case "tags":
            return _tags_details(space, predictions, targets)
        case "number":
            return _number_details(space, predictions, targets)
    raise ValueError(f"{space.task}.{space.head}: a language head has no predictions to tabulate")


def agreement(kind: LabelKind, predictions: Any, targets: Any) -> float | None:
    """Return chance-corrected agreement with the human scorers, from -1 to 1.

    class: Cohen's kappa with quadratic weights, for grades in order; items: Cohen's kappa over all labelled answers.
    None for other kinds, without labels, and where one and the same label is all there is.
    """
    from sklearn.metrics import cohen_kappa_score

    if kind == "class":
        predicted, gold = _labelled_classes(predictions, targets)
    elif kind == "items":
        answers = np.asarray(targets, dtype=float)
        known = ~np.isnan(answers)
        predicted, gold = np.asarray(predictions)[known].astype(np.int64), answers[known].astype(np.int64)
    else:
        return None
    seen = np.union1d(predicted, gold)
    if len(seen) < 2:
        return None
    # Every grade up to the highest one: sklearn measures distance by position in `labels`.
    labels = np.arange(int(seen.max()) + 1)
    return float(cohen_kappa_score(gold, predicted, labels=labels, weights="quadratic" if kind == "class" else None))


def spans(tags: Sequence[int] | Sequence[str] | NDArray[np.int64], labels: Sequence[str]) -> set[Span]:
    """Return the (first word, word after the last, type) of every entity in one row of BIO tags.

    `tags` are ids into `labels` or names. An ``I-`` that continues nothing (after ``O``, or after another type) opens
    a new span, as the CoNLL scorer has it. An id outside `labels` (-100: unlabelled) counts as ``O``.
    """
    found: set[Span] = set()
    start, kind = 0, ""
    for word, tag in enumerate([*tags, "O"]):
        name = tag if isinstance(tag, str) else labels[tag] if 0 <= tag < len(labels) else "O"
        prefix, _, name_kind = name.partition("-")
        if kind and not (prefix == "I" and name_kind == kind):
            found.add((start, word, kind))
            kind = ""
        if name_kind and not kind:
            start, kind = word, name_kind
    return found


# --------------------------------------------------------------------------------------------------------------- class


def _labelled_classes(predictions: Any, targets: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    gold = np.asarray(targets, dtype=np.int64)
    known = gold != IGNORE_INDEX
    return np.asarray(predictions, dtype=np.int64)[known], gold[known]


def _class_metrics(predicted: NDArray[np.int64], gold: NDArray[np.int64]) -> dict[str, float]:
    from sklearn.metrics import f1_score

    seen = np.unique(gold)
    return {
        "accuracy": float(np.mean(predicted == gold)),
        "macro_f1": float(f1_score(gold, predicted, labels=seen, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(gold, predicted, labels=seen, average="weighted", zero_division=0)),
    }


def _class_details(space: HeadSpace, predicted: NDArray[np.int64], gold: NDArray[np.int64]) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(gold, predicted, labels=np.arange(space.size))
    hits = matrix.diagonal()
    table = _per_label(space.labels, hits, matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits)
    warnings = []
    seen, answered = np.unique(gold), np.unique(predicted)
    if len(seen) == 1:
        warnings.append(f"every labelled row is {space.labels[seen[0]]}")
    elif len(answered) == 1:
        warnings.append(f"predicts one class only ({space.labels[answered[0]]})")
    return {"confusion": matrix.tolist(), "per_label": table, "warnings": warnings}


# --------------------------------------------------------------------------------------------------------------- items


def _item_counts(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, NDArray[np.int64]]:
    gold, yes = _columns(space, targets), _columns(space, predictions) > 0.5
    known, wanted = ~np.isnan(gold), gold > 0.5
    counted = {
        "hits": known & wanted & yes,
        "false_alarms": known & ~wanted & yes,
        "misses": known & wanted & ~yes,
        "labelled": known,
    }
    return {name: cells.sum(axis=0) for name, cells in counted.items()}


def _items_metrics(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
    counts = _item_counts(space, predictions, targets)
    wrong = counts["false_alarms"] + counts["misses"]
    metrics = {"accuracy": float(1 - wrong.sum() / counts["labelled"].sum())}
    defined = (counts["hits"] + wrong) > 0
    if defined.any():
        twice = 2 * counts["hits"][defined]
        metrics["macro_f1"] = float(np.mean(twice / (twice + wrong[defined])))
        metrics["micro_f1"] = float(twice.sum() / (twice.sum() + wrong.sum()))
    return metrics


def _items_details(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
    counts = _item_counts(space, predictions, targets)
    table = _per_label(space.labels, counts["hits"], counts["false_alarms"], counts["misses"])
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


# ---------------------------------------------------------------------------------------------------------------- tags


def _span_counts(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {"hits": Counter(), "false_alarms": Counter(), "misses": Counter()}
    for predicted, gold in zip(predictions, targets, strict=True):
        gold = np.asarray(gold)
        predicted = np.where(gold == IGNORE_INDEX, IGNORE_INDEX, np.asarray(predicted))
        found, wanted = spans(predicted.tolist(), space.labels), spans(gold.tolist(), space.labels)
        counts["hits"].update(kind for *_, kind in found & wanted)
        counts["false_alarms"].update(kind for *_, kind in found - wanted)
        counts["misses"].update(kind for *_, kind in wanted - found)
    return counts


def _tags_metrics(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
    gold = np.concatenate([np.asarray(row) for row in targets])
    known = gold != IGNORE_INDEX
    predicted = np.concatenate([np.asarray(row) for row in predictions])
    metrics = {"token_accuracy": float(np.mean(predicted[known] == gold[known]))}
    counts = _span_counts(space, predictions, targets)
    hits, false_alarms, misses = (counts[name].total() for name in ("hits", "false_alarms", "misses"))
    if hits + false_alarms + misses:
        metrics["f1"] = 2 * hits / (2 * hits + false_alarms + misses)
        metrics["precision"] = hits / max(hits + false_alarms, 1)
        metrics["recall"] = hits / max(hits + misses, 1)
    return metrics


def _tags_details(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
    counts = _span_counts(space, predictions, targets)
    kinds = sorted({label.partition("-")[2] for label in space.labels} - {""})
    hits, false_alarms, misses = (
        np.array([counts[name][kind] for kind in kinds], dtype=np.int64) for name in ("hits", "false_alarms", "misses")
    )
    warnings = []
    if not (hits + misses).any():
        warnings.append("no entity in the labelled rows")
    elif not (hits + false_alarms).any():
        warnings.append("predicts no entity")
    return {"per_label": _per_label(kinds, hits, false_alarms, misses), "warnings": warnings}


# -------------------------------------------------------------------------------------------------------------- number


def _number_columns(space: HeadSpace, predictions: Any, targets: Any) -> list[tuple[str, Any, Any]]:
    gold, predicted = _columns(space, targets), _columns(space, predictions)
    known = ~np.isnan(gold)
    return [
        (label, predicted[known[:, k], k], gold[known[:, k], k])
        for k, label in enumerate(space.labels)
        if known[:, k].any()
    ]


def _number_metrics(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, float]:
    import pandas as pd
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    found: dict[str, list[float]] = {metric.name: [] for metric in METRICS["number"]}
    for _, predicted, gold in _number_columns(space, predictions, targets):
        found["mae"].append(mean_absolute_error(gold, predicted))
        found["rmse"].append(root_mean_squared_error(gold, predicted))
        if np.ptp(gold) > 0:
            found["r2"].append(r2_score(gold, predicted))
            if np.ptp(predicted) > 0:
                ranks = pd.DataFrame({"gold": gold, "predicted": predicted}).rank()
                found["spearman"].append(ranks["gold"].corr(ranks["predicted"]))
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _number_details(space: HeadSpace, predictions: Any, targets: Any) -> dict[str, Any]:
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


# -------------------------------------------------------------------------------------------------------------- shared


def _columns(space: HeadSpace, values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1, space.size)


def _per_label(
    labels: Sequence[str], hits: NDArray[np.int64], false_alarms: NDArray[np.int64], misses: NDArray[np.int64]
) -> list[dict[str, Any]]:
    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return [
        {
            "label": label,
            "precision": share(hit, hit + false_alarm),
            "recall": share(hit, hit + miss),
            "f1": share(2 * hit, 2 * hit + false_alarm + miss),
            "support": hit + miss,
        }
        for label, hit, false_alarm, miss in zip(
            labels, hits.tolist(), false_alarms.tolist(), misses.tolist(), strict=True
        )
    ]
