"""Grids of cells: heat maps and the retention of cohorts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fieldstone.charts import svg
from fieldstone.charts.chart import WIDTH, Chart, Value, finish, hatch, identity
from fieldstone.charts.numerals import number_text

Columns = Sequence[str]


def heat_map(
    title: str,
    row_names: Sequence[str],
    column_names: Columns,
    values: Sequence[Sequence[Value]],
    *,
    unit: str = "",
    row_label: str = "",
    column_label: str = "",
    low: float | None = None,
    high: float | None = None,
    description: str = "",
) -> Chart:
    """Draw a grid of numbers, darker for more; the number stands in each cell where it fits. Unknown is hatched."""
    columns = [f"{row_label} \\ {column_label}".strip(" \\") or "row", *column_names]
    rows: list[list[Any]] = [[row_names[n], *row] for n, row in enumerate(values)]
    name = identity(title, columns, rows)
    known = [v for row in values for v in row if v is not None and math.isfinite(v)]
    low = min(known, default=0.0) if low is None else low
    high = max(known, default=1.0) if high is None else high
    left = min(200.0, max((svg.width_of(r) for r in row_names), default=40.0)) + (34 if row_label else 14)
    wide = (WIDTH - left - 10) / max(len(column_names), 1)
    tall = min(34.0, max(22.0, 300 / max(len(row_names), 1)))
    top = 44.0 if column_label else 26.0
    body = [hatch(name)]
    if column_label:
        body.append(svg.label(left + wide * len(column_names) / 2, 14, column_label, anchor="middle"))
    if row_label:
        turned: dict[str, object] = {"x": 0, "y": 0, "text-anchor": "middle", "class": "t"}
        turned["transform"] = f"translate(12 {svg.at(top + tall * len(row_names) / 2)}) rotate(-90)"
        body.append(svg.element("text", turned, [svg.escape(row_label)]))
    stride = max(1, math.ceil(max((svg.width_of(c) for c in column_names), default=1) / wide)) if wide < 90 else 1
    for m, column in enumerate(column_names):
        if m % stride == 0:
            text = svg.fit(column, wide * stride - 4)
            body.append(svg.label(left + wide * (m + 0.5), top - 6, text, anchor="middle"))
    for n, row in enumerate(values):
        y = top + n * tall
        body.append(svg.label(left - 8, y + tall / 2 + 4, svg.fit(row_names[n], left - 14), anchor="end"))
        for m, value in enumerate(row):
            body += _cell(
                name, left + m * wide, y, wide, tall, value, low, high, unit, f"{row_names[n]}, {column_names[m]}"
            )
    told = (
        description
        or f"Grid of {len(row_names)} by {len(column_names)} values from {number_text(low, unit)} to {number_text(high, unit)}."
    )
    return finish(title, told, body, columns, rows, height=top + tall * len(row_names) + 8)


def retention(
    title: str, cohorts: Sequence[str], sizes: Sequence[int], kept: Sequence[Sequence[Value]], *, period: str = "month"
) -> Chart:
    """Draw, per cohort of devices, which part was still active 0, 1, 2 … periods after it joined (fractions)."""
    longest = max((len(row) for row in kept), default=0)
    rows = [[*row, *([None] * (longest - len(row)))] for row in kept]
    names = [f"{cohort} (n={size})" for cohort, size in zip(cohorts, sizes, strict=True)]
    # what lies in the future is not drawn at all; what is unknown inside a cohort's life is hatched
    chart = heat_map(
        title,
        names,
        [str(n) for n in range(longest)],
        rows,
        unit="%",
        low=0.0,
        high=1.0,
        row_label="joined",
        column_label=f"{period}s since joining",
        description=f"Share of each cohort still active, by {period}s since joining. Hatched: not known, or not yet reached.",
    )
    return chart


def _cell(
    name: str, x: float, y: float, wide: float, tall: float, value: Value, low: float, high: float, unit: str, what: str
) -> list[str]:
    box = {"x": x + 0.75, "y": y + 0.75, "width": wide - 1.5, "height": tall - 1.5, "rx": 2}
    hover = svg.hover(f"{what}: {number_text(value, unit)}")
    if value is None or math.isnan(value):
        return [svg.element("rect", {**box, "fill": f"url(#{name}h)"}, [hover])]
    share = min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
    opacity = 0.06 + 0.94 * round(share, 3)
    parts = [svg.element("rect", {**box, "class": "heat", "fill-opacity": opacity}, [hover])]
    text = number_text(value, unit, 2)
    if svg.width_of(text, 11) < wide - 4:
        kind = "s on" if opacity > 0.7 else "s ink"
        shown = svg.label(x + wide / 2, y + tall / 2 + 4, text, anchor="middle", kind=kind)
        parts.append(shown.replace("<text ", '<text pointer-events="none" ', 1))
    return parts
