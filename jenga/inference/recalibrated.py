"""A trained model whose calibrations and thresholds are fitted to other rows: where it is used, not where it learnt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jenga import saved
from jenga.bundle import HeadKey, schema
from jenga.config.load import from_mapping
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.inference.judged import labelled_sources
from jenga.inference.loading import load
from jenga.inference.predictor import Predictor
from jenga.labels.judge import labelled_rows
from jenga.rows.batches import Source
from jenga.trainer.calibrate import calibrate
from jenga.trainer.certain import settle

_SPLIT = "valid"
_MAY_CHANGE = tuple(
    f"evaluation.{key}" for key in ("thresholds", "calibration", "conformal", "out_of_scope", "bootstrap")
)


@dataclass(frozen=True)
class Recalibrated:
    """What `recalibrate` wrote, and how the model does on the rows before and after, as `Predictor.evaluate` has it."""

    folder: Path
    before: dict[str, Any]
    after: dict[str, Any]
    kept: list[HeadKey]
    """Heads that no row has a label for: they stay as they were."""
    warnings: list[str]


def recalibrate(
    run: str | Path,
    data: str,
    output: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Recalibrated:
    """Fit how sure the best model of `run` is, and from where it says yes, to the labelled rows of `data`.

    No weight changes. The model goes to the new folder `output`, which `jenga.load` and every command read; `run` stays
    as it is. overrides: ``key=value`` of `evaluation.thresholds`, `.calibration`, `.conformal`, `.out_of_scope`
    and `.bootstrap`; else as in training. The scores after are of the rows that it was fitted to, and flatter it.
    Raises ConfigError where `output` is there or lies in the model's folder, a setting is another one, or `run` holds
    graphs; DataError where no row has a label.
    """
    source = saved.find_model(run)
    if saved.is_graph(source):
        raise ConfigError(f"{source}: holds graphs; recalibrate the run that they came from and export what that gives")
    target = _new_folder(Path(output), source)
    predictor = load(run, device=device, base_model=base_model, trust_remote_code=trust_remote_code)
    bundle = predictor.bundle
    bundle.config = _with_settings(bundle.config, overrides)
    sources = labelled_sources(bundle, data, split=_SPLIT)
    before = predictor.judge(sources, _SPLIT)
    warnings, kept = _refit(predictor, sources)
    bundle.save(target)
    return Recalibrated(target, before, predictor.judge(sources, _SPLIT), kept, warnings)


def _new_folder(target: Path, source: Path) -> Path:
    if target.exists():
        raise ConfigError(f"--output: {target} is there already; name a folder that is not")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"--output: {target} lies in the model's own folder {source}; name another place")
    return target


def _with_settings(config: ExperimentConfig, overrides: Sequence[str]) -> ExperimentConfig:
    """Return the configuration with other settings of what is fitted here."""
    if not overrides:
        return config
    for each in overrides:
        if not each.startswith(tuple(f"{name}{end}" for name in _MAY_CHANGE for end in ("=", "."))):
            raise ConfigError(
                f"--set {each}: only what is fitted here can be set, under {', '.join(_MAY_CHANGE)}; the rest is as "
                "the model learnt it"
            )
    said = config.model_dump(mode="json", exclude_defaults=True)
    evaluation = from_mapping(said, schema=schema(), overrides=overrides).evaluation
    return config.model_copy(update={"evaluation": evaluation})


def _refit(predictor: Predictor, sources: Sequence[Source]) -> tuple[list[str], list[HeadKey]]:
    """Put into the predictor's model what the rows show; return warnings, and the heads that stay as they were."""
    bundle = predictor.bundle
    thresholds, certainty = bundle.thresholds, bundle.certainty
    bundle.thresholds, bundle.certainty = {}, {}
    runner = predictor.judges()
    labels = [source.splits[_SPLIT].rows.labels for source in sources]
    spaces = {
        key: space
        for key, space in bundle.spaces.items()
        if any(key in each and labelled_rows(space, each[key]) for each in labels)
    }
    warnings = calibrate(runner, sources, heads=spaces)
    valid = runner.evaluate(sources, _SPLIT, logits=True)
    settled = settle(valid, bundle.model, spaces, bundle.config.evaluation)
    kept = [key for key in bundle.spaces if key not in spaces]
    bundle.thresholds = {key: value for key, value in thresholds.items() if key in kept} | settled.thresholds
    bundle.certainty = {key: value for key, value in certainty.items() if key in kept} | settled.certainty
    return [*warnings, *settled.warnings], kept
