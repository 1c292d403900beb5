"""Whether two tokenizers mean the same by a token's number."""

from __future__ import annotations

from typing import Any

from jenga.errors import ConfigError
from jenga.modalities.text.tokens import tokenizer_identity

_SHOWN = 3


def check_same_tokens(student: Any, teacher: Any, *, teacher_name: str) -> None:
    """Raise ConfigError, naming the difference, unless both tokenizers give any text the same tokens.

    Numbers beyond a tokenizer's own, which pad a model's embeddings to a round size, are no tokens and do not count.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    what = _difference(ours, theirs)
    if what is None and student.is_fast and teacher.is_fast:
        kinds = tokenizer_identity(student), tokenizer_identity(teacher)
        parts = [part for part in ("normalizer", "pre_tokenizer", "model") if kinds[0].get(part) != kinds[1].get(part)]
        what = f"they cut texts differently ({', '.join(parts)})" if parts else None
    if what is not None:
        raise ConfigError(
            f"model.teacher_student_config.teacher_model: the tokenizer of '{teacher_name}' is not the student's: "
            f"{what}. A token's probabilities can only be learnt from a teacher that reads the same tokens; choose one "
            "of the student's family, or give the student the teacher's tokenizer (model.tokenizer)"
        )


def _difference(ours: dict[str, int], theirs: dict[str, int]) -> str | None:
    only_ours, only_theirs = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    if only_ours or only_theirs:
        shown = [f"{name} lacks {_some(tokens)}" for name, tokens in
                 (("the teacher's", only_ours), ("the student's", only_theirs)) if tokens]  # fmt: skip
        return f"{len(theirs):,} tokens against {len(ours):,}; {'; '.join(shown)}"
    moved = sorted((number, token) for token, number in ours.items() if theirs[token] != number)
    if moved:
        number, token = moved[0]
        return f"{len(moved):,} tokens have other numbers, such as '{token}': {theirs[token]} against {number}"
    return None


def _some(tokens: set[str]) -> str:
    shown = ", ".join(f"'{token}'" for token in sorted(tokens)[:_SHOWN])
    more = len(tokens) - _SHOWN
    return shown + (f" and {more:,} more" if more > 0 else "")
