"""Which run is gone on with: one of the same configuration, or of one that asks for more training alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jenga.config.render import config_digest, differences
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError
from jenga.trainer.run import RunFolder

logger = logging.getLogger(__name__)

_LENGTHS = {"training.epochs", "training.max_steps"}
_SHOWN = 5


def find_run(config: ExperimentConfig, resume: str | None) -> RunFolder | None:
    """Return the run that `resume` asks for, held by this process; None for a new one.

    resume: ``auto`` takes the newest unfinished run that fits `config`, and tells which ones do not; or a run's folder.
    Raises ConfigError for a folder that cannot be gone on with.
    """
    if resume is None:
        return None
    run = _newest(config) if resume == "auto" else _named(config, resume)
    if run is not None:
        run.hold()
        changed = _changed(run, config)
        if changed:
            logger.warning("%s goes on with %s", run.path, _shown(changed))
            run.update(digest=config_digest(config))
    return run


def _newest(config: ExperimentConfig) -> RunFolder | None:
    passed: list[str] = []
    for run in RunFolder.unfinished(Path(config.output_dir), str(config.project_name)):
        if _fits(changed := _changed(run, config)):
            return run
        passed.append(f"{run.path} did not finish and is passed over: it was begun with other settings{_why(changed)}")
    for words in passed[:_SHOWN]:
        logger.warning("%s", words)
    return None


def _named(config: ExperimentConfig, resume: str) -> RunFolder:
    run = RunFolder(Path(resume))
    if not (run.path / "run.json").is_file():
        raise ConfigError(f"--resume: {resume} is no run folder (it has no run.json)")
    if not _fits(changed := _changed(run, config)):
        raise ConfigError(
            f"--resume: {resume} was made with another configuration{_why(changed)}; compare "
            f"{run.path / 'config.yml'}, or start anew"
        )
    if run.info().get("status") == "finished":
        raise ConfigError(f"--resume: {resume} is finished; its results are in {run.path / 'report.html'}")
    return run


def _changed(run: RunFolder, config: ExperimentConfig) -> dict[str, tuple[Any, Any]] | None:
    """Return what `config` changes of the run's configuration; None where the run does not say what it was."""
    if run.is_of(config_digest(config)):
        return {}
    written = run.path / "config.yml"
    return differences(config, written.read_text(encoding="utf-8")) if written.is_file() else None


def _fits(changed: dict[str, tuple[Any, Any]] | None) -> bool:
    """Whether a run can go on: only its length is another, and is not less."""
    if changed is None:
        return False
    return all(
        key in _LENGTHS and (before is None or (after is not None and after > before))
        for key, (before, after) in changed.items()
    )


def _why(changed: dict[str, tuple[Any, Any]] | None) -> str:
    return f" ({_shown(changed)})" if changed else ""


def _shown(changed: dict[str, tuple[Any, Any]]) -> str:
    found = [f"{key} {before} -> {after}" for key, (before, after) in changed.items()]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
