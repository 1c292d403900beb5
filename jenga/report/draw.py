"""Plots as SVG in a page: lines and points over two axes, in the page's own colours, light and dark.

Names of curves stand in a legend of HTML, which breaks and scales as text does; the picture itself holds numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree.ElementTree import Element

from jenga.report.page import node, of_class

COLOURS = 7
"""Colours that the page's style has, after Okabe and Ito, told apart by most eyes; then the dashes change."""
_DASHES = 4
_WIDTH, _HEIGHT = 400.0, 230.0
_RIGHT, _TOP, _BOTTOM = 12.0, 8.0, 38.0
_TICKS = 5

Scale = Literal["linear", "log"]
Range = tuple[float, float]


def colour(place: int) -> str:
    """Return the classes of the `place`-th curve."""
    dashes = place // COLOURS % _DASHES
    return f"s{place % COLOURS}" + (f" d{dashes}" if dashes else "")


@dataclass
class Plot:
    """One pair of axes. Values that are not finite are gaps.

    `x_range`, `y_range`: what the axes show; default: what is drawn in them, and a little more.
    """

    title: str
    x: str
    y: str
    x_range: Range | None = None
    y_range: Range | None = None
    x_scale: Scale = "linear"
    _marks: list[tuple[str, str, Sequence[float], Sequence[float], str, Sequence[float]]] = field(default_factory=list)
    _legend: list[tuple[str, str, str]] = field(default_factory=list)
    _left: float = 0.0

    def line(self, xs: Sequence[float], ys: Sequence[float], *, style: str, name: str | None = None) -> None:
        """Draw a curve; style: classes, such as `colour` gives them."""
        self._add("line", style, xs, ys, name)

    def dots(
        self, xs: Sequence[float], ys: Sequence[float], *, style: str, name: str | None = None,
        sizes: Sequence[float] = (),
    ) -> None:  # fmt: skip
        """Draw points; sizes: the radius of each, default 3."""
        self._add("dot", style, xs, ys, name, sizes)

    def steps(self, edges: Sequence[float], heights: Sequence[float], *, style: str, name: str | None = None) -> None:
        """Draw an area of bars from the axis, between `edges`, one more than `heights`."""
        xs = [edge for edge in edges for _ in range(2)]
        ys = [0.0, *(height for height in heights for _ in range(2)), 0.0]
        self._add("area", style, xs, ys, name)

    def rule(self, *, x: float | None = None, y: float | None = None, name: str | None = None) -> None:
        """Draw a dotted line across at `x` or `y`; at both: the diagonal from there."""
        self._add("rule", "", [] if x is None else [x], [] if y is None else [y], name)

    def _add(
        self, mark: str, style: str, xs: Sequence[float], ys: Sequence[float], name: str | None,
        sizes: Sequence[float] = (),
    ) -> None:  # fmt: skip
        self._marks.append((mark, style, list(map(float, xs)), list(map(float, ys)), name or "", list(sizes)))
        if name is not None:
            self._legend.append((mark, style, name))

    # ------------------------------------------------------------------------------------------------------- drawing

    def drawn(self) -> Element:
        """Return the figure."""
        across, up = self._ranges()
        # The axis stands behind the widest of its numbers, at about 6.4 units a digit.
        self._left = 30 + 6.4 * max((len(_number(value, up)) for value in ticks(up)), default=1)
        words = f"{self.title}: {self.y} over {self.x}"
        size = f"0 0 {_WIDTH:g} {_HEIGHT:g}"
        picture = node("svg", attributes={"viewBox": size, "role": "img", "aria-label": words})
        picture.extend(self._axes(across, up))
        for mark, style, xs, ys, _, sizes in self._marks:
            picture.extend(self._mark(mark, style, xs, ys, sizes, across, up))
        legend = of_class("legend", "ul", *(node("li", _swatch(*each[:2]), each[2]) for each in self._legend))
        parts = [node("figcaption", self.title), *([legend] if self._legend else []), picture]
        return of_class("plot", "figure", *parts)

    def _ranges(self) -> tuple[Range, Range]:
        drawn = [each for each in self._marks if each[0] != "rule"]
        xs = [x for each in drawn for x in each[2] if math.isfinite(x)]
        ys = [y for each in drawn for y in each[3] if math.isfinite(y)]
        return self.x_range or _around(xs), self.y_range or _around(ys)

    def _x(self, value: float, across: Range) -> float:
        low, high = across
        if self.x_scale == "log":
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        return self._left + (value - low) / (high - low) * (_WIDTH - self._left - _RIGHT)

    def _y(self, value: float, up: Range) -> float:
        return _HEIGHT - _BOTTOM - (value - up[0]) / (up[1] - up[0]) * (_HEIGHT - _TOP - _BOTTOM)

    def _axes(self, across: Range, up: Range) -> list[Element]:
        parts = []
        low, high = _HEIGHT - _BOTTOM, _TOP
        for value in ticks(up):
            at = _digits(self._y(value, up))
            parts.append(_line(_digits(self._left), at, _digits(_WIDTH - _RIGHT), at, "grid"))
            parts.append(_words(self._left - 6, float(at) + 4, _number(value, up), "end"))
        wanted = _decades(across) if self.x_scale == "log" else ticks(across)
        for value in wanted:
            at = _digits(self._x(value, across))
            parts.append(_line(at, _digits(low), at, _digits(low + 4), "axis"))
            parts.append(_words(float(at), low + 16, _number(value, across), "middle"))
        parts.append(_line(_digits(self._left), _digits(low), _digits(_WIDTH - _RIGHT), _digits(low), "axis"))
        parts.append(_words((self._left + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, self.x, "middle"))
        middle = (low + high) / 2
        parts.append(_words(12, middle, self.y, "middle", turned=True))
        return parts

    def _mark(
        self, mark: str, style: str, xs: Sequence[float], ys: Sequence[float], sizes: Sequence[float],
        across: Range, up: Range,
    ) -> list[Element]:  # fmt: skip
        if mark == "rule":
            return [self._rule(xs, ys, across, up)]
        places = [
            (self._x(_inside(x, across), across), self._y(_inside(y, up), up))
            if math.isfinite(x) and math.isfinite(y)
            else None
            for x, y in zip(xs, ys, strict=True)
        ]
        if mark == "dot":
            radii = sizes or [3.0] * len(places)
            return [
                node("circle", attributes={
                    "cx": _digits(place[0]), "cy": _digits(place[1]), "r": _digits(radius), "class": f"dot {style}"
                })
                for place, radius in zip(places, radii, strict=True) if place is not None
            ]  # fmt: skip
        path, pen = "", "M"
        for place in places:
            if place is None:
                pen = "M"
                continue
            path += f"{pen}{_digits(place[0])} {_digits(place[1])}"
            pen = "L"
        return [node("path", attributes={"d": path, "class": f"{mark} {style}"})] if path else []

    def _rule(self, xs: Sequence[float], ys: Sequence[float], across: Range, up: Range) -> Element:
        left, right = across
        low, high = up
        if xs and ys:
            left, right, low, high = max(left, low), min(right, high), max(left, low), min(right, high)
        elif xs:
            left = right = xs[0]
        else:
            low = high = ys[0]
        x1, x2 = (_digits(self._x(end, across)) for end in (left, right))
        y1, y2 = (_digits(self._y(end, up)) for end in (low, high))
        return _line(x1, y1, x2, y2, "rule")


def ticks(shown: Range) -> list[float]:
    """Return about five round numbers within a range."""
    low, high = shown
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(shown: Range) -> list[float]:
    low, high = (math.log10(end) for end in shown)
    return [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]


def _around(values: Sequence[float]) -> Range:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-12):
        room = abs(high) * 0.1 or 1.0
        return low - room, high + room
    room = 0.04 * (high - low)
    return (low if low == 0 else low - room), high + room


