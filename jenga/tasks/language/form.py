"""The short form of a language model's experiment: `model.name` and `data.path`, without `tasks`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, create_model, model_validator

from jenga.config.schema import DataConfig, ExperimentConfig
from jenga.config.strict import Strict
from jenga.config.tasks import Paths, SplitPaths, TaskConfig
from jenga.config.yaml12 import KeyPath
from jenga.modalities.text.settings import ModelConfig
from jenga.tasks.language.config import CausalLMConfig, GenerationConfig, LanguageColumns

TASK = "lm"
_COLUMNS = tuple(LanguageColumns.model_fields)
_TASK_KEYS = ("loss_on", "template", "separator", "packing")
_NOT_HERE = ("tasks", "fusion", "model", "data")


class LanguageData(DataConfig):
    """Rows of a language model, and what is learnt of them."""

    path: Paths | SplitPaths = Field(description=str(TaskConfig.model_fields["data_path"].description))
    text: str | None = LanguageColumns.model_fields["text"]  # type: ignore[assignment]
    prompt: str | None = LanguageColumns.model_fields["prompt"]  # type: ignore[assignment]
    completion: str | None = LanguageColumns.model_fields["completion"]  # type: ignore[assignment]
    messages: str | None = LanguageColumns.model_fields["messages"]  # type: ignore[assignment]
    id: str | None = LanguageColumns.model_fields["id"]  # type: ignore[assignment]
    loss_on: Literal["completion", "all"] = CausalLMConfig.model_fields["loss_on"]  # type: ignore[assignment]
    template: Literal["auto", "plain", "chat"] = CausalLMConfig.model_fields["template"]  # type: ignore[assignment]
    separator: str = CausalLMConfig.model_fields["separator"]  # type: ignore[assignment]
    packing: bool = CausalLMConfig.model_fields["packing"]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _task_agrees(self) -> Self:
        """Let the task's own block judge what belongs together."""
        columns = LanguageColumns(**{key: getattr(self, key) for key in _COLUMNS})
        CausalLMConfig(
            name=TASK, type="causal_lm", data_path=self.path, columns=columns,
            **{key: getattr(self, key) for key in _TASK_KEYS},
        )  # fmt: skip
        return self


class _Named(Strict):
    name: str | None = Field(None, min_length=1, description="Hub name or folder of a causal language model.")

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        settings: Any = getattr(self, "teacher_student_config", None)
        if self.name is None and (settings is None or settings.student is None):
            raise ValueError("name: required key is missing: hub name or folder of a causal language model")
        return self


class LanguageForm:
    """A model's `name`, or its teacher, with no tasks. Beside tasks, `name` is a slip for `base_model`."""

    data_paths: tuple[KeyPath, ...] = (("data", "path"),)

    def used_in(self, data: Any) -> bool:
        """Return whether a model is given as `name`, or by its teacher, with no tasks."""
        model = data.get("model") if isinstance(data, dict) else None
        named = isinstance(model, dict) and any(key in model for key in ("name", "teacher_student_config"))
        return named and "tasks" not in data

    def schema(self, experiment: type[ExperimentConfig]) -> type[Strict]:
        """Return the schema of the short form of experiments of `experiment`."""
        model: dict[str, Any] = {
            key: (info.annotation, info) for key, info in ModelConfig.model_fields.items()
            if key not in ("base_model", "pooling")
        }  # fmt: skip
        model["backbone_type"] = (Literal["text"], "text")
        blocks: dict[str, Any] = {
            key: (info.annotation, info) for key, info in experiment.model_fields.items() if key not in _NOT_HERE
        }
        blocks["model"] = (create_model("LanguageModel", __base__=_Named, **model), ...)
        blocks["data"] = (LanguageData, ...)
        blocks["generation"] = (GenerationConfig, CausalLMConfig.model_fields["generation"])
        return create_model("LanguageExperiment", __base__=Strict, **blocks)

    def whole(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the valid content of a short form as that of an experiment with one task."""
        rows = data["data"]
        task: dict[str, Any] = {
            "name": TASK,
            "type": "causal_lm",
            "data_path": rows["path"],
            "columns": {key: rows[key] for key in _COLUMNS if key in rows},
            **{key: rows[key] for key in _TASK_KEYS if key in rows},
        }
        if "generation" in data:
            task["generation"] = data["generation"]
        model = {key: value for key, value in data["model"].items() if key != "name"}
        if (name := data["model"].get("name")) is not None:
            model["base_model"] = name
        others = {key: value for key, value in data.items() if key not in ("model", "data", "generation")}
        kept = {key: value for key, value in rows.items() if key in DataConfig.model_fields}
        return {**others, "model": model, "data": kept, "tasks": [task]}
