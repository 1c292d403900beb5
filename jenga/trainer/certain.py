"""How certain the best model's heads are: fitted to the validation rows, and told of each split that is judged."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jenga.certainty import calibration, conformal, scope
from jenga.certainty.calibration import Calibration, Method
from jenga.certainty.head import Certainty
from jenga.certainty.intervals import Interval, intervals
from jenga.certainty.scope import Scope
from jenga.certainty.scores import quality
from jenga.config.evaluation import EvaluationConfig, ThresholdsConfig
from jenga.labels import kind_named
from jenga.labels.certain import Evidence, Floats
from jenga.labels.tables import stacked
from jenga.labels.thresholds import ThresholdRule
from jenga.model import MultiTaskModel
from jenga.rows.strings import picked
from jenga.tasks import BaseTask
from jenga.trainer.evaluate import HeadKey, SplitResult
from jenga.types import HeadSpace

logger = logging.getLogger(__name__)
_SEED = 0
_SHOWN = 5


@dataclass
class Settled:
    """What was fitted to the validation rows, by (task, head), and sentences on what could not be."""

    certainty: dict[HeadKey, Certainty] = field(default_factory=dict)
    thresholds: dict[HeadKey, NDArray[np.float64]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def settle(
    valid: SplitResult, model: MultiTaskModel, spaces: Mapping[HeadKey, HeadSpace], settings: EvaluationConfig
) -> Settled:
    """Fit calibrations, sets and thresholds of all heads in `spaces` to `valid`: validation rows, judged without.

    It has their logits. Sets and the calibration of a head come from different halves of its rows, since those that a
    calibration was fitted to look less strange to it than others do. Thresholds are of calibrated probabilities.
    """
    found = Settled()
    start = settings.thresholds if isinstance(settings.thresholds, float) else 0.5
    for key, space in spaces.items():
        task, kind = model.tasks[space.task], kind_named(space.kind)
        if (untuned := kind.untuned(space, start)) is not None:
            found.thresholds[key] = untuned
        if key not in valid.raw:
            found.warnings += _unused(task, space, settings)
            continue
        certainty = _certainty(task, space, valid, settings, found.warnings)
        certainty = replace(certainty, scope=_scope(task, space, valid, settings, found.warnings))
        if not task.by_position:
            certainty = replace(certainty, objective=_choose(task, space, certainty, valid, settings, found))
        if certainty != Certainty():
            found.certainty[key] = certainty
    return found


def _unused(task: BaseTask, space: HeadSpace, settings: EvaluationConfig) -> list[str]:
    """Return which settings come to nothing for a head that has no validation row."""
    kind, found = kind_named(space.kind), []
    if settings.conformal is not None and not kind.from_text:
        found.append(f"{_where(space)}: no validation row has a label, so its answers have no sets")
    if settings.out_of_scope is not None and not kind.from_text:
        found.append(f"{_where(space)}: no validation row has a label, so its answers tell no scope")
    items = not task.by_position and kind.untuned(space, 0.5) is not None
    if isinstance(settings.thresholds, ThresholdsConfig) and (items or task.calibrated):
        kept = "stay at 0.5" if items else "keep the head's target_fpr"
        objective = settings.thresholds.objective
        found.append(
            f"{_where(space)}: there are no validation rows to choose thresholds for {objective} by; they {kept}"
        )
    return found


def _certainty(
    task: BaseTask, space: HeadSpace, valid: SplitResult, settings: EvaluationConfig, told: list[str]
) -> Certainty:
    key, wanted = (space.task, space.head), settings.conformal
    raw, targets = valid.raw[key], valid.targets[key]
    method = task.calibration_of(space.head) or settings.calibration
    evidence = None if method == "none" else task.evidence(space, raw, targets)
    strange = None if wanted is None else task.strangeness(space, valid.predictions[key], raw, targets)
    half = np.random.default_rng(_SEED).permutation(len(targets)) % 2 == 1
    fitted = None
    if evidence is not None:
        own = evidence if strange is None else evidence.take(half[evidence.rows])
        fitted = _calibration(method, own, space, told, of_half=strange is not None)
    if wanted is None or strange is None:
        if wanted is not None:
            told.append(f"{_where(space)}: conformal sets are of classes and numbers; its answers come without")
        return Certainty(fitted)
    if fitted is not None:
        said = Certainty(fitted).calibrated(raw)
        strange = task.strangeness(space, task.predict(space.head, stacked(said)), said, targets)
        assert strange is not None
        strange = strange[~half]
    limits = conformal.fit(strange, wanted.coverage)
    if limits is None:
        told.append(
            f"{_where(space)}: a coverage of {wanted.coverage:g} needs {conformal.rows_for(wanted.coverage)} labelled "
            f"validation rows at least{' beside those of the calibration' if fitted else ''}; its answers have no sets"
        )
    elif (had := limits.covered(strange)) < wanted.coverage:
        told.append(
            f"{_where(space)}: a coverage of {wanted.coverage:g} cannot be had, since {1 - had:.1%} of the labelled "
            "validation rows are of classes that no training row has, which are in no set; its sets hold all classes"
        )
    return Certainty(fitted, limits)


def _scope(
    task: BaseTask, space: HeadSpace, valid: SplitResult, settings: EvaluationConfig, told: list[str]
) -> Scope | None:
    key, wanted = (space.task, space.head), settings.out_of_scope
    if wanted is None:
        return None
    unlike = task.unlikeness(space, valid.raw[key], wanted.score)
    if unlike is None:
        told.append(f"{_where(space)}: scopes are of classes; its answers tell none")
        return None
    keep = None if wanted.keep == "auto" else wanted.keep
    found = scope.settled(unlike, *_sides(space, valid.targets[key]), score=wanted.score, keep=keep)
    if found is None:
        told.append(
            f"{_where(space)}: no validation row is of a class that it has learnt, so its answers tell no scope"
        )
    return found


def _sides(space: HeadSpace, targets: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows are of a class that training rows have, and which are of another one."""
    kind = kind_named(space.kind)
    known = kind.known(space, targets)
    return known, kind.labelled(space, targets) & ~known


