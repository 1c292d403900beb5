"""The walls of the house: who may import whom, what has a test, and what no source may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RANKS = {
    "errors": 0, "registry": 0, "types": 0, "files": 0, "packed": 0, "threads": 0, "dropout": 0,
    "imports": 0, "ahead": 0, "arrays": 0, "digests": 0, "tables": 0, "workers": 0, "processes": 0, "launched": 0,
    "extras": 0, "hub": 0,
    "config": 1, "kernels": 1, "detectors": 1,
    "refinery": 2, "peft": 2, "samples": 2, "optimizers": 2,
    "labels": 3, "balance": 3, "policy": 3,
    "rows": 4, "certainty": 4,
    "modalities": 5, "sentinel": 5,
    "fusion": 6,
    "tasks": 7,
    "model": 8, "saved": 8,
    "report": 9, "callbacks": 9,
    "trainer": 10, "bundle": 10,
    "distillation": 11, "continual": 11,
    "run": 12,
    "inference": 13, "tuning": 13, "audit": 13,
    "cli": 14, "estimator": 14,
    "train": 15,
}  # fmt: skip
"""A room (a package or module of jenga/, or kernels/) imports lower ranks only; those of rank 0 also one another."""

MAX_LINES = 400
TABLES = {"jenga/samples/phrases.py"}
"""Data written as Python, which may be longer."""

WHOLE_PROJECT = {
    "tests/config/test_schema_effects.py", "tests/kernels/test_fuzz.py", "tests/refinery/test_real_files.py",
    "tests/refinery/test_streaming_memory.py", "tests/report/test_browser.py", "tests/rows/test_dealt.py",
    "tests/test_architecture.py", "tests/test_bad_media.py",
    "tests/test_batches_ahead.py", "tests/test_joint_inputs.py", "tests/test_media_memory.py",
    "tests/test_broken_inputs.py", "tests/test_clone.py", "tests/test_gpu_script.py",
    "tests/test_configs.py", "tests/test_docs.py", "tests/test_reference.py",
    "tests/test_extension_snippets.py", "tests/test_hostile_folders.py", "tests/test_mixed.py",
    "tests/test_parts.py", "tests/test_seed_forms.py",
}  # fmt: skip
"""Tests whose subject is no single module."""

SOURCES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("jenga", "kernels")
    for path in (REPOSITORY / folder).rglob("*.py")
)
TESTS = sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "tests").rglob("test_*.py"))


@cache
def tree(source: str) -> ast.Module:
    return ast.parse((REPOSITORY / source).read_text(encoding="utf-8"), filename=source)


def room_of(source: str) -> str:
    """Return the room of a source file; '' for jenga/__init__.py."""
    first, *rest = Path(source).with_suffix("").parts
    if first == "kernels":
        return "kernels"
    return "" if rest == ["__init__"] else rest[0]


def imported(source: str) -> Iterator[str]:
    """Yield the dotted names that a file imports, `from a import b` as both ``a`` and ``a.b``.

    Imports inside functions count: they only come later. So do those for types alone: a room that has to know a
    higher room's types knows too much. Names given to importlib count where they are literals.
    """
    package = [*Path(source).parts[:-1]]
    package = ["jenga", *package] if package[0] == "kernels" else package
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and name_of(node.func) == "importlib.import_module":
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def name_of(node: ast.expr) -> str:
    """Return the dotted name that an expression is, or ''."""
    if isinstance(node, ast.Attribute):
        before = name_of(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def rooms_imported(source: str) -> set[str]:
    """Return the rooms that a file imports; names of jenga/__init__.py itself, such as its version, are in none."""
    parts = (name.split(".") for name in imported(source) if name.startswith("jenga."))
    return {each[1] for each in parts if each[1] in RANKS or (REPOSITORY / "jenga" / f"{each[1]}.py").exists()}


# --------------------------------------------------------------------------------------------------------------- ranks


def test_every_room_has_a_rank() -> None:
    assert len(SOURCES) > 50
    assert {room_of(source) for source in SOURCES} - {""} <= RANKS.keys()


def test_contributing_shows_these_ranks() -> None:
    table = re.sub(r"\([^)]*\)", "", (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert {room: int(rank) for rank, rooms in rows for room in re.findall(r"`(\w+)`", rooms)} == RANKS


def test_imports_go_to_lower_ranks_only() -> None:
    wrong, seen = [], set()
    for source in SOURCES:
        room = room_of(source)
        for other in rooms_imported(source) - {room}:
            seen.add((room, other))
            if room and not (RANKS[other] < RANKS[room] or RANKS[other] == RANKS[room] == 0):
                wrong.append(f"{source} ({room}, rank {RANKS[room]}) imports {other}, rank {RANKS[other]}")
    assert not wrong, "\n".join(wrong)
    # The walk sees imports inside functions (rows reads the sample's in one) and relative ones.
    assert {("run", "tasks"), ("rows", "samples"), ("cli", "run"), ("tasks", "kernels")} <= seen
    assert "jenga.kernels.multi_head_loss" in set(imported("kernels/__init__.py"))


def test_a_forbidden_import_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def late():\n    from jenga.cli import main\n    from jenga.run import build"
    monkeypatch.setattr(sys.modules[__name__], "tree", lambda source: ast.parse(code))
    assert rooms_imported("jenga/rows/imagined.py") == {"cli", "run"}


def test_kernels_import_only_the_compiled_library_and_themselves() -> None:
    found = {name for source in SOURCES if room_of(source) == "kernels" for name in imported(source)}
    ours = {name for name in found if name.split(".")[0] == "jenga"}
    allowed = ("jenga.kernels", "jenga._C")
    assert ours
    assert not [name for name in ours if not name.startswith(allowed)]


def test_no_op_imports_from_another() -> None:
    ops = {path.parent.name for path in (REPOSITORY / "kernels").glob("*/reference.py")}
    assert {"linear_cross_entropy", "linear_distillation", "lora_linear", "multi_head_loss"} <= ops
    pairs = {
        (Path(source).parts[1], name.split(".")[2])
        for source in SOURCES
        if Path(source).parts[:1] == ("kernels",) and Path(source).parts[1] in ops
        for name in imported(source)
        if name.startswith("jenga.kernels.")
    }
    assert ("linear_distillation", "vocabulary") in pairs
    assert {pair for pair in pairs if pair[1] in ops - {pair[0]}} == set()


def test_import_jenga_loads_no_heavy_library() -> None:
    code = "import sys, jenga; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "jenga" in loaded
    heavy = {"torch", "transformers", "peft", "mlflow", "numpy", "pandas", "sklearn", "datasets", "pydantic"}
    assert not heavy & set(loaded)


def test_the_public_names_of_jenga_are_there() -> None:
    import jenga

    assert len(jenga.__all__) > 5
    assert [name for name in jenga.__all__ if getattr(jenga, name, None) is None] == []
    assert set(dir(jenga)) == set(jenga.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = jenga.trian


# --------------------------------------------------------------------------------------------------------------- parts


def names_of_parts() -> dict[str, set[str]]:
    """Return the registered names of each kind of part, by how what holds one of them is called."""
    from jenga.labels import LABEL_KINDS
    from jenga.modalities import MODALITIES, BackboneManager
    from jenga.tasks import TASK_REGISTRY

    return {
        "kind": set(LABEL_KINDS),
        "modality": set(MODALITIES),
        "backbone_type": set(BackboneManager._REGISTRY),
        "type": {each for name in TASK_REGISTRY for each in (name, *TASK_REGISTRY.aliases_of(name))},
    }


def parts_compared(code: ast.Module) -> Iterator[str]:
    """Yield the lines that compare what holds a part's name with that of a registered part, or match it."""
    names = names_of_parts()
    for node in ast.walk(code):
        if isinstance(node, ast.Compare):
            sides, others = [node.left], node.comparators
        elif isinstance(node, ast.Match):
            sides = [node.subject]
            others = [case.pattern.value for case in node.cases if isinstance(case.pattern, ast.MatchValue)]
        else:
            continue
        asked = {re.split(r"\W", ast.unparse(side).rstrip("]'\")"))[-1] for side in sides}
        named = {each.value for other in others for each in ast.walk(other) if isinstance(each, ast.Constant)}
        if any(named & names[holder] for holder in asked & names.keys()):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "code",
    ["space.kind == 'tags'", "kind in ('class', 'tags')", "head['kind'] != 'text'", "match kind:\n case 'items': pass",
     "backbone.modality == 'events'", "config.model.backbone_type in {'text'}", "task.type == 'causal_lm'",
     "task.get('type') == 'ner'"],
)  # fmt: skip
def test_a_comparison_of_parts_by_name_would_be_seen(code: str) -> None:
    assert list(parts_compared(ast.parse(code)))


