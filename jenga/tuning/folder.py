"""The folder of a study: what it is of, how far it is, and its results."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jenga.config.load import Search
from jenga.config.render import computed, config_digest, differences, to_yaml
from jenga.config.schema import ExperimentConfig
from jenga.errors import ConfigError, SetupError
from jenga.files import json_object, write_atomic
from jenga.trainer.run import HeldFolder, RunFolder, new_folder
from jenga.tuning.trials import Trial, Trials

logger = logging.getLogger(__name__)

_FORMAT = 1
_PREFIX = "study_"
_MAY_CHANGE = {"trials", "timeout_s", "keep"}
"""Keys of `tune` with other values of which a study can go on."""


class StudyFolder(HeldFolder):
    """``<output_dir>/<project>/study_<timestamp>/``: study.json, study.db, trials.csv, best.yml, a run each trial."""

    @property
    def database(self) -> Path:
        """Where Optuna keeps the trials."""
        return self.path / "study.db"

    def run_of(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.path / f"trial-{number:03d}"

    def info(self) -> dict[str, Any]:
        """Return study.json. Raises SetupError where it is harmed, or not there."""
        try:
            return json_object(self.path / "study.json")
        except (OSError, ValueError) as error:
            raise SetupError(f"{self.path / 'study.json'}: cannot be read ({error}); start a new study") from error

    def update(self, **fields: Any) -> None:  # the fields of a JSON file, not options
        """Set fields of study.json."""
        present = self.info() if (self.path / "study.json").exists() else {}
        write_atomic(self.path / "study.json", json.dumps({**present, **fields}, indent=1, ensure_ascii=False) + "\n")

    def discard(self) -> None:
        """Delete the folder, in which nothing is of worth yet."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def new_study(search: Search, *, metric: str, evaluation_metric: str, greater_is_better: bool) -> StudyFolder:
    """Return a new folder for a study of `search`, held by this process."""
    study = StudyFolder(new_folder(Path(search.config.output_dir) / str(search.config.project_name), _PREFIX))
    try:
        study.hold()
        write_atomic(study.path / "config.yml", to_yaml(search.config))
        study.update(
            format=_FORMAT, status="running", created=datetime.now(UTC).isoformat(), **_record(search),
            metric=metric, evaluation_metric=evaluation_metric, greater_is_better=greater_is_better,
        )  # fmt: skip
    except BaseException:
        study.discard()
        raise
    return study


def experiment(study: StudyFolder, search: Search, values: Mapping[str, Any]) -> ExperimentConfig:
    """Return the experiment of a trial. What `evaluation.metric: auto` came to for the file's own values holds for all.

    Raises ConfigError where `values` do not agree.
    """
    config = search.experiment(values)
    metric = study.info().get("evaluation_metric", config.evaluation.metric)
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"metric": metric})})


def find_study(search: Search, resume: str | None) -> StudyFolder | None:
    """Return the study that `resume` asks for, held by this process; None for a new one.

    resume: ``auto`` takes the newest one of the same search that has trials left; or the folder of one. More trials
    than it was begun with are welcome. Raises ConfigError for a folder that cannot be gone on with.
    """
    if resume is None:
        return None
    study = _newest(search) if resume == "auto" else _named(search, resume)
    if study is not None:
        study.hold()
        study.update(status="running", reason=None, trials_wanted=search.tune.trials)
    return study


def _newest(search: Search) -> StudyFolder | None:
    parent = Path(search.config.output_dir) / str(search.config.project_name)
    for path in sorted(parent.glob(f"{_PREFIX}*/study.json"), reverse=True):
        study = StudyFolder(path.parent)
        try:
            info = study.info()
        except SetupError as error:
            logger.warning("%s is passed over: %s", study.path, error)
            continue
        if not _changed(search, info) and not _is_over(search, info):
            return study
    return None


def _named(search: Search, resume: str) -> StudyFolder:
    study = StudyFolder(Path(resume))
    if not (study.path / "study.json").is_file():
        raise ConfigError(f"--resume: {resume} is no folder of a study (it has no study.json)")
    info = study.info()
    if changed := _changed(search, info):
        raise ConfigError(
            f"--resume: {resume} was begun with another configuration ({', '.join(changed[:5])}); compare "
            f"{study.path / 'config.yml'}, or start anew"
        )
    if _is_over(search, info):
        raise ConfigError(f"--resume: {resume} is finished; for more trials raise tune.trials")
    return study


