"""A trained model as MLflow loads it: a folder and this module, without a pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jenga.inference.loading import load
from jenga.inference.predictor import Predictor


class PyfuncModel:
    """What `mlflow.pyfunc.load_model` hands its calls to."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return `Predictor.predict` of the rows of a pandas DataFrame, or of a list of texts or mappings.

        In a table, NaN is a value that is not there. params: `probabilities` and `batch_size` of `Predictor.predict`.
        """
        rows: Sequence[Any] = model_input if isinstance(model_input, list) else _records(model_input)
        given = params or {}
        return self.predictor.predict(
            rows, batch_size=given.get("batch_size"), probabilities=given.get("probabilities", False)
        )


def _records(table: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def _load_pyfunc(data_path: str) -> PyfuncModel:
    return PyfuncModel(load(Path(data_path)))