KINDS_OF_THEIR_OWN = ("refinery", "kernels", "labels")
"""Rooms whose `kind` is of something else, or whose own kinds of labels are."""


def test_nobody_asks_for_a_part_by_its_name() -> None:
    # In config/ a `kind` is that of a value of YAML.
    asked = [each for each in SOURCES if room_of(each) not in (*KINDS_OF_THEIR_OWN, "config")]
    assert len(asked) > 120
    assert [f"{source}, {line}" for source in asked for line in parts_compared(tree(source))] == []


def test_config_names_no_part() -> None:
    names = set().union(*names_of_parts().values()) - {"text", "number"}  # kinds of values of YAML too
    found = {
        f"{source}: {each.value}"
        for source in SOURCES
        if room_of(source) == "config"
        for each in ast.walk(tree(source))
        if isinstance(each, ast.Constant) and each.value in names
    }
    assert {"causal_lm", "sequential", "events"} <= names
    assert found == set()


def room_within(source: str) -> str:
    """Return the room that a part's classes belong to: of a modality or a task its own folder, or file."""
    parts = Path(source).with_suffix("").parts
    return "/".join(parts[:3]) if parts[1:2] in (("modalities",), ("tasks",)) else "/".join(parts[:2])


def concrete_classes() -> dict[str, str]:
    """Return the room of each class that is one of several of its kind, by its name."""
    from jenga.labels import LabelKind
    from jenga.modalities import BaseBackbone, Encoder, Modality
    from jenga.modalities.baseline import Baseline
    from jenga.modalities.events import encoder as _events  # noqa: F401 -- their subclasses exist once imported
    from jenga.modalities.text import encoder as _text  # noqa: F401
    from jenga.rows.batches import Encoded
    from jenga.rows.content import Content, ContentSpec
    from jenga.rows.raw import RawRows
    from jenga.tasks import BaseTask

    found: dict[str, str] = {}
    todo: list[type] = [
        BaseBackbone, BaseTask, Baseline, Content, ContentSpec, Encoded, Encoder, LabelKind, Modality, RawRows,
    ]  # fmt: skip
    while todo:
        for each in todo.pop().__subclasses__():
            if each.__module__.startswith("jenga."):
                found[each.__name__] = room_within(f"{each.__module__.replace('.', '/')}.py")
            todo.append(each)
    return found


