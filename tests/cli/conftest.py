"""A small experiment, its finished run, and a way to call the command line."""

import json
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jenga.cli.main import jenga
from jenga.samples.network import generate_flows

WORDS = ["the", "a", "call", "was", "is", "and", "so", "it", "we", "they", "agent", "caller", "line", "today", "again"]
CONFIG = """\
model: {base_model: jenga/tiny-text}
tasks:
  - name: mood
    type: classification
    data_path: rows.jsonl
    heads: [{name: feeling}]
  - name: rating
    type: regression
    data_path: rows.jsonl
    columns: {label: stars}
    heads: [{name: stars}]
data: {max_length: 16}
training: {max_steps: 2, batch_size: 8, log_every_steps: 1}
tracking: {enabled: false}
"""


@contextmanager
def same_logging_afterwards() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("jenga")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    with warnings.catch_warnings():
        yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    with same_logging_afterwards():
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of this test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def write_experiment(folder: Path) -> Path:
    """Write rows and an experiment of two tasks to `folder` and return the path of the experiment."""
    dice = random.Random(0)
    rows = []
    for number in range(60):
        feeling = ("bad", "fine", "good")[number % 3]
        text = " ".join([*dice.choices(WORDS, k=6), feeling])
        rows.append({"id": f"r{number}", "text": text, "label": feeling, "stars": number % 5})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    path = folder / "mood.yml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_experiment(tmp_path)


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Return a function that runs `jenga` with the given arguments in this process."""

    def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(jenga, [str(argument) for argument in arguments], input=stdin, prog_name="jenga")

    return call


EVENTS = """\
model: {base_model: security_mlp_v1, backbone_type: sequential}
tasks:
  - {name: find, type: classification, data_path: flows.json, heads: [{name: threat}]}
training: {max_steps: 2, batch_size: 8}
tracking: {enabled: false}
"""


@pytest.fixture(scope="session")
def event_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on network flows; flows.yml and flows.json lie two folders above it."""
    folder = tmp_path_factory.mktemp("events")
    (folder / "flows.json").write_text(json.dumps(generate_flows(80)))
    (folder / "flows.yml").write_text(EVENTS)
    with same_logging_afterwards():
        arguments = ["train", str(folder / "flows.yml"), "--json", "--output-dir", str(folder)]
        result = CliRunner().invoke(jenga, arguments)
    assert result.exit_code == 0, result.stderr
    return Path(json.loads(result.stdout)["run"])


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that `jenga train` finished."""
    folder = tmp_path_factory.mktemp("experiment")
    config = write_experiment(folder)
    with same_logging_afterwards():
        result = CliRunner().invoke(
            jenga, ["train", str(config), "--json", "--output-dir", str(folder / "runs"), "--set",
                    f"data.cache_dir={folder / 'cache'}"]
        )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return Path(json.loads(result.stdout)["run"])
