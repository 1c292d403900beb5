from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.tasks.language.config import CausalLMConfig, GenerationConfig, LanguageColumns


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text": "a", "prompt": "b"}, "text and prompt name different forms"),
        ({"messages": "a", "completion": "b"}, "prompt and messages name different forms"),
        ({"text": "a", "messages": "b"}, "text and messages name different forms"),
    ],
)
def test_columns_of_two_forms_are_refused(columns: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LanguageColumns(**columns)


def test_a_prompt_and_its_completion_are_one_form() -> None:
    assert LanguageColumns(prompt="question", completion="answer").completion == "answer"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"exact_match": True, "answer_pattern": "("}, "no regular expression"),
        ({"answer_pattern": "x"}, "only exact_match reads it"),
        ({"exact_match": True, "rows": 0}, "no row is answered"),
    ],
)
def test_settings_of_generation_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GenerationConfig(**settings)


def test_messages_are_never_written_plainly() -> None:
    with pytest.raises(ValidationError, match="chat template"):
        CausalLMConfig(name="lm", type="causal_lm", data_path="x.jsonl", columns={"messages": "m"}, template="plain")


def test_a_language_task_has_one_head_that_has_only_a_name() -> None:
    task = CausalLMConfig(name="lm", type="causal_lm", data_path="x.jsonl")
    assert [(head.name, head.weight, head.num_labels, head.labels) for head in task.heads] == [
        ("text", 1.0, None, None)
    ]
    with pytest.raises(ValidationError, match="num_labels"):
        CausalLMConfig(name="lm", type="causal_lm", data_path="x.jsonl", heads=[{"name": "text", "num_labels": 3}])
