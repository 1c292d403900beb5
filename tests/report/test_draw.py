from __future__ import annotations

import math

import pytest

from jenga.report.draw import COLOURS, Plot, colour, ticks


def test_more_curves_than_colours_are_told_apart() -> None:
    assert len({colour(place) for place in range(3 * COLOURS)}) == 3 * COLOURS


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ((0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((-3.0, 2.0), [-3, -2, -1, 0, 1, 2]),
        ((1e5, 2.1e5), [1e5, 1.5e5, 2e5]),
        ((0.00011, 0.00029), [0.00015, 0.0002, 0.00025]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(shown: tuple[float, float], expected: list[float]) -> None:
    assert ticks(shown) == pytest.approx(expected)


def test_a_value_that_is_not_finite_is_a_gap() -> None:
    plot = Plot("loss", "step", "loss")
    plot.line([1, 2, 3, 4], [1.0, math.inf, 3.0, math.nan], style="s0")
    plot.dots([1, 2], [1.0, math.nan], style="s0")
    drawn = plot.drawn()
    (path,) = drawn.findall("./svg/path")
    assert path.get("d", "").count("M") == 2
    assert len(drawn.findall("./svg/circle")) == 1


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [0.0], [1e-12, 2e-12], [-1e9, 1e9]])
def test_whatever_is_drawn_stays_within_the_picture(values: list[float]) -> None:
    plot = Plot("t", "x", "y")
    plot.line(values, values, style="s0")
    plot.dots(values, values, style="s0")
    drawn = plot.drawn()
    _, _, width, height = map(float, (drawn.find("svg").get("viewBox") or "").split())  # type: ignore[union-attr]
    for each in drawn.findall("./svg/circle"):
        assert 0 <= float(each.get("cx", "")) <= width
        assert 0 <= float(each.get("cy", "")) <= height


def test_an_axis_of_powers_has_a_tick_for_each() -> None:
    plot = Plot("t", "rate", "y", (1e-4, 1.0), (0, 1), "log")
    plot.line([1e-4, 1e-2, 1.0], [0, 0.5, 1.0], style="s0")
    words = [each.text for each in plot.drawn().findall("./svg/text")]
    assert {"0.0001", "0.001", "0.01", "0.1", "1"} <= set(words)
