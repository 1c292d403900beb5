"""Which run is gone on with: one of the same configuration, or of one that asks for more training alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from jenga.config.render import computed, config_digest, differences
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.launched import launch_id
from jenga.report.runs import this_machine
from jenga.trainer.run import RunFolder

logger = logging.getLogger(__name__)

_LENGTHS = ("epochs", "max_steps")
"""Keys of `training` that say how long a run is; in stages they say where each of them ends too."""
_SHOWN = 5
_UNSAID = "its run.json does not say which configuration it was begun with (`given`)"
Changes = dict[str, tuple[Any, Any]]


def record(config: ExperimentConfig) -> dict[str, Any]:
    """Return what run.json says of what a run is begun with and by, by which it is known again.

    What `config` leaves open stays open in it, unlike in config.yml.
    """
    return {"digest": config_digest(config), "given": computed(config), **_begun_by()}


def find_run(config: ExperimentConfig, resume: str | None, *, launch: str | None = None) -> RunFolder | None:
    """Return the run that `resume` asks for, held by this process; None for a new one.

    resume: ``auto`` takes the newest unfinished run that fits `config`, and tells which ones do not; or a run's folder.
    launch: of a launcher that has started all anew; the run that it began, or went on with, before is meant, unless a
    folder is named. Raises ConfigError for a folder that cannot be gone on with.
    """
    run = None if launch is None or resume not in (None, "auto") else _of_launch(config, launch)
    if run is None:
        if resume is None:
            return None
        run = _newest(config) if resume == "auto" else _named(config, resume)
    if run is not None:
        run.hold()
        run.update(**_begun_by())
        changed = _changed(run, config)
        if changed:
            logger.warning("%s goes on with %s", run.path, _shown(changed))
            given = run.info()["given"]
            lengths = {key: getattr(config.training, key) for key in _LENGTHS}
            run.update(digest=config_digest(config), given={**given, "training": {**given["training"], **lengths}})
    return run


def _begun_by() -> dict[str, Any]:
    launch = launch_id()
    return {"machine": this_machine(), **({} if launch is None else {"launch": launch})}


def _of_launch(config: ExperimentConfig, launch: str) -> RunFolder | None:
    runs = RunFolder.unfinished(Path(config.output_dir), str(config.project_name))
    return next((run for run in runs if run.info().get("launch") == launch), None)


def _newest(config: ExperimentConfig) -> RunFolder | None:
    passed: list[str] = []
    for run in RunFolder.unfinished(Path(config.output_dir), str(config.project_name)):
        if _fits(changed := _changed(run, config), config):
            return run
        why = f"it was begun with other settings ({_shown(changed)})" if changed else _UNSAID
        passed.append(f"{run.path} did not finish and is passed over: {why}")
    for words in passed[:_SHOWN]:
        logger.warning("%s", words)
    return None


def _named(config: ExperimentConfig, resume: str) -> RunFolder:
    run = RunFolder(Path(resume))
    if not (run.path / "run.json").is_file():
        raise ConfigError(f"--resume: {resume} is no run folder (it has no run.json)")
    changed = _changed(run, config)
    if changed is None:
        raise ConfigError(f"--resume: {resume}: {_UNSAID}; start anew (without --resume)")
    if not _fits(changed, config):
        raise ConfigError(
            f"--resume: {resume} was made with another configuration ({_shown(changed)}); compare "
            f"{run.path / 'config.yml'}, or start anew"
        )
    if run.info().get("status") == "finished":
        raise ConfigError(f"--resume: {resume} is finished; its results are in {run.path / 'report.html'}")
    return run


def _changed(run: RunFolder, config: ExperimentConfig) -> Changes | None:
    """Return what `config` changes of the run's configuration; None where the run does not say what it was."""
    if run.is_of(config_digest(config)):
        return {}
    given = run.info().get("given")
    if not isinstance(given, dict) or not isinstance(given.get("training"), dict):
        return None
    changed = differences(config, given)
    written = run.path / "config.yml"
    settled = yaml.safe_load(written.read_text(encoding="utf-8")) if written.is_file() else given
    for key in _LENGTHS:
        # What was left open then has a number by now, which a new one is to exceed.
        name = f"training.{key}"
        if name in changed:
            changed[name] = (settled["training"][key], changed[name][1])
    if not _fits(changed, config) and _fits(of_settled := differences(config, settled), config):
        return of_settled
    return changed


def _fits(changed: Changes | None, config: ExperimentConfig) -> bool:
    """Whether a run can go on: only its length is another, and is not less; in stages it is the same."""
    if changed is None or (changed and config.stages):
        return False
    lengths = {f"training.{key}" for key in _LENGTHS}
    return all(
        key in lengths and (before is None or (after is not None and after > before))
        for key, (before, after) in changed.items()
    )


def _shown(changed: Changes) -> str:
    found = [f"{key} {_value(before)} -> {_value(after)}" for key, (before, after) in changed.items()]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _value(value: Any) -> Any:
    return "left open" if value is None else value
