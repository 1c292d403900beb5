"""A trained model as MLflow loads it: a folder and this module, without a pickle."""

from __future__ import annotations

from collections.abc import Mapping
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
        given = params or {}
        return self.predictor.predict(
            model_input, batch_size=given.get("batch_size"), probabilities=given.get("probabilities", False)
        )


def _load_pyfunc(data_path: str) -> PyfuncModel:
    return PyfuncModel(load(Path(data_path)))
