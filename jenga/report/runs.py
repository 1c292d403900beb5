"""The runs in a folder, each in a line: what became of it, and how well it does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jenga.errors import DataError
from jenga.files import json_object

_DEPTH = 3
"""Folders in one another that are looked into: of outputs, of a project, of a run."""
_TAIL = 1 << 16
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True)
class RunLine:
    """A run as a list shows it. None where a run does not say, as one that just began.

    `status`: that of run.json; ``stopped`` where it says ``running`` and no process has the run. `metric`: that by
    which models are told apart, `value`: on the validation rows. `seconds`: of training.
    """

    name: str
    path: str
    created: str | None
    status: str
    steps: int | None
    metric: str | None
    value: float | None
    rows: int | None
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def find_runs(folder: Path) -> list[Path]:
    """Return the folders of runs in `folder`, or it itself, the newest first. Raises DataError where it is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the output_dir of trainings, or a run")
    return sorted(_walk(folder, _DEPTH), key=lambda run: (run.name, str(run)), reverse=True)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "run.json").is_file():
        yield folder
    elif depth:
        try:
            inner = [Path(each.path) for each in os.scandir(folder) if each.is_dir() and not each.name.startswith(".")]
        except OSError:  # a folder that may not be read, or is gone by now, holds no run for us
            return
        for each in inner:
            yield from _walk(each, depth - 1)


def run_line(run: Path, *, within: Path) -> RunLine:
    """Return a run in a line; its name is its place in the folder `within`. One that is harmed says so."""
    name = run.name if run == within else run.relative_to(within).as_posix()
    try:
        return _told(run, name, json_object(run / "run.json"))
    except (OSError, ValueError, TypeError, AttributeError):  # other types than a run writes, by somebody's hand
        return RunLine(name, str(run), None, "run.json is harmed", *[None] * 5)


def _told(run: Path, name: str, info: Mapping[str, Any]) -> RunLine:
    status = str(info.get("status", "unknown"))
    if status == "running" and is_held(run) is False:
        status = "stopped"
    last = last_records(run)
    newest = last.get("train") or last.get("eval") or {}
    metric = _metric(info)
    seconds = info.get("seconds") or newest.get("time_s")
    return RunLine(
        name, str(run), _text(info.get("created")), status, newest.get("step"), metric, _value(run, last, metric),
        (info.get("rows") or {}).get("train"), None if seconds is None else float(seconds),
    )  # fmt: skip


def is_held(run: Path) -> bool | None:
    """Return whether a process has the run, as the system lists its locks; None where it lists none."""
    try:
        node = (run / ".lock").stat().st_ino
        listed = _LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return any(line.split()[5:6] and line.split()[5].endswith(f":{node}") for line in listed.splitlines())


def last_records(run: Path) -> dict[str, dict[str, Any]]:
    """Return the newest record of each event in metrics.jsonl, of its last lines."""
    try:
        with (run / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    found = {}
    for line in lines[1 if size > _TAIL else 0 :]:
        try:
            record = json.loads(line)
        except ValueError:  # the end of one that is being written
            continue
        if isinstance(record, dict):
            found[str(record.get("event"))] = record
    return found


def _metric(info: Mapping[str, Any]) -> str | None:
    given = (info.get("given") or {}).get("evaluation") or {}
    return _text(given.get("metric", "eval_loss"))


def _value(run: Path, last: Mapping[str, Mapping[str, Any]], metric: str | None) -> float | None:
    """Return the metric of the best model, where it was judged in the end; else that of the newest evaluation."""
    if metric is None:
        return None
    try:
        valid = json_object(run / "evaluation.json")["splits"]["valid"]["metrics"]
    except (OSError, ValueError, LookupError, TypeError):
        valid = {}
    value = valid.get(metric.removeprefix("eval_"), (last.get("eval") or {}).get("metrics", {}).get(metric))
    return float(value) if isinstance(value, int | float) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def shown_time(created: str | None) -> str:
    """Return a time of run.json as people read it."""
    return "-" if created is None else created.partition(".")[0].partition("+")[0].replace("T", " ")
