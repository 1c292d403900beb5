"""The runs in a folder, each in a line: what became of it, and how well it does."""

from __future__ import annotations

import json
import os
import socket
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
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class RunLine:
    """A run as a list shows it. None where a run does not say, as one that just began.

    `status`: that of run.json; ``stopped`` where it says ``running`` and no process of this machine, which began it,
    has the run; ``running (on HOST)`` where another one did. `metric`: that by which models are told apart, `value`: on
    the validation rows. `seconds`: of training.
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
    last = last_records(run)
    newest = last.get("train") or last.get("eval") or {}
    metric = _metric(info)
    seconds = info.get("seconds") or newest.get("time_s")
    return RunLine(
        name, str(run), _text(info.get("created")), _status(run, info), newest.get("step"), metric,
        _value(run, last, metric), (info.get("rows") or {}).get("train"), None if seconds is None else float(seconds),
    )  # fmt: skip


def _status(run: Path, info: Mapping[str, Any]) -> str:
    status, machine = str(info.get("status", "unknown")), info.get("machine")
    if status != "running" or machine is None:
        return status
    here = this_machine()
    if machine.get("host") != here["host"]:
        return f"running (on {machine.get('host')})"
    # What ran before this machine was started anew, runs no more.
    return "stopped" if machine.get("boot") != here["boot"] or is_held(run) is False else status


def this_machine() -> dict[str, str]:
    """Return by what a machine, or a container, is told from others, as run.json has it; ``boot``: "" but on Linux."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return {"host": socket.gethostname(), "boot": boot}


def is_held(run: Path) -> bool | None:
    """Return whether a process of this machine has the run, as it lists its locks; None where it lists none."""
    try:
        file = (run / ".lock").stat()
        listed = _LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return any(_is_of(place, file) for line in listed.splitlines() for place in line.split()[5:6])


def _is_of(place: str, file: os.stat_result) -> bool:
    """Return whether a lock at ``major:minor:inode``, the device in base 16, is that of a file."""
    try:
        major, minor, node = (int(part, base) for part, base in zip(place.split(":"), (16, 16, 10), strict=True))
    except ValueError:
        return False
    device = os.major(file.st_dev), os.minor(file.st_dev)
    # A file system without a device, such as btrfs, may list its locks under another number than its files have.
    return node == file.st_ino and (0 in (major, device[0]) or (major, minor) == device)


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
    return _text(info.get("metric", given.get("metric", "eval_loss")))


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
