"""A finished chart, the axes it is drawn on, and the series of numbers it shows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fieldstone.charts import svg
from fieldstone.charts.numerals import log_ticks, number_text, span, ticks
from fieldstone.charts.theme import CHART_CSS, DASHES, SERIES_COLOURS, VARIABLES

WIDTH = 720
HEIGHT = 340
LEGEND_PX = 22

Value = float | None


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis reads. `unit` as in `number_text` ("%" takes fractions); `zero` puts 0 on it; `log` needs values above 0.

    `names`: texts for whole-number positions (0 is the first), such as months or epochs.
    """

    label: str = ""
    unit: str = ""
    log: bool = False
    zero: bool = True
    low: float | None = None
    high: float | None = None
    names: Sequence[str] = ()

    def text(self, value: Value) -> str:
        """Return a value of this axis as people read it."""
        if value is not None and self.names and value == int(value) and 0 <= value < len(self.names):
            return self.names[int(value)]
        return number_text(value, self.unit)


@dataclass(frozen=True, slots=True)
class Series:
    """A named row of numbers. None is unknown: a gap in a line, a hatched bar."""

    name: str
    values: Sequence[Value]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart with its table twin: `columns` and `rows` hold the numbers that the picture shows."""

    title: str
    description: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def standalone(self) -> str:
        """Return the SVG as a file of its own, with its style inside."""
        head, rest = self.svg.split(">", 1)
        return f'{head} style="background:var(--fs-card)"><style>{VARIABLES}{CHART_CSS}</style>{rest}\n'


def finish(
    title: str,
    description: str,
    body: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Chart:
    """Wrap drawn parts into an accessible SVG. Ids come from the content, so a page can hold many charts."""
    name = identity(title, columns, rows)
    inside = [
        svg.element("title", {"id": f"{name}t"}, [svg.escape(title)]),
        svg.element("desc", {"id": f"{name}d"}, [svg.escape(description)]),
        *body,
    ]
    shell = {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": "fs",
        "viewBox": f"0 0 {svg.at(width)} {svg.at(height)}",
        "role": "img",
        "aria-labelledby": f"{name}t {name}d",
    }
    return Chart(title, description, svg.element("svg", dict(shell), inside), columns, rows)


def identity(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return an id for a chart's parts that depends on its content only."""
    return "c" + hashlib.sha256(repr((title, list(columns), [list(r) for r in rows])).encode()).hexdigest()[:10]


def hatch(name: str) -> str:
    """Return the definition of the hatching that stands for "unknown"; filled with `url(#<name>h)`."""
    line = svg.element("path", {"d": "M0 6L6 0", "class": "hatch"})
    size = {"id": f"{name}h", "width": 6, "height": 6, "patternUnits": "userSpaceOnUse"}
    return svg.element("defs", {}, [svg.element("pattern", dict(size), [line])])


def colour(index: int) -> int:
    """Return the number of a series' colour class, 1-based."""
    return index % SERIES_COLOURS + 1


def dash(index: int) -> str | None:
    """Return a series' dash pattern, so that lines differ without colour too."""
    return DASHES[index % len(DASHES)] or None


