"""A saved model as an MLflow model: a pyfunc of safetensors and JSON, without a pickle."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from jenga import saved
from jenga.extras import pinned
from jenga.peft import base_of

logger = logging.getLogger(__name__)
_LOADER = "jenga.inference.pyfunc"


def log_model(client: Any, best: Path, *, run_id: str, experiment_id: str, step: int) -> None:
    """Log the bundle in folder `best` as a model of the MLflow run, once it has loaded and answered its example.

    client: an `MlflowClient`; step: the optimizer step that the model is of. A model with code of its own is left
    out with a warning: whoever loads a pyfunc has no way to allow that code, so that it would answer nobody.
    """
    if by := own_code(best, saved.read(best)):
        logger.warning(
            "MLflow: the model is not logged: it needs code of its own (%s), which a pyfunc never runs; load %s by "
            "jenga.load with trust_remote_code=True",
            by,
            best,
        )
        return
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    logged = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
    entry = Model(
        artifact_path=logged.artifact_location, run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id
    )
    # Beside the model, where there is room for another of its size.
    with tempfile.TemporaryDirectory(dir=best.parent, prefix=".mlflow-") as staging:
        folder = Path(staging) / "model"
        write_model(best, folder, entry=entry)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, models=[LoggedModelOutput(logged.model_id, step)])


def write_model(best: Path, folder: Path, *, entry: Any = None) -> None:
    """Write the bundle in `best` to `folder`, which is new or empty, as an MLflow model that has answered its example.

    entry: MLflow's `Model`, where its server knows of it. The bundle lies in ``data/``, under the name of its folder.
    """
    import mlflow
    from mlflow.models import ModelSignature, infer_signature, set_signature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    said = saved.read(best)
    inputs, example = _inputs(said)
    params = ParamSchema([ParamSpec("probabilities", "boolean", False), ParamSpec("batch_size", "long", 64)])
    mlflow.pyfunc.save_model(
        str(folder), loader_module=_LOADER, data_path=str(best), input_example=example,
        # Given, so that MLflow does not find them out by loading the model in another process.
        pip_requirements=requirements(best, said), mlflow_model=entry,
    )  # fmt: skip
    answer = mlflow.pyfunc.load_model(str(folder)).predict(example)
    # Answers of events differ: an alert tells its drivers, whose values are of any type.
    of_events = any(isinstance(spec.type, AnyType) for spec in inputs)
    outputs = Schema([ColSpec(AnyType())]) if of_events else infer_signature(model_output=answer).outputs
    set_signature(str(folder), ModelSignature(inputs, outputs, params))


def requirements(best: Path, said: saved.Description) -> list[str]:
    """Return what pip has to install where the model is loaded, each in the version that is here."""
    extras = {"track", *(each.extra for each in said.modalities.values() if each.extra)}
    return pinned(extras | {"onnx"} if saved.is_graph(best) else extras)


def own_code(best: Path, said: saved.Description) -> str | None:
    """Return what names code that the model in `best` needs and does not bring in Jenga; None where nothing does."""
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
