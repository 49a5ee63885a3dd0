"""Bars: plain, grouped, stacked, lying; tornado of sensitivities; histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fieldstone.charts import svg
from fieldstone.charts.chart import WIDTH, Axis, Chart, Plane, Series, Value, colour, finish, hatch, identity, legend
from fieldstone.charts.lines import Mark, draw_marks
from fieldstone.charts.numerals import number_text, ticks

_ROW_PX = 26


def bar_chart(
    title: str,
    categories: Sequence[str],
    series: Sequence[Series],
    *,
    y: Axis = Axis(),
    stacked: bool = False,
    lying: bool = False,
    marks: Sequence[Mark] = (),
    description: str = "",
) -> Chart:
    """Draw bars side by side (or stacked) per category; `lying` suits long names. Unknown values are hatched stubs."""
    columns = [y.label or "category", *(one.name for one in series)]
    rows = [[name, *(one.values[n] for one in series)] for n, name in enumerate(categories)]
    told = description or f"Bars of {', '.join(one.name for one in series)} for {len(categories)} categories."
    name = identity(title, columns, rows)
    tops = _tops(series, len(categories), stacked)
    if lying:
        body, height = _lying(name, categories, series, y, stacked, tops)
        return finish(title, told, [hatch(name), *body], columns, rows, height=height)
    names, top = legend([one.name for one in series], lines=False)
    axis = Axis(names=tuple(categories), zero=False)
    count = max(len(categories), 1)
    plane = Plane(axis, y, [-0.5, count - 0.5], tops + [mark.y for mark in marks], top=top + 12, x_band=True)
    body = [hatch(name), *names, *plane.draw()]
    slot = (plane.right - plane.left) / count
    thick = slot * 0.74 / (1 if stacked else max(len(series), 1))
    for n, category in enumerate(categories):
        foot = 0.0
        for index, one in enumerate(series):
            left = plane.left + slot * (n + 0.13) + (0 if stacked else index * thick)
            value = one.values[n]
            hover = svg.hover(f"{category}, {one.name}: {y.text(value)}")
            if value is None:
                stub = {"x": left, "y": plane.py(0) - 26, "width": thick, "height": 26, "fill": f"url(#{name}h)"}
                body.append(svg.element("rect", dict(stub), [hover]))
                continue
            start, end = plane.py(foot if stacked else 0.0), plane.py((foot if stacked else 0.0) + value)
            foot += value
            box = {"x": left, "y": min(start, end), "width": max(thick - 1, 0.5), "height": abs(start - end)}
            body.append(svg.element("rect", {**box, "class": f"f{colour(index)}"}, [hover]))
    return finish(title, told, body + draw_marks(plane, marks), columns, rows)


def tornado(
    title: str,
    rows: Sequence[tuple[str, float, float]],
    *,
    base: float,
    unit: str = "",
    ends: tuple[str, str] = ("input low", "input high"),
    description: str = "",
) -> Chart:
    """Draw how far each input moves a result away from `base`; rows are (input, result at its low, result at its high).

    The widest comes first whatever the order given.
    """
    ordered = sorted(rows, key=lambda row: (-abs(row[1] - row[2]), row[0]))
    names, top = legend(list(ends), lines=False)
    room = min(260.0, max((svg.width_of(name) for name, _, _ in ordered), default=60.0)) + 16
    values = [v for _, lo, hi in ordered for v in (lo, hi)] + [base]
    low, high = _around(values, base)
    texts = [" … ".join(number_text(v, unit) for v in sorted(row[1:])) for row in ordered]
    left, right = room, WIDTH - 12.0 - max((svg.width_of(text, 11) for text in texts), default=0.0)
    bottom = top + 8 + _ROW_PX * len(ordered)

    def px(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body = list(names)
    body += _scale(low, high, px, top + 4, bottom, unit)
    for n, (name, at_low, at_high) in enumerate(ordered):
        y = top + 8 + n * _ROW_PX
        body.append(svg.label(left - 8, y + 17, svg.fit(name, room - 12), anchor="end", kind="t"))
        for index, value in enumerate((at_low, at_high)):
            told = svg.hover(f"{name}, {ends[index]}: {number_text(value, unit)} (base {number_text(base, unit)})")
            box = {"x": min(px(value), px(base)), "y": y + 4, "width": abs(px(value) - px(base)), "height": 18}
            body.append(svg.element("rect", {**box, "class": f"f{colour(index)}"}, [told]))
        body.append(svg.label(px(max(at_low, at_high, base)) + 6, y + 17, texts[n], kind="s halo"))
    body.append(svg.element("path", {"d": f"M{svg.at(px(base))} {svg.at(top + 4)}V{svg.at(bottom)}", "class": "axis"}))
    columns = ["input", ends[0], ends[1]]
    told = description or f"The result is {number_text(base, unit)}; bars show how far one input alone moves it."
    return finish(title, told, body, columns, [list(row) for row in ordered], height=bottom + 28)


def histogram(
    title: str,
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    x: Axis = Axis(),
    y: Axis = Axis("count"),
    marks: Sequence[Mark] = (),
    description: str = "",
) -> Chart:
    """Draw counts between consecutive `edges` (one more than counts)."""
    if len(edges) != len(counts) + 1:
        raise ValueError("a histogram needs one edge more than counts")
    plane = Plane(x, y, [*edges, *(m.x for m in marks)], list(counts))
    body = plane.draw()
    for n, count in enumerate(counts):
        left, right = plane.px(edges[n]), plane.px(edges[n + 1])
        told = svg.hover(f"{x.text(edges[n])} to {x.text(edges[n + 1])}: {y.text(count)}")
        foot = plane.py(0) if not y.log else plane.bottom
        head = plane.py(count) if not y.log or count > 0 else foot
        box = {"x": left, "y": head, "width": max(right - left - 1, 0.5), "height": max(foot - head, 0)}
        body.append(svg.element("rect", {**box, "class": "f1"}, [told]))
    rows = [[x.text(edges[n]), x.text(edges[n + 1]), count] for n, count in enumerate(counts)]
    return finish(
        title,
        description or f"Histogram of {x.label or 'values'} in {len(counts)} bins.",
        body + draw_marks(plane, marks),
        ["from", "to", y.label or "count"],
        rows,
    )


def _lying(
    name: str, categories: Sequence[str], series: Sequence[Series], y: Axis, stacked: bool, tops: Sequence[Value]
) -> tuple[list[str], float]:
    names, top = legend([one.name for one in series], lines=False)
    per_row = 1 if stacked else max(len(series), 1)
    thick = 18.0 if per_row == 1 else 15.0
    row = thick * per_row + 8
    room = min(280.0, max((svg.width_of(c) for c in categories), default=60.0)) + 16
    low, high = min([0.0, *(v for v in tops if v is not None)]), max([0.0, *(v for v in tops if v is not None)])
    low, high = (low if y.low is None else y.low), (high if y.high is None else y.high)
    high = high if high > low else low + 1
    left, right = room, WIDTH - 76.0
    bottom = top + 8 + row * len(categories)

    def px(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body = list(names) + _scale(low, high, px, top + 4, bottom, y.unit)
    for n, category in enumerate(categories):
        foot = 0.0
        for index, one in enumerate(series):
            at = top + 8 + n * row + (0 if stacked else index * thick)
            value = one.values[n]
            told = svg.hover(f"{category}, {one.name}: {y.text(value)}" if one.name else f"{category}: {y.text(value)}")
            if value is None:
                stub = {"x": px(0), "y": at + 1, "width": 34, "height": thick - 2, "fill": f"url(#{name}h)"}
                body += [
                    svg.element("rect", dict(stub), [told]),
                    svg.label(px(0) + 40, at + thick - 4.5, "unknown", kind="s"),
                ]
                continue
            start = foot if stacked else 0.0
            foot += value
            box = {
                "x": min(px(start), px(start + value)),
                "y": at + 1,
                "width": abs(px(start + value) - px(start)),
                "height": thick - 2,
            }
            body.append(svg.element("rect", {**box, "class": f"f{colour(index)}"}, [told]))
            if not stacked:
                body.append(svg.label(px(max(value, 0)) + 6, at + thick - 4.5, y.text(value), kind="s halo"))
        middle = top + 8 + n * row + thick * per_row / 2 + 4
        body.append(svg.label(left - 8, middle, svg.fit(category, room - 12), anchor="end"))
    return body, bottom + 28


def _scale(low: float, high: float, px: object, top: float, bottom: float, unit: str) -> list[str]:
    assert callable(px)
    parts = []
    for tick in ticks(low, high, 5):
        if low <= tick <= high:
            kind = "axis" if tick == 0 else "grid"
            parts.append(
                svg.element("path", {"d": f"M{svg.at(px(tick))} {svg.at(top)}V{svg.at(bottom)}", "class": kind})
            )
            parts.append(svg.label(px(tick), bottom + 16, number_text(tick, unit), anchor="middle"))
    return parts


def _tops(series: Sequence[Series], count: int, stacked: bool) -> list[Value]:
    if not stacked:
        return [value for one in series for value in one.values]
    return [sum(one.values[n] or 0.0 for one in series) for n in range(count)]


def _around(values: Sequence[float], base: float) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite, default=base), max(finite, default=base)
    if low == high:
        low, high = low - 1, high + 1
    room = (high - low) * 0.04
    return low - room, high + room
