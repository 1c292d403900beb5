"""What a configuration says of a model of texts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jenga.modalities.text.settings import ModelConfig, TextColumnKeys


def test_a_preset_starts_from_nothing_and_the_settings_given_stay_as_they_are() -> None:
    given = ModelConfig(base_model="jenga/tiny-text", pooling="mean")
    made = given.with_preset("work/preset")
    assert (made.base_model, made.pooling, made.starts_from_nothing) == ("work/preset", "mean", True)
    assert (given.base_model, given.starts_from_nothing) == ("jenga/tiny-text", False)


def test_a_model_for_language_generates_and_the_settings_given_do_not() -> None:
    given = ModelConfig(base_model="gpt2")
    assert given.for_language().generates
    assert not given.generates
    assert given.with_preset("x").for_language().starts_from_nothing


def test_what_is_decided_later_is_not_written_down() -> None:
    made = ModelConfig(base_model="gpt2").with_preset("x").for_language()
    assert made.model_dump() == ModelConfig(base_model="x").model_dump()


@pytest.mark.parametrize("wrong", [{"base_model": ""}, {"pooling": "middle"}, {"dropout": 1.5}, {"layers": 3}])
def test_what_no_model_can_have_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({"base_model": "gpt2", **wrong})


@pytest.mark.parametrize(
    ("windows", "said"),
    [({"window_stride_tokens": 2}, "there are no windows; give window_tokens"),
     ({"window_tokens": 2, "window_stride_tokens": 3}, r"3 is more than window_tokens \(2\)")],
)  # fmt: skip
def test_strides_without_windows_and_gaps_between_them_are_refused(windows: dict[str, int], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModelConfig.model_validate({"base_model": "gpt2", **windows})


def test_columns_are_left_open_unless_they_are_named() -> None:
    assert TextColumnKeys().model_dump() == {"text": None, "text_pair": None, "tokens": None}
