"""JengaClassifier: a model of one label as scikit-learn has classifiers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from jenga.errors import ConfigError, DataError
from jenga.files import write_atomic
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.rows.given import of_table
from jenga.run.experiment import train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from jenga.rows.given import RowsLike

_TASK = "label"
_OWN = ("tasks", "stages", "output_dir")
"""Blocks of an experiment that the classifier writes itself."""


class JengaClassifier(ClassifierMixin, BaseEstimator):
    """Learn one label of texts, events or whatever else a backbone reads, with all the rest as it is by default.

    `base_model`: as in YAML, the name or folder of a checkpoint, or a preset; `settings`: any other blocks of an
    experiment, such as ``{"model": {"backbone_type": "sequential"}, "training": {"epochs": 3}}``; `columns`: where the
    content of rows stands (``{"text": "transcript"}``), for rows that are mappings or tables; `output_dir`: where the
    run is written to, and below it in rows/ what it was trained on, which `jenga evaluate` reads again; `device`: auto,
    cpu, cuda or mps. Tracking is off unless `settings` asks for it. A tenth of the rows that `fit` is given decides
    which epoch is the best and how far training goes.

    Wherever a method takes X: texts, mappings, or a table of pandas, polars or Arrow. For several labels at once, write
    an experiment and call `jenga.train`.

    After `fit`: `classes_`, the labels in order; `run_`, the folder of the run, which `jenga.load` reads and every
    command takes; `predictor_`, its `Predictor`. A pickled classifier names that folder and does not hold the model.
    """

    def __init__(
        self,
        base_model: str = "jenga/tiny-text",
        *,
        settings: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        output_dir: str | Path = "runs",
        device: str = "auto",
    ) -> None:
        self.base_model = base_model
        self.settings = settings
        self.columns = columns
        self.output_dir = output_dir
        self.device = device

    def fit(self, X: RowsLike, y: ArrayLike) -> Self:  # noqa: N803
        """Train on rows X and their labels y ``(M,)``, texts or numbers.

        Raises ValueError where they are not of one length or y holds no classes, and what `jenga.train` raises.
        """
        rows = self._mappings(X)
        labels = column_or_1d(y)
        check_classification_targets(labels)
        if len(rows) != len(labels):
            raise ValueError(f"X has {len(rows)} rows and y {len(labels)} labels")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        names = _names(self.classes_)
        column = _TASK
        while any(column in row for row in rows):
            column += "_"
        labelled = ({**row, column: names[code]} for row, code in zip(rows, codes, strict=True))
        content = "".join(json.dumps(row, default=_plain) + "\n" for row in labelled)
        path = _kept(content, Path(self.output_dir).resolve() / "rows")
        self.run_ = train(self._experiment(path, names, column), device=self.device).run.resolve()
        self._predictor: Predictor | None = None
        return self

    @property
    def predictor_(self) -> Predictor:
        """What answers rows; loaded when it is asked first."""
        check_is_fitted(self, "run_")
        if self._predictor is None:
            self._predictor = load(self.run_, device=self.device)
        return self._predictor

    def predict(self, X: RowsLike) -> NDArray[Any]:  # noqa: N803
        """Return the label of each row ``(M,)``. Raises DataError for a row that cannot be used."""
        answers = self._answers(X)
        names = {name: code for code, name in enumerate(_names(self.classes_))}
        codes = [names[answer["label"]] for answer in answers]
        labels: NDArray[Any] = self.classes_[np.array(codes, np.int64)]
        return labels

    def predict_proba(self, X: RowsLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each of `classes_` for each row, float64 ``(M, K)``. Raises as `predict`."""
        answers = self._answers(X, probabilities=True)
        names = _names(self.classes_)
        rounded = [[answer["probabilities"][name] for name in names] for answer in answers]
        shares: NDArray[np.float64] = np.array(rounded, np.float64).reshape(len(answers), len(names))
        shares /= shares.sum(axis=1, keepdims=True)
        return shares

    def _mappings(self, rows: RowsLike) -> list[dict[str, Any]]:
        given = of_table(rows)
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
            raise TypeError(f"X: got {type(rows).__name__}; give a list of texts or of mappings, or a table")
        text = (self.columns or {}).get("text", "text")
        found = [{text: row} if isinstance(row, str) else row for row in given]
        for at, row in enumerate(found):
            if not isinstance(row, Mapping):
                raise TypeError(f"X: row {at} is {type(row).__name__}; give texts or mappings")
        return found

    def _answers(self, rows: RowsLike, *, probabilities: bool = False) -> list[dict[str, Any]]:
        answers = self.predictor_.predict(rows, probabilities=probabilities, drivers=False)
        for at, answer in enumerate(answers):
            if "error" in answer:
                raise DataError(f"X: row {at}: {answer['error']}")
        return [answer[_TASK][_TASK] for answer in answers]

    def _experiment(self, path: Path, names: Sequence[str], column: str) -> dict[str, Any]:
        given = dict(self.settings or {})
        if taken := [name for name in _OWN if name in given]:
            raise ConfigError(f"settings: {taken[0]} is the classifier's own; write an experiment for jenga.train")
        task = {
            "name": _TASK, "type": "classification", "data_path": str(path),
            "columns": {**(self.columns or {}), "label": column}, "heads": [{"name": _TASK, "labels": list(names)}],
        }  # fmt: skip
        return {
            "project_name": "classifier",
            **given,
            "model": {"base_model": self.base_model, **given.get("model", {})},
            "data": {"test_fraction": 0.0, **given.get("data", {})},
            "tracking": {"enabled": False, **given.get("tracking", {})},
            "tasks": [task],
            "output_dir": str(self.output_dir),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return the parameters and where the run is, without the model."""
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_predictor": None} if "_predictor" in state else state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


def _names(classes: NDArray[Any]) -> list[str]:
    """Return labels as an experiment names them."""
    return [str(each) for each in classes.tolist()]


def _kept(content: str, folder: Path) -> Path:
    """Return the file in `folder` that holds `content`, by its digest; the same rows are there once."""
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    return path


def _plain(value: Any) -> Any:
    """Return a value of numpy, or a time, as JSON has it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"X: a {type(value).__name__} stands in no file of rows; give texts, numbers, lists or mappings")
