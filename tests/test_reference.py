"""The reference pages are what is there, and so the public names do not change unseen."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.usefixtures("registries_as_before")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", REPOSITORY / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["reference-yaml.md", "reference-cli.md", "reference-python.md"])
def test_a_reference_page_is_what_is_there(reference: ModuleType, name: str) -> None:
    kept = (REPOSITORY / "docs" / name).read_text(encoding="utf-8").splitlines()
    made = reference.pages()[name].splitlines()
    changed = [f"-{line}" for line in kept if line not in made] + [f"+{line}" for line in made if line not in kept]
    assert kept == made, "\n".join(["run python .ci/reference.py; it changes:", *changed])


def test_the_pages_tell_of_what_they_promise(reference: ModuleType) -> None:
    pages = reference.pages()
    assert "| `log_model` | `true`, `false` | `true` | Log the best model as a pyfunc. |" in pages["reference-yaml.md"]
    assert "## jenga refine fit" in pages["reference-cli.md"]
    assert "\nbackend_info() -> " in pages["reference-python.md"]


@pytest.mark.parametrize("package", ["jenga", "jenga.refinery"])
def test_no_name_that_is_handed_out_late_is_hidden_by_a_module_of_that_name(package: str) -> None:
    # Importing a module sets its name in its package, in place of what the package hands out under that name.
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if inspect.ismodule(getattr(module, name))] == []