class Plane:
    """The rectangle that data is drawn in: scales, grid, ticks, axis titles."""

    def __init__(
        self,
        x: Axis,
        y: Axis,
        x_values: Sequence[Value],
        y_values: Sequence[Value],
        *,
        top: float = 12,
        height: float = HEIGHT,
        width: float = WIDTH,
        x_band: bool = False,
    ) -> None:
        self.x_axis, self.y_axis = x, y
        self.x_low, self.x_high, self._x_ticks = _extent(x, x_values, x_band)
        self.y_low, self.y_high, self._y_ticks = _extent(y, y_values, False)
        widest = max((svg.width_of(y.text(t)) for t in self._y_ticks), default=20)
        self.left = widest + (30 if y.label else 14)
        self.right = width - 16
        self.top = top
        self.bottom = height - (44 if x.label else 26)

    def px(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return self.left + _share(value, self.x_low, self.x_high, self.x_axis.log) * (self.right - self.left)

    def py(self, value: float) -> float:
        """Return the vertical position of a value."""
        return self.bottom - _share(value, self.y_low, self.y_high, self.y_axis.log) * (self.bottom - self.top)

    def point(self, x: float, y: Value) -> tuple[float, float] | None:
        """Return a point's position; None when it is unknown or not on a log scale."""
        if y is None or not math.isfinite(y) or (self.y_axis.log and y <= 0) or (self.x_axis.log and x <= 0):
            return None
        return self.px(x), self.py(min(max(y, self.y_low), self.y_high))

    def draw(self, *, x_ticks: bool = True) -> list[str]:
        """Return grid, ticks and axis titles."""
        parts = []
        for tick in self._y_ticks:
            y = self.py(tick)
            kind = "axis" if tick == 0 else "grid"
            parts.append(
                svg.element("path", {"d": f"M{svg.at(self.left)} {svg.at(y)}H{svg.at(self.right)}", "class": kind})
            )
            parts.append(svg.label(self.left - 6, y + 4, self.y_axis.text(tick), anchor="end"))
        parts.append(
            svg.element(
                "path", {"d": f"M{svg.at(self.left)} {svg.at(self.bottom)}H{svg.at(self.right)}", "class": "axis"}
            )
        )
        if x_ticks:
            parts += self._draw_x_ticks()
        if self.x_axis.label:
            middle = (self.left + self.right) / 2
            parts.append(svg.label(middle, self.bottom + 36, _titled(self.x_axis), anchor="middle"))
        if self.y_axis.label:
            middle = (self.top + self.bottom) / 2
            turned = {"x": 0, "y": 0, "text-anchor": "middle", "class": "t"}
            turned["transform"] = f"translate(12 {svg.at(middle)}) rotate(-90)"
            parts.append(svg.element("text", dict(turned), [svg.escape(_titled(self.y_axis))]))
        return parts

    def _draw_x_ticks(self) -> list[str]:
        parts = []
        room_from = -math.inf
        for tick in self._x_ticks:
            x, text = self.px(tick), self.x_axis.text(tick)
            half = svg.width_of(text) / 2
            if x - half < room_from:
                continue
            room_from = x + half + 8
            parts.append(svg.element("path", {"d": f"M{svg.at(x)} {svg.at(self.bottom)}v4", "class": "axis"}))
            shift = min(0.0, self.right + 14 - (x + half))
            parts.append(svg.label(x + shift, self.bottom + 18, text, anchor="middle"))
        return parts


def legend(
    names: Sequence[str], *, left: float = 12, lines: bool = True, width: float = WIDTH
) -> tuple[list[str], float]:
    """Return the legend's parts and its height in px; nothing for a single unnamed series."""
    if not any(names) or len(names) < 2:
        return [], 0.0
    parts: list[str] = []
    x, y = left, 14.0
    for index, name in enumerate(names):
        text = svg.fit(name, width - left - 60)
        room = 30 + svg.width_of(text) + 16
        if x + room > width and x > left:
            x, y = left, y + 18
        if lines:
            mark = {"d": f"M{svg.at(x)} {svg.at(y - 4)}h22", "class": f"line k{colour(index)}"}
            parts.append(svg.element("path", {**mark, "stroke-dasharray": dash(index)}))
        else:
            parts.append(
                svg.element("rect", {"x": x + 6, "y": y - 10, "width": 12, "height": 12, "class": f"f{colour(index)}"})
            )
        parts.append(svg.label(x + 28, y, text, kind="t"))
        x += room
    return parts, y + 8


def _titled(axis: Axis) -> str:
    unit = {"%": ""}.get(axis.unit, axis.unit)
    scale = "log scale" if axis.log else ""
    inside = ", ".join(part for part in (unit if unit not in axis.label else "", scale) if part)
    return f"{axis.label} ({inside})" if inside else axis.label


def _extent(axis: Axis, values: Sequence[Value], exact: bool) -> tuple[float, float, list[float]]:
    if axis.log:
        above = [v for v in values if v is not None and v > 0 and math.isfinite(v)]
        low, high = min(above, default=1.0), max(above, default=10.0)
        found = log_ticks(axis.low or low, axis.high or high)
        return found[0], found[-1], found
    low, high = span(values, include_zero=axis.zero and not exact)
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if axis.names:
        last = len(axis.names) - 1
        step = max(1, math.ceil((last + 1) / 12))
        return low, high, [float(n) for n in range(0, last + 1, step)]
    found = ticks(low, high)
    if exact:
        return low, high, [tick for tick in found if low <= tick <= high]
    return min(low, found[0]), max(high, found[-1]), found


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    return (value - low) / (high - low) if high > low else 0.5