def _calibration(
    method: str, evidence: Evidence, space: HeadSpace, told: list[str], *, of_half: bool
) -> Calibration | None:
    if not len(evidence.rows):
        return None
    chosen: Method = "temperature" if method == "auto" else cast(Method, method)
    needed = calibration.too_few(chosen, evidence)
    if needed is None:
        return calibration.fit(chosen, evidence)
    if method != "auto":
        there = f"{len(np.unique(evidence.rows))}{' of the half that calibrates' if of_half else ''}"
        told.append(
            f"{_where(space)}: {chosen} needs {needed} labelled validation rows and there are {there}; its "
            "probabilities stay as they are"
        )
    return None


def _choose(
    task: BaseTask, space: HeadSpace, certainty: Certainty, valid: SplitResult, settings: EvaluationConfig,
    found: Settled,
) -> str | None:  # fmt: skip
    """Choose the thresholds of a head as the settings say, where it has some.

    Return the objective where its task decided them for that.
    """
    key, given = (space.task, space.head), settings.thresholds
    scores = task.scores(space.head, stacked(certainty.calibrated(valid.raw[key])))
    if scores is None or isinstance(given, float):
        return None
    kind, targets = kind_named(space.kind), valid.targets[key]
    if not isinstance(given, ThresholdsConfig):
        if (tuned := kind.tuned(scores, targets)) is not None:
            found.thresholds[key] = tuned
        return None
    rule, decided = _rule(given), False
    chosen = kind.chosen(space, scores, targets, rule)
    if chosen is not None:
        found.thresholds[key], unmet = chosen
    else:
        decided, unmet = task.decide(space, scores, targets, rule)
    if unmet:
        more = f" (and {len(unmet) - _SHOWN} more)" if len(unmet) > _SHOWN else ""
        found.warnings.append(f"{_where(space)}, on the validation rows: {'; '.join(unmet[:_SHOWN])}{more}")
    return given.objective if decided else None


