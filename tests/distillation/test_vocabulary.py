from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jenga.distillation.vocabulary import check_same_tokens
from jenga.errors import ConfigError


def test_a_tokenizer_is_its_own_equal(make_tokenizer: Callable[[str], Any]) -> None:
    check_same_tokens(make_tokenizer("byte_level"), make_tokenizer("byte_level"), teacher_name="t")


def test_what_one_of_them_lacks_is_named(make_tokenizer: Callable[[str], Any]) -> None:
    ours, theirs = make_tokenizer("byte_level"), make_tokenizer("byte_level")
    theirs.add_tokens(["<|call|>"])
    size = len(ours)
    with pytest.raises(
        ConfigError, match=rf"'t' is not the student's: {size + 1} tokens against {size}; the student's"
    ) as caught:
        check_same_tokens(ours, theirs, teacher_name="t")
    assert "lacks '<|call|>'" in str(caught.value)
    with pytest.raises(ConfigError, match=r"the teacher's lacks '<\|call\|>'"):
        check_same_tokens(theirs, ours, teacher_name="t")


def test_another_family_is_named_by_examples(make_tokenizer: Callable[[str], Any]) -> None:
    with pytest.raises(ConfigError, match=r"the teacher's lacks .* more; the student's lacks .* more"):
        check_same_tokens(make_tokenizer("byte_level"), make_tokenizer("wordpiece"), teacher_name="t")


def test_equal_tokens_with_other_numbers_are_named(make_tokenizer: Callable[[str], Any]) -> None:
    class Renumbered:
        is_fast = False

        def __init__(self, real: Any) -> None:
            vocabulary = real.get_vocab()
            first, second = sorted(vocabulary, key=vocabulary.__getitem__)[:2]
            self.vocabulary = {**vocabulary, first: vocabulary[second], second: vocabulary[first]}

        def get_vocab(self) -> dict[str, int]:
            return self.vocabulary

    real = make_tokenizer("byte_level")
    with pytest.raises(ConfigError, match=r"2 tokens have other numbers, such as '.*': 1 against 0"):
        check_same_tokens(real, Renumbered(real), teacher_name="t")


def test_equal_tokens_cut_otherwise_are_named(make_tokenizer: Callable[[str], Any]) -> None:
    from tokenizers import normalizers

    ours, theirs = make_tokenizer("byte_level"), make_tokenizer("byte_level")
    theirs.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ConfigError, match=r"cut texts differently \(normalizer\)"):
        check_same_tokens(ours, theirs, teacher_name="t")
