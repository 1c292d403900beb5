"""Python that starts in the clone's root: which jenga it gets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "jenga"
SHOWN = "print(jenga.__file__, list(jenga.__path__), jenga.files.__file__, jenga.__spec__.origin)"


def put_package(parent: Path, *, library: str | None) -> Path:
    """Write a jenga of few files to `parent`, return its folder; library: the file that makes it an installed one."""
    folder = parent / "jenga"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "threads.py", "files.py", "errors.py"):
        shutil.copy(SOURCE / name, folder / name)
    if library is not None:
        (folder / library).touch()
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The root of a clone."""
    folder = put_package(tmp_path / "clone", library=None)
    (folder / "only_here.py").touch()
    return folder.parent


def run(code: str, clone: Path, *sites: Path, options: tuple[str, ...] = ("-c",)) -> subprocess.CompletedProcess[str]:
    """Run Python in `clone` that finds packages there, then in `sites`, and nowhere else."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, sites))
    # -S: without the site's own installation, whose finder may come before all folders.
    command = [sys.executable, "-S", *options, code]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("library", [f"_C{EXTENSION_SUFFIXES[0]}", "_C_off.py"])
def test_in_the_clones_root_the_installed_package_is_imported_whole(tmp_path: Path, clone: Path, library: str) -> None:
    installed = put_package(tmp_path / "site", library=library)
    empty = tmp_path / "empty"
    (empty / "jenga").mkdir(parents=True)  # no package
    done = run(f"import jenga, jenga.files; {SHOWN}", clone, empty, installed.parent)
    init = installed / "__init__.py"
    assert done.stdout == f"{init} {[str(installed)]} {installed / 'files.py'} {init}\n", done.stderr
    mixed = run("import jenga.only_here", clone, installed.parent)
    assert "No module named 'jenga.only_here'" in mixed.stderr


def test_a_module_started_by_its_name_is_the_installed_one(tmp_path: Path, clone: Path) -> None:
    installed = put_package(tmp_path / "site", library="_C_off.py")
    for folder in (clone / "jenga", installed):
        (folder / "told.py").write_text("import sys, jenga.files as files\nprint(__file__, files.__file__)\n")
    done = run("jenga.told", clone, installed.parent, options=("-m",))
    assert done.stdout == f"{installed / 'told.py'} {installed / 'files.py'}\n", done.stderr


def test_a_clone_without_an_installation_says_what_is_missing_and_how_to_mend_it(tmp_path: Path, clone: Path) -> None:
    other_clone = put_package(tmp_path / "other", library=None).parent
    done = run("import jenga", clone, other_clone)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: jenga._C, the compiled kernels, is missing beside {clone / 'jenga' / '__init__.py'}, and no "
        "installed jenga is on sys.path; is this the source? run pip install . in its folder"
    )


def test_an_installed_package_looks_nowhere_else(tmp_path: Path) -> None:
    installed = put_package(tmp_path / "site", library="_C_off.py")
    other = put_package(tmp_path / "other", library="_C_off.py")
    code = (
        "from importlib.machinery import PathFinder\n"
        "looked, find = [], PathFinder.find_spec\n"
        "def spy(name, path=None, target=None):\n"
        "    looked.append((name, path)); return find(name, path, target)\n"
        "PathFinder.find_spec = spy\n"
        f"import jenga, jenga.files; {SHOWN}\n"
        f"print([path for name, path in looked if path and {str(other.parent)!r} in path])"
    )
    done = run(code, tmp_path, installed.parent, other.parent)
    init = installed / "__init__.py"
    first, second = done.stdout.splitlines()
    assert first == f"{init} {[str(installed)]} {installed / 'files.py'} {init}", done.stderr
    assert second == "[]"
