"""Line charts, fans of quantiles, scatter plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fieldstone.charts import svg
from fieldstone.charts.chart import LEGEND_PX, Axis, Chart, Plane, Series, Value, colour, dash, finish, legend

_DOTS_UP_TO = 40
_HITS_UP_TO = 400


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the chart with a text: at `x` (an event) or at `y` (a threshold)."""

    text: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A band between two quantiles, from the widest to the narrowest. `name` such as "p5 to p95"."""

    name: str
    low: Sequence[Value]
    high: Sequence[Value]


def line_chart(
    title: str,
    x_values: Sequence[float],
    series: Sequence[Series],
    *,
    x: Axis = Axis(zero=False),
    y: Axis = Axis(),
    marks: Sequence[Mark] = (),
    description: str = "",
) -> Chart:
    """Draw one line per series over common positions. Unknown values are gaps."""
    names, top = legend([one.name for one in series])
    every = [value for one in series for value in one.values] + [mark.y for mark in marks]
    plane = Plane(x, y, x_values, every, top=top + 12, x_band=True)
    body = names + plane.draw() + draw_marks(plane, marks)
    for index, one in enumerate(series):
        body += _line(plane, x_values, one, index)
    body += _hits(plane, x_values, [(one.name, one.values) for one in series])
    rows = [[x.text(at), *(one.values[n] for one in series)] for n, at in enumerate(x_values)]
    told = description or f"{len(series)} lines over {x.label or 'x'}: {', '.join(one.name for one in series)}."
    return finish(title, told, body, [x.label or "x", *(_headed(one.name, y) for one in series)], rows)


def fan_chart(
    title: str,
    x_values: Sequence[float],
    bands: Sequence[Band],
    middle: Series,
    *,
    x: Axis = Axis(zero=False),
    y: Axis = Axis(),
    marks: Sequence[Mark] = (),
    description: str = "",
) -> Chart:
    """Draw quantile bands, widest first, around a middle line (the median, not the mean, of skewed quantities)."""
    every = [v for band in bands for v in (*band.low, *band.high)] + list(middle.values) + [m.y for m in marks]
    plane = Plane(x, y, x_values, every, top=LEGEND_PX + 12, x_band=True)
    body = _fan_legend(bands, middle.name) + plane.draw()
    for index, band in enumerate(bands):
        body += _area(plane, x_values, band, 0.16 + 0.16 * index)
    body += draw_marks(plane, marks) + _line(plane, x_values, middle, 0)
    columns = [part for band in bands for part in ((f"{band.name}, low", band.low), (f"{band.name}, high", band.high))]
    body += _hits(plane, x_values, [(middle.name, middle.values), *columns])
    rows = [[x.text(at), middle.values[n], *(values[n] for _, values in columns)] for n, at in enumerate(x_values)]
    told = description or f"{middle.name} with bands {', '.join(band.name for band in bands)} over {x.label or 'x'}."
    heads = [x.label or "x", _headed(middle.name, y), *(_headed(name, y) for name, _ in columns)]
    return finish(title, told, body, heads, rows)


def scatter(
    title: str,
    points: Sequence[tuple[float, float, str]],
    *,
    x: Axis = Axis(),
    y: Axis = Axis(),
    line: Sequence[tuple[float, float]] = (),
    description: str = "",
) -> Chart:
    """Draw one dot per (x, y, name); `line` is an optional reference such as the diagonal."""
    xs = [p[0] for p in points] + [p[0] for p in line]
    plane = Plane(x, y, xs, [p[1] for p in points] + [p[1] for p in line])
    body = plane.draw()
    if line:
        body.append(
            svg.element("path", {"d": svg.path(plane.point(a, b) for a, b in line), "class": "mark", "fill": "none"})
        )
    for a, b, name in points:
        spot = plane.point(a, b)
        if spot is not None:
            told = svg.hover(f"{name}: {x.text(a)}, {y.text(b)}")
            dot = {"cx": spot[0], "cy": spot[1], "r": 4, "class": "f1", "fill-opacity": 0.65}
            body.append(svg.element("circle", dict(dot), [told]))
    rows = [[name, a, b] for a, b, name in points]
    return finish(
        title,
        description or f"{len(points)} points.",
        body,
        ["name", _headed(x.label or "x", x), _headed(y.label or "y", y)],
        rows,
    )


def _line(plane: Plane, x_values: Sequence[float], one: Series, index: int) -> list[str]:
    spots = [plane.point(at, value) for at, value in zip(x_values, one.values, strict=True)]
    drawn = {"d": svg.path(spots), "class": f"line k{colour(index)}", "stroke-dasharray": dash(index)}
    parts = [svg.element("path", dict(drawn))]
    for n, spot in enumerate(spots):
        # a value between two gaps has no line to be seen by
        alone = spot and (n == 0 or not spots[n - 1]) and (n + 1 == len(spots) or not spots[n + 1])
        if spot and (alone or len(spots) <= _DOTS_UP_TO):
            parts.append(svg.element("circle", {"cx": spot[0], "cy": spot[1], "r": 2.6, "class": f"f{colour(index)}"}))
    return parts


def _area(plane: Plane, x_values: Sequence[float], band: Band, opacity: float) -> list[str]:
    """Return the filled band, one piece per run of known values."""
    parts: list[str] = []
    run: list[tuple[tuple[float, float], tuple[float, float]]] = []
    pairs = [
        (plane.point(at, lo), plane.point(at, hi)) for at, lo, hi in zip(x_values, band.low, band.high, strict=True)
    ]
    for low, high in [*pairs, (None, None)]:
        if low and high:
            run.append((low, high))
        elif run:
            outline = [p for p, _ in run] + [p for _, p in reversed(run)]
            parts.append(
                svg.element("path", {"d": svg.path(outline, closed=True), "class": "f1", "fill-opacity": opacity})
            )
            run = []
    return parts


def draw_marks(plane: Plane, marks: Sequence[Mark]) -> list[str]:
    """Return the lines and texts of marks."""
    parts = []
    for mark in marks:
        if mark.y is not None:
            y = plane.py(mark.y)
            parts.append(
                svg.element("path", {"d": f"M{svg.at(plane.left)} {svg.at(y)}H{svg.at(plane.right)}", "class": "mark"})
            )
            parts.append(svg.label(plane.right - 4, y - 4, mark.text, anchor="end", kind="s halo"))
        elif mark.x is not None:
            x = plane.px(mark.x)
            down = f"M{svg.at(x)} {svg.at(plane.top)}V{svg.at(plane.bottom)}"
            parts.append(svg.element("path", {"d": down, "class": "under"}))
            parts.append(svg.element("path", {"d": down, "class": "mark"}))
            left = x > (plane.left + plane.right) / 2
            side, shift = ("end", -4) if left else ("start", 4)
            parts.append(svg.label(x + shift, plane.top + 1, mark.text, anchor=side, kind="s halo"))
    return parts


def _hits(plane: Plane, x_values: Sequence[float], columns: Sequence[tuple[str, Sequence[Value]]]) -> list[str]:
    """Return one invisible strip per position whose hover tells all values there."""
    if not 0 < len(x_values) <= _HITS_UP_TO:
        return []
    centres = [plane.px(at) for at in x_values]
    edges = [plane.left, *((a + b) / 2 for a, b in pairwise(centres)), plane.right]
    parts = []
    for n, at in enumerate(x_values):
        told = [plane.x_axis.text(at), *(f"{name}: {plane.y_axis.text(values[n])}" for name, values in columns)]
        strip = {
            "x": edges[n],
            "y": plane.top,
            "width": max(edges[n + 1] - edges[n], 0),
            "height": plane.bottom - plane.top,
        }
        parts.append(svg.element("rect", {**strip, "class": "hit"}, [svg.hover("\n".join(told))]))
    return parts


def _fan_legend(bands: Sequence[Band], middle: str) -> list[str]:
    parts = [svg.element("path", {"d": "M12 10h22", "class": "line k1"}), svg.label(40, 14, middle)]
    x = 40 + svg.width_of(middle) + 18
    opacity = 0.0
    for index, band in enumerate(bands):
        opacity = 1 - (1 - opacity) * (1 - 0.16 - 0.16 * index)  # as the bands lie over each other
        parts.append(
            svg.element("rect", {"x": x, "y": 3, "width": 22, "height": 13, "class": "f1", "fill-opacity": opacity})
        )
        parts.append(svg.label(x + 28, 14, band.name))
        x += 28 + svg.width_of(band.name) + 18
    return parts


def _headed(name: str, axis: Axis) -> str:
    return f"{name} ({axis.unit})" if axis.unit and axis.unit not in name and axis.unit != "%" else name
