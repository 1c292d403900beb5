"""The best model of a run as an MLflow model: a pyfunc of safetensors and JSON, without a pickle."""

from __future__ import annotations

import json
import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jenga.backbones.remote_code import named_code
from jenga.peft import base_of

logger = logging.getLogger(__name__)
# Given, so that MLflow does not find them out by loading the model in another process.
_REQUIREMENTS = ("jenga", "mlflow", "torch", "transformers")
_EXAMPLES = {"categorical": "example", "text": "example.com", "ip": "10.0.0.1", "timestamp": "2026-01-01T00:00:00Z"}
"""A value for the fields of an example event, by kind; 0 for the others."""
_CHAT = '[{"role": "user", "content": "An example of a text."}]'


def log_model(client: Any, best: Path, *, run_id: str, experiment_id: str, step: int) -> None:
    """Log the bundle in folder `best` as a model of the MLflow run, once it has loaded and answered its example.

    client: an `MlflowClient`; step: the optimizer step that the model is of. A model with code of its own is left
    out with a warning: whoever loads a pyfunc has no way to allow that code, so that it would answer nobody.
    """
    if by := _own_code(best):
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

    inputs, example = _inputs(best)
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


def _own_code(best: Path) -> str | None:
    model = json.loads((best / "jenga.json").read_text(encoding="utf-8"))["config"]["model"]
    if not model.get("trust_remote_code", False):
        return None
    base = base_of(best / "backbone")
    return named_code(best / "backbone") or (named_code(base) if base else None)


def _inputs(best: Path) -> tuple[Any, Any]:
    """Return the schema of the columns that the model in `best` reads, and a table with one row of them."""
    import pandas
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    description = json.loads((best / "jenga.json").read_text(encoding="utf-8"))
    ids = {source["id"]: None for source in description["sources"]}
    if fields := description["inputs"].get("fields"):
        # A field's type may drift from event to event; the model's refinery reads what fits and counts the rest.
        specs = [ColSpec(AnyType(), path, required=False) for path in [*(path for path, _ in fields), *ids]]
        events = {path: [_EXAMPLES.get(kind, 0)] for path, kind in fields} | {path: ["example"] for path in ids}
        return Schema(specs), pandas.DataFrame(events)
    texts = {_text_column(source): None for source in description["sources"]}
    texts |= {source["text_pair"]: None for source in description["sources"] if source["text_pair"]}
    ids = {name: None for name in ids if name not in texts}
    chats = {source["language"]["messages"][0] for source in description["sources"] if _is_chat(source)}
    columns: list[Any] = [ColSpec("string", name) for name in texts]
    columns += [ColSpec("string", name, required=False) for name in ids]
    example = {name: [_CHAT if name in chats else "An example of a text."] for name in texts}
    example |= {name: ["example"] for name in ids}
    return Schema(columns), pandas.DataFrame(example)


def _is_chat(source: dict[str, Any]) -> bool:
    language = source.get("language")
    return bool(language and not (language["prompt"] or language["text"]))


def _text_column(source: dict[str, Any]) -> str:
    if language := source.get("language"):
        return str((language["prompt"] or language["text"] or language["messages"])[0])
    return "text" if "text" in source["text"] else str(source["text"][0])
