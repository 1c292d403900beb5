"""The model card of a run (README.md), the closing table of the terminal, and the files that both read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jenga.config.strict import UNSEEN
from jenga.errors import DataError, redacted
from jenga.files import json_object, write_atomic
from jenga.labels import kind_named
from jenga.report.baselines import baselines as known_baselines
from jenga.report.certainty import certainty_table, interval_words
from jenga.report.matter import backbones, file_name, front_matter, paths
from jenga.report.page import encodable
from jenga.tables import number

logger = logging.getLogger(__name__)

MAX_LABELS_SHOWN = 12
Head = Mapping[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """What a run left in its folder; empty where a file is not there (a run that was stopped early)."""

    config_text: str
    config: dict[str, Any]
    environment: dict[str, Any]
    run: dict[str, Any]
    evaluation: dict[str, Any]
    records: list[dict[str, Any]]

    @property
    def project(self) -> str:
        """The project's name."""
        return str(self.evaluation.get("project") or self.config.get("project_name") or "run")

    @property
    def step(self) -> tuple[str, str]:
        """The step whose model is the run's result, and why it is, where there is an evaluation."""
        step = self.evaluation["best_step"]
        if self.config.get("stages"):
            return "last step", f"{step} (of a training in stages)"
        return "best step", f"{step} (by {self.evaluation['metric']})"

    @property
    def splits(self) -> dict[str, Any]:
        """The evaluated splits, test first."""
        return dict(sorted(self.evaluation.get("splits", {}).items(), key=lambda split: split[0] != "test"))

    @property
    def heads(self) -> list[dict[str, Any]]:
        """The heads as evaluated on the first of `splits`."""
        return next((list(result["heads"]) for result in self.splits.values()), [])


def read_run(run: Path) -> RunFiles:
    """Read the files of a run folder. Raises DataError when it is no run folder or a file in it is damaged."""
    if not (run / "config.yml").is_file():
        raise DataError(f"{run}: not a run folder, it has no config.yml; give the folder that training printed")
    text = (run / "config.yml").read_text(encoding="utf-8")
    return RunFiles(
        # A tracking address may hold a password, and reports are passed around.
        config_text=redacted(text),
        config=yaml.safe_load(text) or {},
        environment=_json(run / "environment.json"),
        run=_json(run / "run.json"),
        evaluation=_json(run / "evaluation.json"),
        records=_records(run / "metrics.jsonl"),
    )


def closing_table(evaluation: Mapping[str, Any], split: str) -> list[list[str]]:
    """Return a header and one row a head: its primary metric, ours and the baselines', and what to watch.

    Between what values ours lies, too, where that was told.

    `evaluation`: the content of evaluation.json. Raises ValueError for a split that was not evaluated.
    """
    if split not in evaluation["splits"]:
        raise ValueError(f"split '{split}' was not evaluated; evaluated: {', '.join(evaluation['splits'])}")
    heads = evaluation["splits"][split]["heads"]
    baselines = list(dict.fromkeys(name for head in heads for name in head["baselines"]))
    between = ["95%"] if any(head.get("intervals") for head in heads) else []
    table = [["task", "head", "metric", "ours", *between, *baselines, "rows", "notes"]]
    for head in heads:
        metric = head["primary_metric"]
        scores = [head["metrics"], *(head["baselines"].get(name, {}) for name in baselines)]
        ours, *theirs = (number(score.get(metric)) for score in scores)
        shown = [ours, *(interval_words(head, metric) for _ in between), *theirs]
        table.append([head["task"], head["head"], metric, *shown, str(head["rows"]), "; ".join(notes(head))])
    return table


def notes(head: Head) -> list[str]:
    """Return the warnings of one head of evaluation.json, and the baselines that it does not beat.

    Where nobody says which way the primary metric is better, none is beaten and none is not.
    """
    metric, greater = head["primary_metric"], head["greater_is_better"]
    ours = head["metrics"].get(metric)
    found = list(head["details"]["warnings"])
    for name, metrics in head["baselines"].items():
        theirs = metrics.get(metric)
        if ours is None or theirs is None or greater is None:
            continue
        if not (ours > theirs if greater else ours < theirs):
            found.append(f"not better than {name}")
    return found


