"""`jenga check`: try an experiment without training it."""

from __future__ import annotations

import logging
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jenga.cli import options
from jenga.cli.output import print_json, print_table

if TYPE_CHECKING:
    import numpy as np
    import torch
    from accelerate import Accelerator

    from jenga.config.schema import ExperimentConfig
    from jenga.config.training import ResolvedTraining
    from jenga.rows.batches import Source
    from jenga.rows.parse import Rows
    from jenga.run.build import Experiment
    from jenga.types import HeadSpace

logger = logging.getLogger(__name__)
_MIB = 1 << 20
_FROZEN_BYTES, _TRAINED_BYTES, _AVERAGE_BYTES = 4, 16, 4
"""Memory of a parameter in float32: its value; when trained also its gradient and Adam's two moments, and its average.
"""


@click.command(cls=options.Command)
@options.config_argument
@options.set_option
@options.device_option
@options.seed_option
@options.trust_option
@options.json_option
def check(
    config: str, overrides: tuple[str, ...], device: str, seed: int | None, trust_remote_code: bool, as_json: bool
) -> None:
    """Try the experiment in CONFIG.yml: read all data, build the model, try a step a task on the longest rows.

    Writes nothing, but for what a model of the hub leaves in the hub's cache.
    """
    from jenga.run.experiment import load_config

    given = options.all_overrides(overrides, seed=seed, trust_remote_code=trust_remote_code)
    found = _try(load_config(config, given), device)
    if as_json:
        print_json(found)
        return
    for warning in found["warnings"]:
        logger.warning("%s", warning)
    for name in ("heads", "steps", "parts"):
        rows = found[name]
        print_table([[key.replace("_", " ") for key in rows[0]], *(list(map(_cell, row.values())) for row in rows)])
        click.echo()
    whole = found["parts"][-1]
    click.echo(f"{whole['trained']:,} of {whole['parameters']:,} parameters are trained")
    click.echo(found["training"])
    click.echo(
        f"{config} is fine: {found['total_steps']:,} steps of up to {_size(found)} "
        f"on {found['device']}; peak memory {found['peak_mib']:,} MiB"
    )


def _size(found: dict[str, Any]) -> str:
    sizes = {"rows": found["rows_per_step"], "tokens, or one longer row,": found["tokens_per_step"]}
    return " or ".join(f"{count} {name}" for name, count in sizes.items() if count is not None)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(value[:6])}{', ...' if len(value) > 6 else ''}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)


def _try(config: ExperimentConfig, device: str) -> dict[str, Any]:
    from jenga.balance import make_balance
    from jenga.callbacks.chain import Chain
    from jenga.callbacks.configured import named_callbacks
    from jenga.config.training import resolved
    from jenga.continual.methods import check_stages
    from jenga.run.build import build
    from jenga.run.experiment import make_accelerator
    from jenga.run.precision import AUTO, settled, with_precision
    from jenga.trainer.directions import metric_directions
    from jenga.trainer.evaluate import choose_device
    from jenga.trainer.optim import Maker, all_groups
    from jenga.trainer.recipe import told, trainings_of
    from jenga.trainer.rehearse import rehearse
    from jenga.trainer.turns import make_sampler, planned_steps

    if config.training.precision == AUTO:
        precision, _ = settled(choose_device(device))
        config = with_precision(config, precision)
    accelerator = make_accelerator(config.training.precision, device)
    teacher = getattr(config.model, "teacher_student_config", None)
    if teacher is not None and teacher.top_k is not None:
        # A teacher that runs for the one step that is tried, instead of over all rows.
        running = teacher.model_copy(update={"top_k": None, "top_k_dir": None})
        model_block = config.model.model_copy(update={"teacher_student_config": running})
        config = config.model_copy(update={"model": model_block})
    with tempfile.TemporaryDirectory(prefix="jenga-") as scratch:
        data = config.data.model_copy(update={"cache_dir": scratch})
        experiment = build(config.model_copy(update={"data": data}), Path(scratch), device=accelerator.device)
        given, config = config, experiment.bundle.config
        model, training = experiment.bundle.model.to(accelerator.device), resolved(config.training)
        if experiment.teacher is not None:
            experiment.teacher.to(accelerator.device)
        metric_directions(config.evaluation, model, experiment.sources)
        check_stages(config, model, experiment.sources)
        notes = [note for name in model.tasks for note in model.tasks[name].notes()]
        bad = experiment.bad
        unusable = [f"{len(bad)} rows cannot be used; the first: {bad[0]}"] if bad else []
        sizes = trainings_of(config)
        tokens = [each.tokens_per_step for each in sizes.values() if each.tokens_per_step]
        rows = [each.batch_size * training.gradient_accumulation_steps for each in sizes.values() if each.batch_size]
        total_steps = sum(planned_steps(make_sampler(experiment.sources, config), config))
        groups, names = all_groups(model, make_balance(training.loss_balance, list(model.tasks)), sizes)
        make = Maker(training, Chain(named_callbacks(config)))
        rehearse(groups, names, training, accelerator.device, make=make, total_steps=total_steps)
        return {
            "heads": _heads(experiment),
            "steps": [
                _step(model, experiment.teacher, source, task, sizes[source.encoder], accelerator)
                for source in experiment.sources
                for task in source.tasks
            ],
            "parts": _parts(model, experiment.teacher, averaged=training.ema is not None),
            "training": "\n".join(told(given, config, total_steps)),
            "total_steps": total_steps,
            "rows_per_step": max(rows, default=None),
            "tokens_per_step": max(tokens, default=None),
            "device": str(accelerator.device),
            "peak_mib": _peak_mib(accelerator.device),
            "warnings": [*unusable, *experiment.warnings, *notes],
        }  # fmt: skip


