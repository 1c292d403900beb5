"""What a run is of, written and told before it begins."""

from __future__ import annotations

import json
import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from jenga.bundle import Bundle
from jenga.config.render import to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.files import write_atomic
from jenga.modalities.base import Facts
from jenga.processes import Processes
from jenga.run.build import Experiment
from jenga.run.statistics import statistics
from jenga.trainer.recipe import told
from jenga.trainer.run import RunFolder
from jenga.trainer.turns import make_sampler, planned_steps

logger = logging.getLogger(__name__)


def describe(
    run: RunFolder, config: ExperimentConfig, experiment: Experiment, accelerator: Accelerator, console: Console
) -> None:
    """Write what is known before training, and tell it."""
    rows = {
        split: sum(len(source.splits[split].rows) for source in experiment.sources if split in source.splits)
        for split in ("train", "valid", "test")
    }
    model = experiment.bundle.model
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    warnings = [
        *_set_aside(experiment),
        *experiment.warnings,
        *(note for name in model.tasks for note in model.tasks[name].notes()),
    ]
    run.update(
        status="running", reason=None, rows=rows, parameters=parameters, trained=trained, warnings=warnings,
        pretrained=[name for name in model.encoders if model.encoders[name].pretrained],
        inputs=_facts(experiment.bundle)._asdict(), fingerprint=experiment.fingerprint,
        statistics=statistics(experiment.sources), set_aside=len(experiment.bad),
    )  # fmt: skip
    write_atomic(run.path / "config.yml", to_yaml(resolved_of(config, experiment)))
    write_atomic(run.path / "environment.json", json.dumps(environment(accelerator.device), indent=1) + "\n")
    if experiment.bad:
        lines = [
            json.dumps({"file": r.file, "row": r.number, "reason": r.reason, "raw": r.raw}, ensure_ascii=False)
            for r in experiment.bad
        ]
        write_atomic(run.path / "quarantine.jsonl", "\n".join(lines) + "\n")
    for warning in warnings:
        logger.warning("%s", warning)
    if config.tune is not None:
        console.print("tune: left aside, for jenga tune; this run has the settings of the file itself", highlight=False)
    for line in told(config, experiment.bundle.config, steps_of(experiment)):
        console.print(line, highlight=False, soft_wrap=True)
    streamed = " to begin with, and more as they come" if config.data.streaming else ""
    console.print(
        f"{run.path}: {rows['train']} training{streamed}, {rows['valid']} validation, {rows['test']} test rows; "
        f"{len(experiment.sources)} source(s); {parameters:,} parameters{_share(trained, parameters)} on "
        f"{accelerator.device}{_several(accelerator)}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def resolved_of(config: ExperimentConfig, experiment: Experiment) -> ExperimentConfig:
    """Return `config` with what its rows and its encoder decided: the numbers of the training, and the metric."""
    found = experiment.bundle.config
    own = {
        name: block.model_copy(update={"training": found.backbones[name].training})
        for name, block in (config.backbones.items() if config.several else ())
    }
    evaluation = config.evaluation.model_copy(update={"metric": found.evaluation.metric})
    return config.with_blocks(own).model_copy(update={"training": found.training, "evaluation": evaluation})


def steps_of(experiment: Experiment) -> int:
    """Return the optimizer steps that are planned."""
    config = experiment.bundle.config
    return sum(planned_steps(make_sampler(experiment.sources, config), config))


def environment(device: torch.device) -> dict[str, Any]:
    """Return the versions and hardware that a run depends on."""
    libraries = (
        "jenga", "torch", "transformers", "accelerate", "peft", "scikit-learn", "numpy",
        "datasets", "matplotlib", "mlflow",
    )  # fmt: skip
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in libraries},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _set_aside(experiment: Experiment) -> list[str]:
    """Return how many rows cannot be used, in words that a card may show: without the folders of this machine."""
    if not experiment.bad:
        return []
    count, first = len(experiment.bad), experiment.bad[0]
    return [
        f"{count} rows cannot be used and are left out; they are listed in quarantine.jsonl of the run. The first, "
        f"{Path(first.file).name}:{first.number}: {first.reason}"
    ]


def _facts(bundle: Bundle) -> Facts:
    """Return what a model card says of how rows are read, over all encoders."""
    found = [
        encoder.facts([spec for spec in bundle.specs if bundle.encoder_of(spec) is encoder])
        for encoder in bundle.inputs.values()
    ]
    data = {name: value for each in found for name, value in each.data.items()}
    return Facts(data, [limit for each in found for limit in each.limits])


def _share(trained: int, parameters: int) -> str:
    return "" if trained == parameters else f" ({trained:,} trained)"


def _several(accelerator: Accelerator) -> str:
    size = Processes.of_run(accelerator.device).size
    return "" if size == 1 else f", {size} processes"
