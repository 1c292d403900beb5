"""The schema of experiments made of what is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, create_model

from jenga.config.evaluation import EvaluationConfig
from jenga.config.optimization import PartChoices
from jenga.config.parts import ModalityChoices, ShortForm
from jenga.config.schema import BackboneName, ExperimentConfig, SeveralBackbones
from jenga.config.strict import Strict
from jenga.config.training import OwnTraining
from jenga.registry import Registry

_SEVERAL = "several backbones"


def experiment_model(
    tasks: Registry[Any],
    backbones: Registry[Any],
    callbacks: Registry[Any],
    *,
    modality_of: Callable[[str], ModalityChoices],
    baselines: Sequence[str],
    default_backbone: str | None = None,
    parts: Mapping[str, PartChoices] | None = None,
    forms: Sequence[ShortForm] = (),
) -> type[ExperimentConfig]:
    """Return the schema of an experiment made of the registered parts; tasks are told apart by `type`.

    modality_of: called with a backbone's type. baselines: their names. default_backbone: the type where none is given.
    parts: what `training` can name, by its key: ``optimizer``, ``scheduler``. forms: shorter ways to write one.
    """
    for registry in (tasks, backbones, callbacks):
        registry.load_entry_points()
    modalities = {each: modality_of(name) for name in backbones for each in (name, *backbones.aliases_of(name))}
    task_models = []
    for name in tasks:
        # What labels words, or moments, has no use for the columns of rows without any.
        needs = {"tokens": "words", "frames": "frames"}.get(tasks[name].reads)
        fitting = [each for each in modalities.values() if needs is None or getattr(each, needs)]
        content = tuple(dict.fromkeys(each.columns for each in fitting))
        block = _with_columns(tasks.config_of(name), content)
        task_models.append(_named(tasks, name, {"type": (_names(tasks, name), ...)}, block))
    model_models = []
    for name in backbones:
        kind: Any = (_names(backbones, name), name if name == default_backbone else ...)
        model_models.append(
            _named(backbones, name, {"backbone_type": kind}, backbones.config_of(name) or modalities[name].settings)
        )
    callback_fields: dict[str, Any] = {name: ((callbacks.config_of(name) or Strict) | None, None) for name in callbacks}
    callbacks_model = create_model("Callbacks", __base__=Strict, **callback_fields)
    task_model: Any = _union(task_models, "type", None)
    compared: Any = Literal[tuple(baselines)]
    info = EvaluationConfig.model_fields["baselines"]
    evaluation = create_model("EvaluationConfig", __base__=EvaluationConfig, baselines=(list[compared], info))
    one_of_several: Any = _union([_in_several(*each) for each in model_models], "backbone_type", None)
    blocks: Any = dict[BackboneName, one_of_several]
    several = create_model(
        "Several", __base__=SeveralBackbones, backbones=(blocks, SeveralBackbones.model_fields["backbones"])
    )
    fields: dict[str, Any] = {
        "model": (_union(model_models, "backbone_type", default_backbone, several), ...),
        "tasks": (list[task_model], Field(min_length=1)),
        "evaluation": (evaluation, Field(default_factory=evaluation)),
        "callbacks": (callbacks_model, Field(default_factory=dict, validate_default=True)),
    }
    experiment = create_model("Experiment", __base__=ExperimentConfig, **fields)
    experiment.parts, experiment.forms = parts or {}, tuple(forms)
    experiment.modalities, experiment.default_backbone = modalities, default_backbone
    experiment.token_tasks, experiment.frame_tasks = _reading(tasks, "tokens"), _reading(tasks, "frames")
    experiment.language_tasks = _reading(tasks, "language")
    return experiment


def _reading(tasks: Registry[Any], reads: str) -> frozenset[str]:
    return frozenset(each for name in tasks if tasks[name].reads == reads for each in (name, *tasks.aliases_of(name)))


def _names(registry: Registry[Any], name: str) -> Any:
    return Literal[(name, *registry.aliases_of(name))]


def _named(
    registry: Registry[Any], name: str, fields: dict[str, Any], base: type[Strict]
) -> tuple[tuple[str, ...], type[Strict]]:
    return (name, *registry.aliases_of(name)), create_model(f"{name}_{base.__name__}", __base__=base, **fields)


def _with_columns(block: type[Strict], content: tuple[type[Strict], ...]) -> type[Strict]:
    """Return a task's block whose `columns` also name where the content of rows stands."""
    own: Any = block.model_fields["columns"].annotation
    if own.whole:
        return block
    columns: Any = create_model(own.__name__, __base__=(*content, own))
    described = Field(default_factory=columns, description=block.model_fields["columns"].description)
    return create_model(block.__name__, __base__=block, columns=(columns, described))


def _in_several(names: tuple[str, ...], block: type[Strict]) -> tuple[tuple[str, ...], type[Strict]]:
    """Return a backbone's block as one of several has it, with what is its own of the blocks beside `model`."""
    peft = ExperimentConfig.model_fields["peft"]
    training = Field(default_factory=OwnTraining, description="What its tasks' training has of its own.")
    fields: dict[str, Any] = {"peft": (peft.annotation, peft), "training": (OwnTraining, training)}
    return names, create_model(f"{block.__name__}InSeveral", __base__=block, **fields)


def _union(
    models: list[tuple[tuple[str, ...], type[Strict]]],
    key: str,
    default: str | None,
    several: type[SeveralBackbones] | None = None,
) -> Any:
    """Return the blocks `models`, told apart by the value of `key`. several: a block that is told by its own key."""

    def tag(value: Any) -> str | None:
        read = value.get if isinstance(value, dict) else partial(getattr, value)
        if several is not None and read("backbones", None) is not None:
            return _SEVERAL
        return read(key, default)

    options = [Annotated[model, Tag(name)] for names, model in models for name in names]
    if several is not None:
        options.append(Annotated[several, Tag(_SEVERAL)])
    return Annotated[reduce(or_, options), Discriminator(tag)]
