"""Every chart is well-formed, accessible, deterministic, escaped, and shows unknown as a gap or hatched."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.charts import (
    Axis,
    Band,
    Chart,
    Mark,
    Series,
    Threshold,
    bar_chart,
    bullet,
    coverage_bar,
    fan_chart,
    heat_map,
    histogram,
    line_chart,
    retention,
    scatter,
    tornado,
)
from fieldstone.charts.svg import at, escape, fit, path, width_of

EVIL = "<script>alert(1)</script>&\"'\x00\u202e"
SVG = "{http://www.w3.org/2000/svg}"

CHARTS: dict[str, Callable[[str], Chart]] = {
    "line": lambda t: line_chart(
        t, [0, 1, 2], [Series(t, [1, None, 3]), Series("b", [3, 2, 1])], marks=[Mark(t, y=2.0)]
    ),
    "log line": lambda t: line_chart(t, [0, 1, 2], [Series("", [1, 100, 0])], y=Axis(t, "$", log=True)),
    "fan": lambda t: fan_chart(t, [0, 1, 2], [Band(t, [0, None, 1], [2, None, 4])], Series("median", [1, 1, 2])),
    "scatter": lambda t: scatter(t, [(1, 2, t), (3, 4, "b")], line=[(0, 0), (4, 4)]),
    "bars": lambda t: bar_chart(t, [t, "b"], [Series(t, [1, None]), Series("c", [-1, 2])]),
    "stacked": lambda t: bar_chart(t, ["a", t], [Series("a", [1, 2]), Series(t, [3, 4])], stacked=True),
    "lying": lambda t: bar_chart(t, ["a", t], [Series("", [0.5, None])], y=Axis(unit="%"), lying=True),
    "tornado": lambda t: tornado(t, [(t, 1, 3), ("b", 2.5, 0)], base=2),
    "histogram": lambda t: histogram(t, [0, 1, 2], [3, 4], marks=[Mark(t, x=1)]),
    "heat": lambda t: heat_map(t, [t, "b"], ["c", t], [[0.1, None], [0.5, 1.0]], row_label=t, column_label=t),
    "retention": lambda t: retention(t, [t, "b"], [3, 4], [[1, 0.5], [1]]),
    "bullet": lambda t: bullet(t, 0.4, [Threshold(0.5, "good"), Threshold(1, "bad")]),
    "unknown bullet": lambda t: bullet(t, None, [Threshold(0.5, "good"), Threshold(1, "bad")]),
    "coverage": lambda t: coverage_bar(t, [(t, 3, "good"), ("unknown", 7, "none")]),
    "empty": lambda t: line_chart(t, [], [Series(t, [])]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_well_formed_accessible_and_repeatable(name: str) -> None:
    chart = CHARTS[name]("What it shows")
    root = ET.fromstring(chart.svg)
    assert root.get("role") == "img"
    title, desc = root[0], root[1]
    assert (title.tag, title.text) == (f"{SVG}title", "What it shows")
    assert desc.tag == f"{SVG}desc" and desc.text
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
    assert chart.svg == CHARTS[name]("What it shows").svg
    assert all(len(row) == len(chart.columns) for row in chart.rows)
    assert "nan" not in chart.svg and "inf" not in re.sub(r"[A-Za-z]*inf[a-z]+", "", chart.svg)


@pytest.mark.parametrize("name", CHARTS)
def test_no_text_becomes_markup(name: str) -> None:
    svg = CHARTS[name](EVIL).svg
    ET.fromstring(svg)
    assert "<script" not in svg
    assert "\x00" not in svg and "\u202e" not in svg
    assert not re.search(r"\son\w+=", svg)


def test_standalone_carries_its_style() -> None:
    text = CHARTS["line"]("a").standalone()
    root = ET.fromstring(text)
    assert root.find(f"{SVG}style") is not None
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_unknown_is_a_gap_in_a_line() -> None:
    drawn = ET.fromstring(line_chart("t", [0, 1, 2, 3, 4], [Series("a", [1, 2, None, 4, 5])]).svg)
    (line,) = [p for p in drawn.iter(f"{SVG}path") if "line" in (p.get("class") or "")]
    assert (line.get("d") or "").count("M") == 2


@pytest.mark.parametrize("name", ["bars", "lying", "heat", "unknown bullet"])
def test_unknown_is_hatched_not_zero(name: str) -> None:
    chart = CHARTS[name]("t")
    hatched = [e for e in ET.fromstring(chart.svg).iter() if (e.get("fill") or "").startswith("url(#")]
    assert len(hatched) == 1
    assert "unknown" in "".join(hatched[0].itertext())


def test_a_higher_value_is_drawn_higher() -> None:
    drawn = ET.fromstring(line_chart("t", [0, 1], [Series("a", [1, 9])]).svg)
    low, high = [c for c in drawn.iter(f"{SVG}circle")]
    assert float(high.get("cy") or 0) < float(low.get("cy") or 0)


def test_tornado_puts_the_widest_first() -> None:
    chart = tornado("t", [("narrow", 1, 2), ("wide", 0, 9)], base=1.5)
    assert [row[0] for row in chart.rows] == ["wide", "narrow"]


def test_a_histogram_needs_matching_edges() -> None:
    with pytest.raises(ValueError, match="one edge more"):
        histogram("t", [0, 1], [1, 2])


def test_no_axis_shows_more_than_it_was_told_on_log() -> None:
    chart = line_chart("t", [1, 2], [Series("a", [0.5, 2000])], y=Axis(log=True))
    assert "M" in chart.svg and "1 K" in chart.svg


@settings(max_examples=60)
@given(st.lists(st.none() | st.floats(-1e12, 1e12), min_size=1, max_size=12))
def test_any_numbers_draw(values: list[float | None]) -> None:
    xs = list(range(len(values)))
    for chart in (
        line_chart("t", xs, [Series("a", values)]),
        bar_chart("t", [str(x) for x in xs], [Series("a", values)]),
        heat_map("t", ["r"], [str(x) for x in xs], [values]),
    ):
        ET.fromstring(chart.svg)


def test_coordinates_are_short_and_finite() -> None:
    assert [at(1.0), at(1.005), at(-0.001), at(12.5)] == ["1", "1", "0", "12.5"]
    with pytest.raises(ValueError):
        at(math.inf)


def test_texts_fit_their_room() -> None:
    assert escape(EVIL).startswith("&lt;script&gt;")
    long = "a very long label that cannot fit"
    assert fit(long, 80).endswith("…") and width_of(fit(long, 80)) <= 80
    assert fit("short", 80) == "short"
    assert path([(0, 0), None, (1, 1), (2, 2)]) == "M0 0M1 1L2 2"