def _record(search: Search) -> dict[str, Any]:
    return {
        "digest": config_digest(search.config),
        "given": computed(search.config),
        "search": search.tune.model_dump(mode="json", exclude=_MAY_CHANGE),
        "trials_wanted": search.tune.trials,
    }


def _changed(search: Search, info: dict[str, Any]) -> list[str]:
    """Return what differs from the search that a study was begun with, in words."""
    now = _record(search)
    wanted, found = now["search"], info.get("search", {})
    words = [f"tune.{key}" for key in wanted if wanted[key] != found.get(key)]
    if info.get("digest") != now["digest"]:
        words += [
            f"{key} {was} -> {is_}" for key, (was, is_) in differences(search.config, info.get("given", {})).items()
        ]
    return words


def _is_over(search: Search, info: dict[str, Any]) -> bool:
    return info.get("status") == "finished" and search.tune.trials <= info.get("trials_wanted", 0)


# -------------------------------------------------------------------------------------------------------------- results


def write_results(study: StudyFolder, search: Search, trials: Trials) -> dict[str, Any]:
    """Write what the trials have given so far: study.json, trials.csv and best.yml. Returns study.json."""
    best, all_ = trials.best(), trials.all()
    study.update(
        study=str(study.path),
        trials=[_described(study, each) for each in all_],
        best=None if best is None else {**_described(study, best), "config": str(study.path / "best.yml")},
        importances=trials.importances(),
    )
    info = study.info()
    write_atomic(study.path / "trials.csv", _csv(list(search.dimensions), info["trials"]))
    if best is not None:
        words = f"trial {best.number} of {len(all_)}: {info['metric']} {best.score!r} on the validation rows"
        head = f"# The best of a search by jenga tune, {words}.\n"
        write_atomic(study.path / "best.yml", head + to_yaml(experiment(study, search, best.values)))
    return info


def drop_weights(study: StudyFolder, trials: Trials) -> None:
    """Delete the weights and checkpoints of all trials that are over but the best one."""
    best = trials.best()
    for each in trials.all():
        if each.state != "running" and (best is None or each.number != best.number):
            RunFolder(study.run_of(each.number)).drop_models()


def _described(study: StudyFolder, trial: Trial) -> dict[str, Any]:
    path = study.run_of(trial.number)
    return {
        "number": trial.number,
        "state": trial.state,
        "score": trial.score,
        "values": trial.values,
        "evaluations": trial.evaluations,
        "seconds": json_object(path / "run.json").get("seconds") if (path / "run.json").exists() else None,
        "reason": trial.reason,
        "run": str(path),
    }


def _csv(keys: list[str], trials: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "score", *keys, "evaluations", "seconds", "reason"])
    for each in trials:
        values = [each["values"][key] for key in keys]
        plain = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
        writer.writerow(
            [each["number"], each["state"], each["score"], *plain, each["evaluations"], each["seconds"], each["reason"]]
        )
    return text.getvalue()


def results_table(info: dict[str, Any]) -> list[list[str]]:
    """Return a header and a row a trial of `info`, the content of study.json: its score, and what it drew."""
    keys = list(dict.fromkeys(key for each in info["trials"] for key in each["values"]))
    best = info["best"]["number"] if info["best"] else None
    table = [["trial", "state", info["metric"], *keys, "notes"]]
    for each in info["trials"]:
        score = "-" if each["score"] is None else f"{each['score']:.4f}"
        notes = "best" if each["number"] == best else (each["reason"] or "").split("\n")[0]
        table.append([str(each["number"]), each["state"], score, *(shown(each["values"][key]) for key in keys), notes])
    return table


def importance_table(info: dict[str, Any]) -> list[list[str]]:
    """Return a header and a row a key: its share in how scores differ."""
    return [["key", "importance"], *([key, f"{share:.3f}"] for key, share in info["importances"].items())]


def shown(value: Any) -> str:
    """Return a drawn value as people read it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