def _heads(experiment: Experiment) -> list[dict[str, Any]]:
    from jenga.labels import kind_named

    return [
        {
            "task": space.task,
            "head": space.head,
            "kind": space.kind,
            "labels": "next token" if kind_named(space.kind).from_text else list(space.labels),
            **{
                f"{split}_rows": int(_labelled([space], source.splits[split].rows).sum())
                for split in ("train", "valid", "test")
                if split in source.splits
            },
        }
        for source in experiment.sources
        for space in source.splits["train"].spaces.values()
    ]


def _step(
    model: Any, teacher: Any, source: Source, task: str, training: ResolvedTraining, accelerator: Accelerator
) -> dict[str, Any]:
    """Take the forward and backward pass of `task` on its longest rows, which need the most memory."""
    import numpy as np

    from jenga.errors import DivergedError
    from jenga.trainer.recipe import rows_of_pass

    split = source.splits["train"]
    longest = np.argsort(-split.lengths, kind="stable")
    if not model.tasks[task].generates:
        labelled = _labelled([space for space in split.spaces.values() if space.task == task], split.rows)
        longest = longest[labelled[longest]]
    index = longest[: rows_of_pass(training, int(split.lengths[longest].max(initial=1)))].tolist()
    batch = split.batch(index).to(accelerator.device)
    model.train()
    model.zero_grad()
    with accelerator.autocast():
        if teacher is not None:
            teacher.teach(batch)
        loss = model(batch.inputs, [task], batch.labels, batch.teacher, batch.states)[task].loss
    accelerator.backward(loss)
    if not all(_is_finite(each) for each in (loss, *_gradients(model))):
        raise DivergedError(f"task '{task}': its loss ({loss.item()}) or a gradient of it is not finite")
    moved = model.encoder_of(task) if model.tasks[task].generates else model.tasks[task]
    if not any(bool(gradient.any()) for gradient in _gradients(moved)):
        raise DivergedError(f"task '{task}': its loss moves none of its parameters")
    return {
        "task": task,
        "loss": loss.item(),
        "rows": len(index),
        split.encoded.unit: split.encoded.extent(batch.inputs),
    }


def _labelled(spaces: Sequence[HeadSpace], rows: Rows) -> np.ndarray:
    """Return bool (M,): which rows have a label of any of `spaces`."""
    import numpy as np

    from jenga.labels import kind_named

    found = [
        kind_named(space.kind).labelled(space, rows.labels.get((space.task, space.head), rows.ids)) for space in spaces
    ]
    return np.asarray(np.any(found, axis=0))


def _gradients(module: Any) -> list[torch.Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _parts(model: Any, teacher: Any, *, averaged: bool) -> list[dict[str, Any]]:
    encoders = model.encoders
    modules = {"backbone" if len(encoders) == 1 else f"backbone {name}": encoders[name] for name in encoders}
    modules |= {f"inputs {name}": model.joints[name] for name in model.joints}
    modules |= {"fusion" if len(encoders) == 1 else f"fusion {name}": model.fusion[name] for name in model.fusion}
    modules |= {f"task {name}": model.tasks[name] for name in model.tasks}
    modules |= {"matching": model.matching, "teacher": None if teacher is None else teacher.model}
    rows = []
    for name, module in {**modules, "all": model}.items():
        parameters = list(module.parameters()) if module is not None else []
        trained = sum(each.numel() for each in parameters if each.requires_grad)
        total = sum(each.numel() for each in parameters)
        needed = trained * (_TRAINED_BYTES + averaged * _AVERAGE_BYTES) + (total - trained) * _FROZEN_BYTES
        if total:
            rows.append({"part": name, "parameters": total, "trained": trained, "training_bytes": needed})
    return rows


def _peak_mib(device: torch.device) -> int:
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / _MIB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
