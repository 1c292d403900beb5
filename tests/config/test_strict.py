"""What every block of the configuration has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jenga.config.strict import Fraction, PositiveFloat, PositiveInt, Strict


class Block(Strict):
    share: Fraction = 0.5
    rate: PositiveFloat = 1.0
    count: PositiveInt = 1


def test_values_are_fixed_once_read() -> None:
    block = Block()
    with pytest.raises(ValidationError, match="frozen"):
        block.count = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cuont": 2}, "Extra inputs are not permitted"),
        ({"share": 1.0}, "less than 1"),
        ({"share": -0.1}, "greater than or equal to 0"),
        ({"rate": 0.0}, "greater than 0"),
        ({"rate": float("inf")}, "finite number"),
        ({"count": 0}, "greater than or equal to 1"),
    ],
)
def test_a_value_out_of_range_or_an_unknown_key_is_an_error(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Block.model_validate(settings)
