"""Signatures as blocks of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError

from jenga.config.explain import validate
from jenga.optimizers.signature import parameters_of, settings_of


class Part:
    def __init__(
        self,
        params: list[torch.Tensor],
        rate: float,
        shape: Literal["flat", "round"] = "flat",
        betas: tuple[float | torch.Tensor, float] = (0.9, 0.99),
        eps: float | torch.Tensor | None = None,
        guess=3,  # type: ignore[no-untyped-def]
        hook: Callable[[], None] | None = None,
        *arguments: Any,
        **options: Any,
    ) -> None: ...


def test_the_block_has_what_yaml_can_give_with_its_types_and_defaults() -> None:
    block = settings_of(Part, handed=["params"])
    assert list(block.model_fields) == ["rate", "shape", "betas", "eps", "guess"]
    made: Any = validate(block, {"rate": 1, "betas": [0.5, 0.6], "eps": 1e-3, "guess": 0.5})
    assert (made.rate, made.shape, made.betas, made.eps, made.guess) == (1.0, "flat", (0.5, 0.6), 1e-3, 0.5)
    assert validate(block, {"rate": 1, "guess": 4}).model_dump()["guess"] == 4


@pytest.mark.parametrize(
    "given",
    [
        {}, {"rate": "1"}, {"rate": 1, "shape": "square"}, {"rate": 1, "betas": [0.5]}, {"rate": 1, "guess": "x"},
        {"rate": 1, "hook": None}, {"rate": 1, "options": {}},
    ],
)  # fmt: skip
def test_what_the_signature_does_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        validate(settings_of(Part, handed=["params"]), given)


def test_a_parameter_that_yaml_cannot_give_is_refused_where_it_is_needed() -> None:
    def part(optimizer: torch.optim.Optimizer, closure: Callable[[], float]) -> None: ...

    with pytest.raises(ValueError, match="takes 'closure', which a configuration cannot give"):
        settings_of(part, handed=["optimizer"])
    assert list(parameters_of(part)) == ["optimizer", "closure"]


def test_annotations_of_names_that_are_not_there_give_way_to_the_defaults() -> None:
    def part(optimizer: Missing, power: Missing = 2.0) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    block = settings_of(part, handed=["optimizer"])
    assert validate(block, {"power": 3}).model_dump() == {"power": 3.0}
    with pytest.raises(ValidationError):
        validate(block, {"power": "much"})