def _inside(value: float, shown: Range) -> float:
    return min(max(value, shown[0]), shown[1])


def _number(value: float, shown: Range) -> str:
    size = max(map(abs, shown))
    if value == 0:
        return "0"
    if 1e-3 <= size < 1e4:
        return f"{value:.4g}"
    if 1e4 <= size < 1e9 and value == int(value):
        return f"{int(value) // 1000:,}k" if value % 1000 == 0 else f"{int(value):,}"
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")


def _digits(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: str, y1: str, x2: str, y2: str, style: str) -> Element:
    return node("line", attributes={"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": style})


def _words(x: float, y: float, words: str, anchor: str, *, turned: bool = False) -> Element:
    place = {"x": _digits(x), "y": _digits(y), "text-anchor": anchor}
    if turned:
        place["transform"] = f"rotate(-90 {_digits(x)} {_digits(y)})"
    return node("text", words, attributes=place)


def _swatch(mark: str, style: str) -> Element:
    drawn = {
        "dot": node("circle", attributes={"cx": "11", "cy": "5", "r": "4", "class": f"dot {style}"}),
        "area": node("path", attributes={"d": "M2 9V1H20V9Z", "class": f"area {style}"}),
        "rule": _line("1", "5", "21", "5", "rule"),
    }
    line = node("path", attributes={"d": "M1 5L21 5", "class": f"line {style}"})
    return node("svg", drawn.get(mark, line), attributes={"viewBox": "0 0 22 10", "aria-hidden": "true"})