def _rule(given: ThresholdsConfig) -> ThresholdRule:
    costs = {} if given.costs is None else given.costs.model_dump()
    return ThresholdRule(given.objective, given.at or 0.0, **costs)


def add_certainty(
    description: dict[str, Any], model: MultiTaskModel, result: SplitResult, certainty: Mapping[HeadKey, Certainty],
    settings: EvaluationConfig,
) -> None:  # fmt: skip
    """Add to each head of a split's description its ``certainty`` and the ``intervals`` of its metrics.

    ``certainty``: how good its probabilities are ``before`` and ``after`` the ``calibration``, and how often and how
    widely its ``conformal`` sets hold the truth, and what its ``scope`` tells apart. description: what `describe_split`
    gave; `result` has logits.
    """
    for head in description["heads"]:
        key = (head["task"], head["head"])
        if key not in result.predictions:
            continue
        task, space, own = model.tasks[key[0]], result.spaces[key], certainty.get(key, Certainty())
        if key in result.raw and (told := _told(task, space, result, own)):
            head["certainty"] = told
        if own.objective is not None and "detection" in head["details"]:
            head["details"]["detection"]["objective"] = own.objective
        if settings.bootstrap:
            head["intervals"] = _intervals(task, space, result, head["metrics"], settings.bootstrap)


def _told(task: BaseTask, space: HeadSpace, result: SplitResult, own: Certainty) -> dict[str, Any]:
    key, targets = (space.task, space.head), result.targets[(space.task, space.head)]
    found: dict[str, Any] = {}
    before = task.evidence(space, result.raw[key], targets)
    if before is not None:
        found["calibration"] = "none" if own.calibration is None else own.calibration.method
        found["before"] = quality(before)
        after = None if own.calibration is None else task.evidence(space, result.logits[key], targets)
        if after is not None:
            found["after"] = quality(after)
            if own.calibration is not None and own.calibration.method == "temperature":
                found["temperature"] = 1 / own.calibration.scale[0]
    if own.conformal is not None:
        said = (space, result.predictions[key], result.logits[key])
        strange = task.strangeness(*said, targets)
        if strange is not None and not np.isnan(strange).all():
            sizes = task.plausible(*said, own.conformal.limits).sizes
            found["conformal"] = {
                "wanted": own.conformal.coverage,
                "coverage": own.conformal.covered(strange),
                "mean_size": float(sizes[~np.isnan(strange)].mean()),
            }
    if own.scope is not None:
        unlike = task.unlikeness(space, result.raw[key], own.scope.score)
        assert unlike is not None, "it was when the scope was settled"
        found["scope"] = scope.quality(own.scope, unlike, *_sides(space, targets))
    return found


def _intervals(
    task: BaseTask, space: HeadSpace, result: SplitResult, metrics: Mapping[str, float], resamples: int
) -> dict[str, Interval]:
    key = (space.task, space.head)
    predictions, targets, scores = result.predictions[key], result.targets[key], result.scores.get(key)
    labelled = np.flatnonzero(kind_named(space.kind).labelled(space, targets))
    if not len(labelled):
        return {}

    def judge(places: NDArray[np.int64]) -> Mapping[str, float]:
        rows = labelled[places]
        drawn: Floats | None = None if scores is None else scores[rows]
        return task.metrics(space, picked(predictions, rows), picked(targets, rows), scores=drawn)

    additive = task.additive(space, predictions, targets)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return intervals(metrics, additive, judge, rows=len(labelled), resamples=resamples, seed=_SEED)
    except Exception as error:  # of a metric of a user's own, which is no reason to lose a finished training
        logger.warning("%s: no intervals, since its metrics fail on rows drawn again: %s", _where(space), error)
        return {}


def _where(space: HeadSpace) -> str:
    return f"head '{space.task}.{space.head}'"
