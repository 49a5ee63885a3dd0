"""Small bars for tables: a value against its bands (bullet), and how much of a whole is known (coverage)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fieldstone.charts import svg
from fieldstone.charts.chart import Chart, Value, finish, hatch, identity
from fieldstone.charts.numerals import number_text


@dataclass(frozen=True, slots=True)
class Threshold:
    """A band of a bullet chart: from the previous one's end to `to`, in the tone good, mid, bad or none."""

    to: float
    tone: str


def bullet(
    title: str,
    value: Value,
    bands: Sequence[Threshold],
    *,
    low: float = 0.0,
    unit: str = "",
    width: float = 190,
    height: float = 26,
) -> Chart:
    """Draw a value as a bar over the coloured bands it is judged by. Values outside end in an arrow; unknown is hatched."""
    rows = [[title, value, *(f"{band.tone} to {band.to:g}" for band in bands)]]
    columns = ["what", "value", *("band" for _ in bands)]
    name = identity(title, columns, rows)
    high = max((band.to for band in bands), default=1.0)
    told = f"{title}: {number_text(value, unit)}"
    body: list[str] = []

    def px(amount: float) -> float:
        share = (min(max(amount, low), high) - low) / (high - low) if high > low else 0.0
        return 1 + share * (width - 14)

    if value is None or math.isnan(value):
        box = {"x": 1, "y": 4, "width": width - 14, "height": height - 8, "fill": f"url(#{name}h)"}
        body += [hatch(name), svg.element("rect", dict(box), [svg.hover(told)])]
        return finish(title, "unknown", body, columns, rows, width=width, height=height)
    start = low
    for band in bands:
        box = {"x": px(start), "y": 3, "width": max(px(band.to) - px(start) - 1, 0), "height": height - 6}
        body.append(svg.element("rect", {**box, "class": f"{band.tone}-bg"}))
        start = band.to
    bar = {"x": 1, "y": height / 2 - 3.5, "width": max(px(value) - 1, 2), "height": 7, "class": "ink"}
    body.append(svg.element("rect", dict(bar), [svg.hover(told)]))
    if value > high:
        tip = f"M{svg.at(width - 11)} {svg.at(height / 2 - 7)}l8 7l-8 7z"
        body.append(svg.element("path", {"d": tip, "class": "ink"}))
    return finish(title, told, body, columns, rows, width=width, height=height)


def coverage_bar(
    title: str, parts: Sequence[tuple[str, float, str]], *, unit: str = "", width: float = 720, height: float = 58
) -> Chart:
    """Draw one bar of parts (name, size, tone); the tone "none" is what is unknown, hatched."""
    columns, rows = ["part", "size"], [[name, size] for name, size, _ in parts]
    name = identity(title, columns, rows)
    total = sum(size for _, size, _ in parts) or 1.0
    body = [hatch(name)]
    x = 1.0
    for part, size, tone in parts:
        wide = size / total * (width - 2)
        if wide <= 0:
            continue
        text = f"{part}: {number_text(size, unit)}"
        box = {"x": x, "y": 4, "width": max(wide - 2, 0.5), "height": 30}
        body.append(svg.element("rect", {**box, "class": f"{tone}-bg"}))
        fill = {"fill": f"url(#{name}h)"} if tone == "none" else {"class": f"{tone}-bg"}
        body.append(svg.element("rect", {**box, **fill}, [svg.hover(text)]))
        if svg.width_of(number_text(size, unit)) < wide - 6:
            body.append(svg.label(x + wide / 2 - 1, 24, number_text(size, unit), anchor="middle", kind=f"b {tone}"))
        if svg.width_of(part, 11) < wide:
            body.append(svg.label(x, 50, part, kind="s"))
        x += wide
    return finish(
        title,
        "; ".join(f"{p}: {number_text(s, unit)}" for p, s, _ in parts),
        body,
        columns,
        rows,
        width=width,
        height=height,
    )
