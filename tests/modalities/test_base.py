"""What every kind of inputs offers."""

from __future__ import annotations

import pytest

from jenga.modalities import Inputs, EventEncoder, TextEncoder


def test_inputs_without_a_method_of_the_interface_cannot_be_made() -> None:
    class Half(Inputs):
        def describe(self) -> dict[str, object]:
            return {}

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


@pytest.mark.parametrize("kind", [TextEncoder, EventEncoder])
def test_the_built_in_kinds_offer_all_of_it(kind: type[Inputs]) -> None:
    assert not kind.__abstractmethods__
