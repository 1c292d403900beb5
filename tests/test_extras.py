"""What comes with every jenga, what an extra brings, and that the first alone trains, answers and refines."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jenga.errors import SetupError
from jenga.extras import EXTRAS, is_here, pinned, required
from jenga.modalities import MODALITIES

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = ("all", "docs", "test")
"""Extras of which nothing is imported here."""
OF_PIP = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name not in TOOLS}
ON_THEIR_OWN = {"torchao", "triton"}
"""Libraries in no extra: where they are missing, an error has pip's name of them."""
DOORS = ("jenga/inference/serve/", "kernels/")
"""Rooms that import what they need at once: `jenga serve` and `kernels/_native.py` look for it first."""


@cache
def closure(requirements: tuple[str, ...]) -> frozenset[str]:
    """Return the names of all distributions here that pip brings for `requirements`, those of extras included."""
    found: dict[str, set[str]] = {}
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and wanted.extras <= found[name]:
            continue
        extras = found.setdefault(name, set())
        extras |= {*wanted.extras, ""}
        try:
            needs = map(Requirement, distribution(name).requires or ())
        except PackageNotFoundError:
            continue
        waiting += [
            each for each in needs if each.marker is None or any(each.marker.evaluate({"extra": x}) for x in extras)
        ]
    return frozenset(found)


@cache
def held() -> dict[str, set[str]]:
    """Return the distributions here by the modules that they have."""
    return {module: {*map(canonicalize_name, names)} for module, names in packages_distributions().items()}


def holders(module: str) -> set[str]:
    """Return the distributions here that have a module of this name."""
    return held().get(module, set())


def imports_of(code: ast.AST, *, at_once: bool) -> Iterator[str]:
    """Yield the top-level names that are imported; at_once: only those that importing the module itself imports."""
    for node in ast.iter_child_nodes(code):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif not (at_once and (isinstance(node, LATER) or is_for_types(node))):
            yield from imports_of(node, at_once=at_once)


def imported(*, at_once: bool) -> dict[str, list[str]]:
    """Return the source files by the name of each library that they import."""
    found: dict[str, list[str]] = {}
    for folder in ("jenga", "kernels"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            names = set(imports_of(ast.parse(path.read_text(encoding="utf-8")), at_once=at_once))
            for name in names - sys.stdlib_module_names - {"jenga"}:
                found.setdefault(name, []).append(path.relative_to(REPOSITORY).as_posix())
    return found


LATER = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


OPTIONAL = {module for modules in EXTRAS.values() for module in modules}


def test_the_extras_in_code_are_those_of_pip() -> None:
    assert EXTRAS.keys() == OF_PIP.keys()


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_the_modules_that_are_imported_of_it(extra: str) -> None:
    brought = closure(tuple(OF_PIP[extra]))
    named = {canonicalize_name(Requirement(each).name) for each in OF_PIP[extra]}
    for module in EXTRAS[extra]:
        assert holders(module) & brought or canonicalize_name(module) in named, f"{module} is not brought by {extra}"


def test_all_is_every_extra_and_the_tests_have_all_but_pictures() -> None:
    asked = {
        name: [Requirement(each) for each in PROJECT["optional-dependencies"][name] if each.startswith("jenga[")]
        for name in ("all", "test")
    }
    assert [each.extras for each in asked["all"]] == [set(EXTRAS)]
    assert [each.extras for each in asked["test"]] == [set(EXTRAS) - {"vision"}]


def test_every_library_that_is_imported_is_asked_for_by_name_or_is_an_extras() -> None:
    named = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    found = imported(at_once=False)
    assert {"torch", "sklearn", "mlflow"} <= found.keys()
    unknown = {
        name: where[0]
        for name, where in found.items()
        if name not in OPTIONAL | ON_THEIR_OWN and not holders(name) & named
    }
    assert unknown == {}
    idle = {name for name in named if not any(name in holders(module) for module in found)}
    assert idle == set()


def test_what_an_extra_brings_is_imported_only_where_it_is_used() -> None:
    found = imported(at_once=True)
    assert {"torch", "fastapi"} <= found.keys()
    early = [
        f"{where} imports {name}"
        for name in OPTIONAL | ON_THEIR_OWN
        for where in found.get(name, ())
        if not where.startswith(DOORS)
    ]
    assert early == []


def test_the_docs_and_messages_name_only_extras_that_there_are() -> None:
    paths = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("configs/*"),
             *(REPOSITORY / "jenga").rglob("*.py")]  # fmt: skip
    named = {
        extra
        for path in paths
        for found in re.findall(r"(?:jenga|[ '\"]\.)\[([a-z,]+)\]", path.read_text(encoding="utf-8"))
        for extra in found.split(",")
    }
    assert {"audio", "track"} <= named
    assert named <= {*EXTRAS, *TOOLS}


