"""The best model of a run as an MLflow model: a pyfunc of safetensors and JSON, without a pickle."""

from __future__ import annotations

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jenga import saved
from jenga.peft import base_of

logger = logging.getLogger(__name__)
# Given, so that MLflow does not find them out by loading the model in another process.
_REQUIREMENTS = ("jenga", "mlflow", "torch", "transformers")


def log_model(client: Any, best: Path, *, run_id: str, experiment_id: str, step: int) -> None:
    """Log the bundle in folder `best` as a model of the MLflow run, once it has loaded and answered its example.

    client: an `MlflowClient`; step: the optimizer step that the model is of. A model with code of its own is left
    out with a warning: whoever loads a pyfunc has no way to allow that code, so that it would answer nobody.
    """
    said = saved.read(best)
    if by := _own_code(best, said):
        logger.warning(
            "MLflow: the model is not logged: it needs code of its own (%s), which a pyfunc never runs; load %s by "
            "jenga.load with trust_remote_code=True",
            by,
            best,
        )
        return
    import mlflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature, infer_signature, set_signature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    inputs, example = _inputs(said)
    params = ParamSchema([ParamSpec("probabilities", "boolean", False), ParamSpec("batch_size", "long", 64)])
    logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
    # Beside the model, where there is room for another of its size.
    with tempfile.TemporaryDirectory(dir=best.parent, prefix=".mlflow-") as staging:
        folder = str(Path(staging) / "model")
        mlflow.pyfunc.save_model(
            folder, loader_module="jenga.inference.pyfunc", data_path=str(best), input_example=example,
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIREMENTS],
            mlflow_model=Model(
                artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id,
                model_id=logged.model_id,
            ),
        )  # fmt: skip
        answer = mlflow.pyfunc.load_model(folder).predict(example)
        # Answers of events differ: an alert tells its drivers, whose values are of any type.
        of_events = any(isinstance(spec.type, AnyType) for spec in inputs)
        outputs = Schema([ColSpec(AnyType())]) if of_events else infer_signature(model_output=answer).outputs
        set_signature(folder, ModelSignature(inputs, outputs, params))
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, models=[LoggedModelOutput(logged.model_id, step)])


def _own_code(best: Path, said: saved.Description) -> str | None:
    found = (saved.code_of(best, name, base_of(saved.encoder_folder(best, name))) for name in said.trusting)
    return next(filter(None, found), None)


def _inputs(said: saved.Description) -> tuple[Any, Any]:
    """Return the schema of the columns that a model reads, and a table with one row of them."""
    import pandas
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    row = said.example()
    ids = {spec.id: "example" for spec in said.sources if spec.id not in row}
    varies = any(each.types_vary for each in said.modalities.values())
    columns = [
        ColSpec("string", name) if isinstance(value, str) and not varies else ColSpec(AnyType(), name, required=False)
        for name, value in row.items()
    ]
    columns += [ColSpec(AnyType() if varies else "string", name, required=False) for name in ids]
    return Schema(columns), pandas.DataFrame({name: [value] for name, value in (row | ids).items()})