def classes_asked_for(code: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the classes that a file asks for, each with the line."""
    for node in ast.walk(code):
        if isinstance(node, ast.Call) and name_of(node.func) in ("isinstance", "issubclass", "type"):
            for each in ast.walk(node.args[-1]):
                if isinstance(each, ast.Name | ast.Attribute):
                    yield each.id if isinstance(each, ast.Name) else each.attr, f"line {node.lineno}"


@pytest.mark.parametrize("classes", ["CausalLMTask", "(NERTask, int)", "text.TextBackbone", "Features | None", "Texts"])
def test_a_question_for_a_parts_class_would_be_seen(classes: str) -> None:
    known = concrete_classes()
    assert [name for name, _ in classes_asked_for(ast.parse(f"isinstance(part, {classes})")) if name in known]


def test_nobody_but_its_room_asks_for_a_parts_class() -> None:
    known = concrete_classes()
    assert {"TextBackbone", "EventEncoder", "LanguageSpec", "Dialogues", "Tfidf", "Events"} <= known.keys()
    found = [
        f"{source}, {line}: {name}"
        for source in SOURCES
        for name, line in classes_asked_for(tree(source))
        if known.get(name, room_within(source)) != room_within(source)
    ]
    assert found == []


def test_what_a_saved_model_says_is_read_and_written_in_one_place() -> None:
    named = {
        source
        for source in SOURCES
        for each in ast.walk(tree(source))
        if isinstance(each, ast.Constant) and each.value == "jenga.json"
    }
    assert named == {"jenga/saved.py"}


def test_what_a_model_reads_by_is_known_to_the_model_alone() -> None:
    read = [
        f"{source}, line {node.lineno}"
        for source in SOURCES
        for node in ast.walk(tree(source))
        if isinstance(node, ast.Attribute) and node.attr == "backbone" and ast.unparse(node.value).endswith("model")
    ]  # fmt: skip
    assert read == []
    assert "encoder_of" in (REPOSITORY / "jenga" / "model.py").read_text(encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- mirror


def has_code(source: str) -> bool:
    """Whether a file holds more than a docstring, imports and assignments of names."""
    plain = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    return any(not isinstance(node, plain) for node in tree(source).body)


def mirror_of(source: str) -> str | None:
    """Return the file that tests a source, or None for a package's __init__.py without code.

    An op's folder in kernels/ is tested whole, since its reference is its test's other half; a module that is private
    to its package is tested with the package's __init__.py.
    """
    path = Path(source)
    folder = Path("tests", *path.parts[:-1]) if path.parts[0] == "kernels" else Path("tests", *path.parts[1:-1])
    if path.parts[0] == "kernels" and len(path.parts) == 3:
        # One file, or a folder of which any file may be about any part of the op.
        whole = f"tests/kernels/{path.parts[1]}/test_op.py"
        return whole if whole in TESTS else f"tests/kernels/test_{path.parts[1]}.py"
    if path.name == "__init__.py" or path.stem.startswith("_"):
        if path.parts[:-1] == ("jenga",):
            return "tests/test_architecture.py"
        return (folder / f"test_{path.parent.name}_init.py").as_posix() if has_code(source) else None
    return (folder / f"test_{path.stem}.py").as_posix()


def test_every_module_has_its_test() -> None:
    wanted = {source: mirror_of(source) for source in SOURCES}
    missing = [f"{source}: no {test}" for source, test in wanted.items() if test and test not in TESTS]
    assert not missing, "\n".join(missing)


def test_every_test_has_its_module() -> None:
    assert len(TESTS) > 10
    wanted = {mirror_of(source) for source in SOURCES}
    of_ops = {test for test in TESTS if f"{Path(test).parent}/test_op.py" in wanted}
    of_plugins = {
        test for test in TESTS if (REPOSITORY / test).with_name(Path(test).name.removeprefix("test_")).exists()
    }
    assert sorted(set(TESTS) - wanted - of_ops - of_plugins - WHOLE_PROJECT) == []


def test_no_file_is_longer_than_a_sitting() -> None:
    lines = {source: len((REPOSITORY / source).read_text(encoding="utf-8").splitlines()) for source in SOURCES}
    assert {source: count for source, count in lines.items() if count > MAX_LINES and source not in TABLES} == {}
    assert lines.keys() >= TABLES


# ------------------------------------------------------------------------------------------------------------ security

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "eval", "exec", "os.system", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "torch.load",
    "torch.save", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle",
}  # fmt: skip
UNSAFE_OPTIONS = {"allow_pickle", "trust_remote_code", "shell"}
"""Options that no source may switch on by itself; `trust_remote_code` may pass on what the user has set."""


PERMISSION = "trust_remote_code"
"""What every loader of a library has to be told: where it is not said, transformers asks on the terminal."""


def unsafe(code: ast.Module) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from (f"import {each.name}" for each in node.names if each.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
            yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            if (called := name_of(node.func)) in UNSAFE_CALLS:
                yield f"{called}()"
            loader = isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained"
            if loader and PERMISSION not in {each.arg for each in node.keywords}:
                yield f"from_pretrained() without {PERMISSION}"
            for option in node.keywords:
                on = isinstance(option.value, ast.Constant) and option.value.value is True
                if option.arg in UNSAFE_OPTIONS and on:
                    yield f"{option.arg}=True"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "yaml.load(text)", "torch.load(path)", "f(allow_pickle=True)",
        "AutoModel.from_pretrained(name)", "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_unsafe_code_would_be_seen(code: str) -> None:
    assert list(unsafe(ast.parse(code)))


def test_no_source_runs_code_that_comes_with_data() -> None:
    found = [f"{source}: {each}" for source in SOURCES for each in unsafe(tree(source))]
    assert not found, "\n".join(found)


# --------------------------------------------------------------------------------------------------------- native code

NATIVE = [path for folder in ("cpu", "include/jenga") for path in sorted((REPOSITORY / "csrc" / folder).iterdir())]
MAY_THROW = re.compile(
    r"\b(throw|new|Tensor|check\w*|fail|push_back|emplace\w*|insert|resize|reserve|assign|make_\w+|empty_like\w*)\b"
    r"|std::(vector|string|function|map)\b|(?<!\.)\bkernels\(\)|_kernels?\(|\.(numel|\w*data_ptr|size\(\d|stride)\b"
)
"""Allocates, looks something up that may not be there, or asks torch."""


def parallel_bodies(source: str) -> Iterator[str]:
    """Yield the bodies of functions marked noexcept, which is what jenga::parallel_for takes."""
    for match in re.finditer(r"\bnoexcept \{", source):
        depth, end = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(source[end], 0)
            end += 1
        yield source[match.end() : end - 1]


def test_what_threads_run_neither_throws_nor_allocates() -> None:
    bodies = {path.name: list(parallel_bodies(path.read_text(encoding="utf-8"))) for path in NATIVE}
    assert {name for name, found in bodies.items() if found} >= {
        "lora_forward.h", "lora_backward.h", "multi_head_loss.cpp", "skinny_linear.cpp", "vocabulary.cpp", "parallel.h",
        "products.h",
    }  # fmt: skip
    wrong = {name: [found[0] for body in each if (found := MAY_THROW.search(body))] for name, each in bodies.items()}
    assert {name: words for name, words in wrong.items() if words} == {}
    # Others reach torch's threads through parallel_for, which takes functions marked noexcept only.
    calls = [path.name for path in NATIVE if "torch::stable::parallel_for" in path.read_text(encoding="utf-8")]
    assert calls == ["parallel.h"]


@pytest.mark.parametrize(
    "line",
    ["std::vector<T> rows(n);", "check(n > 0);", "values.push_back(1);", "x.const_data_ptr()", "kernels().run()"],
)
def test_a_line_that_may_throw_would_be_seen(line: str) -> None:
    (body,) = parallel_bodies(f"f([&](int64_t begin, int64_t end) noexcept {{ if (a) {{ b; }} {line} }}); g();")
    assert MAY_THROW.search(body)
    assert "g()" not in body