def test_a_library_that_is_not_there_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert not is_here("soxr")
    with pytest.raises(SetupError) as caught:
        required("soxr", extra="audio", need="sound needs soxr")
    assert str(caught.value) == "sound needs soxr, which is not installed here: pip install 'jenga[audio]'"


@pytest.mark.parametrize("content", ["import no_such_library", "raise ImportError('libsound.so is missing')"])
def test_a_library_that_is_there_and_broken_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "broken_library.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_here("broken_library")
    with pytest.raises(SetupError, match=r"is installed but cannot be imported \(.*(no_such_library|libsound).*anew"):
        required("broken_library", extra="audio", need="sound needs it")


def test_what_is_pinned_is_what_pip_brings_for_the_extras_asked_for() -> None:
    plain, sound = pinned([]), pinned(["audio"])
    asked = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    assert {canonicalize_name(Requirement(each).name) for each in plain} == {"jenga", *asked}
    assert set(sound) - set(plain) == {f"{name}=={distribution(name).version}" for name in ("soundfile", "soxr")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", each) for each in sound)


def test_a_modality_names_an_extra_that_there_is() -> None:
    named = {name: MODALITIES[name].extra for name in MODALITIES}
    assert named["audio"] == "audio"
    assert set(named.values()) - {""} <= EXTRAS.keys()


# ------------------------------------------------------------------------------------------------- without any of them

ALONE = """
import json, sys
from packaging.utils import canonicalize_name

modules, distributions = map(set, json.loads(sys.argv[1]))

class Without:
    # A finder that knows nothing of what is to be absent.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in modules else self.finder.find_spec(name, path, target)
    def find_distributions(self, *context):
        found = getattr(self.finder, "find_distributions", lambda *context: ())(*context)
        return (each for each in found if canonicalize_name(each.metadata["Name"]) not in distributions)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
import jenga
from jenga.cli.main import jenga as command
try:
    command(["train", *sys.argv[2:]], prog_name="jenga")
except SystemExit as end:
    assert not end.code, end.code
import pathlib
(run,) = (pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1]) / "quickstart").iterdir()
print("ANSWER", json.dumps(jenga.load(run).predict(["Hello, my name is Asha. How can I help you?"])[0]["sentiment"]))
events = [{"bytes": 10, "proto": "tcp"}, {"bytes": 20, "proto": "udp"}, {"bytes": 30, "proto": "tcp"}]
print("SHAPE", jenga.SecurityRefinery().fit_transform([json.dumps(event) for event in events]).shape[0])
"""


def absent() -> tuple[list[str], list[str]]:
    """Return the modules here, and the distributions, that a plain installation does not bring."""
    stays = {"jenga", *closure(tuple(PROJECT["dependencies"]))}
    modules = [name for name, by in held().items() if not by & stays and name.isidentifier()]
    return sorted(modules), sorted({name for by in held().values() for name in by} - stays)


@pytest.mark.slow
def test_a_plain_installation_trains_answers_and_refines(tmp_path: Path) -> None:
    gone = absent()
    assert {"mlflow", "datasets", "matplotlib", "pandas", "pytest", "fastapi"} <= set(gone[0])
    settings = ["training.max_steps=2", "training.batch_size=16", "evaluation.baselines=[majority]"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(gone), str(REPOSITORY / "configs/quickstart.yml"), "--output-dir",
         str(tmp_path), "--device", "cpu", *(part for each in settings for part in ("--set", each))],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "ANSWER {" in said
    assert "SHAPE 3" in said
    assert said.count("not tracked: MLflow is not installed here") == 1
    (run,) = (tmp_path / "quickstart").iterdir()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 3
    assert not list(tmp_path.glob("mlflow.db"))
    versions = json.loads((run / "environment.json").read_text(encoding="utf-8"))["versions"]
    assert versions["mlflow"] == "not installed"


def test_what_is_imported_already_is_handed_out_without_a_look_at_all_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jenga.extras.collector_at_rest", lambda: pytest.fail("it is there already"))
    assert required("json.decoder", extra="hub", need="rows") is json.decoder
