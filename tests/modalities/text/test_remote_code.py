"""What names code, what is said of it, and that nobody is asked. (That none runs: test_hostile_folders.py.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import dynamic_module_utils

from jenga.modalities.text.remote_code import named_code, never_asked, refused_code, refused_kernel


@pytest.mark.parametrize(
    ("file", "content", "found"),
    [
        ("config.json", {"auto_map": {"AutoModel": "a.B"}}, "auto_map in config.json"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["a.B", None]}}, "auto_map in tokenizer_config.json"),
        ("custom_generate/generate.py", "", "custom_generate/generate.py"),
        ("config.json", {"auto_map": {}, "model_type": "bert"}, None),
        ("config.json", ["auto_map"], None),
        ("evil.py", "", None),
    ],
)
def test_code_is_named_by_a_map_or_its_place(tmp_path: Path, file: str, content: object, found: str | None) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(content))
    assert named_code(tmp_path) == found


def test_what_cannot_be_had_or_read_names_no_code(tmp_path: Path) -> None:
    assert named_code("nobody/no-such-model") is None
    (tmp_path / "config.json").write_text("{")
    assert named_code(tmp_path) is None


def test_the_refusal_says_whose_code_the_risk_and_what_to_pass() -> None:
    said = str(refused_code("runs/a/best", "auto_map in config.json"))
    assert said.startswith("runs/a/best needs code of its own (auto_map in config.json), which was not run")
    assert "can do all that you can" in said
    assert "--trust-remote-code" in said
    assert "trust_remote_code=True" in said
    assert refused_kernel("x", "a/b").exit_code == refused_code("x", "y").exit_code == 4


def test_transformers_refuses_at_once_instead_of_asking_and_asks_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")

    def resolve() -> None:
        dynamic_module_utils.resolve_trust_remote_code(None, "a/model", False, True)

    with never_asked(False), pytest.raises(ValueError, match="trust_remote_code"):
        resolve()
    assert asked == []
    with never_asked(True), pytest.raises(ValueError, match="trust_remote_code"):
        resolve()
    with pytest.raises(ValueError, match="trust_remote_code"):
        resolve()
    assert len(asked) == 2