def as_text(value: Any) -> str:
    """Return a setting as it is written in JSON, a string without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_card(run: Path) -> Path:
    """Write README.md, the model card with the front matter that the Hugging Face hub reads, and return its path.

    Raises DataError when `run` is no run folder or a file in it is damaged.
    """
    path = run / "README.md"
    write_atomic(path, card(run))
    return path


def card(run: Path, *, address: str | None = None) -> str:
    """Return the model card of a run; address: where it says the model is; default: the folder that it lies in.

    Raises as `write_card` does.
    """
    files = read_run(run)
    sections = [
        front_matter(files),
        f"# {_plain(files.project)}\n\n{_summary(files)}",
        f"## Tasks\n\n{_markdown(_task_table(files))}",
        f"## Data\n\n{_markdown(_data_table(files))}",
        _results(files),
        f"## Training\n\n{_markdown(_training_table(files))}",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(files)),
        _usage(address, generates=any(kind_named(head["kind"]).from_text for head in files.heads)),
    ]
    return encodable("\n\n".join(sections) + "\n")


# --------------------------------------------------------------------------------------------------------------- files


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json_object(path)
    except ValueError as error:
        raise DataError(str(error)) from None


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    # Not splitlines(): names in a record may hold other characters that it takes for line ends.
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    for i, line in enumerate(lines, start=1):
        try:
            records += [json.loads(line)] if line else []
        except ValueError:
            logger.warning("%s:%d: not JSON (cut off by a crash?), left out of the report", path, i)
    return records


# ------------------------------------------------------------------------------------------------------------ sections


def _summary(files: RunFiles) -> str:
    tasks = len(files.config.get("tasks", []))
    blocks = backbones(files)
    text = f"{tasks} task{'s' if tasks != 1 else ''} over "
    if len(blocks) == 1:
        return f"{text}one shared encoder{_told_of(next(iter(blocks.values())))}, trained with Jenga."
    told = [f"{_plain(name)}{_told_of(block)}" for name, block in blocks.items()]
    return f"{text}{len(blocks)} encoders, trained together with Jenga: {'; '.join(told)}."


def _told_of(block: Mapping[str, Any]) -> str:
    """Return what a card says of a backbone behind its name."""
    base = str(block.get("base_model", ""))
    text = f" (`{_plain(file_name(base))}`)" if base else ""
    kind = (block.get("peft") or {}).get("type")
    if kind:
        text += f", frozen but for its adapters ({_plain(str(kind))}), which need that encoder to run"
    teacher = block.get("teacher_student_config") or {}
    if teacher.get("enabled"):
        text += f", taught by `{_plain(file_name(str(teacher['teacher_model'])))}`"
    return text


def _task_table(files: RunFiles) -> list[list[str]]:
    types = {task["name"]: task["type"] for task in files.config.get("tasks", [])}
    table = [["task", "type", "head", "labels"]]
    for head in files.heads:
        if kind_named(head["kind"]).from_text:
            table.append([head["task"], str(types.get(head["task"], "")), head["head"], "the next token"])
            continue
        shown = ", ".join(head["labels"][:MAX_LABELS_SHOWN])
        more = len(head["labels"]) - MAX_LABELS_SHOWN
        labels = f"{len(head['labels'])}: {shown}{f' and {more} more' if more > 0 else ''}"
        table.append([head["task"], str(types.get(head["task"], "")), head["head"], labels])
    return table


def _data_table(files: RunFiles) -> list[list[str]]:
    table = [["what", "value"]]
    table += [[f"rows, {split}", f"{rows:,}"] for split, rows in files.run.get("rows", {}).items()]
    table += [
        [f"files of {task}", ", ".join(dict.fromkeys(map(file_name, names)))] for task, names in paths(files).items()
    ]
    return table + [[name, value] for name, value in _facts(files)["data"].items()]


def _facts(files: RunFiles) -> dict[str, Any]:
    """Return what the inputs say of how rows are read, which only they know; nothing in a run that ended before."""
    facts: dict[str, Any] = files.run.get("inputs", {"data": {}, "limits": []})
    return facts


def _results(files: RunFiles) -> str:
    if not files.splits:
        return "## Results\n\nThe run ended before its evaluation."
    parts = ["## Results"]
    heads = [head for result in files.splits.values() for head in result["heads"]]
    known = known_baselines()
    names = dict.fromkeys(name for head in heads for name in head["baselines"])
    baselines = [known[name].words if name in known else name for name in names]
    if baselines:
        *first, last = baselines
        parts.append(f"`ours` beside what is free to have: {', '.join([*first, f'and {last}' if first else last])}.")
    for split, result in files.splits.items():
        parts.append(f"### {_plain(split)} ({result['rows']:,} rows)")
        parts.append(_markdown(closing_table(files.evaluation, split)))
        if certain := certainty_table(files.evaluation, split):
            parts.append(_markdown(certain))
    return "\n\n".join(parts)


def _training_table(files: RunFiles) -> list[list[str]]:
    table = [["setting", "value"]]
    settings = files.config.get("training", {})
    table += [[f"training.{name}", as_text(value)] for name, value in settings.items() if value is not None]
    peft = files.config.get("peft") or {}
    table += [[f"peft.{name}", as_text(value)] for name, value in peft.items() if value is not None]
    if "parameters" in files.run:
        table.append(["parameters", f"{files.run['parameters']:,}"])
    if files.run.get("trained", files.run.get("parameters")) != files.run.get("parameters"):
        table.append(["of these trained", f"{files.run['trained']:,}"])
    if "seconds" in files.run:
        table.append(["time", f"{files.run['seconds']:,.0f} s"])
    if files.evaluation:
        table.append([*files.step])
    return table


def _limits(files: RunFiles) -> list[str]:
    lines = [_plain(str(warning)) for warning in files.run.get("warnings", [])]
    for split, result in files.splits.items():
        for head in result["heads"]:
            place = f"{head['task']} / {head['head']}, {split}"
            lines += [f"{_plain(place)}: {_plain(note)}" for note in notes(head)]
    if files.splits and "test" not in files.splits:
        lines.append("There are no results on test rows: the rows above also chose the best step.")
    lines += [_plain(limit) for limit in _facts(files)["limits"]]
    lines.append("The results hold for rows like the ones it was trained on; nothing else was measured.")
    return lines


def _usage(address: str | None, *, generates: bool) -> str:
    run, explained = (address, "") if address else ("RUN", "\n\n`RUN` is this folder.")
    generate = f'\njenga generate {run} --prompt "..."' if generates else ""
    return f"""## Use

```bash
jenga predict {run} rows.jsonl{generate}
```

```python
import jenga

predictor = jenga.load("{run}")
```{explained}"""


# ------------------------------------------------------------------------------------------------------------ markdown


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is; labels come from data and may hold anything."""
    text = (
        re.sub(rf"[{UNSEEN}]", "\N{REPLACEMENT CHARACTER}", " ".join(text.split()))
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
    )
    return re.sub(r"([\\`*\[\]|#~$])", r"\\\1", text)


def _markdown(table: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])
