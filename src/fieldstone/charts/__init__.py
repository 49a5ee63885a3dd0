"""Charts and pages: pure functions from data to SVG and HTML text. Offline, without scripts, the same bytes every time.

Every chart has a title and a description for screen readers, a table twin with the same numbers, hover text by `<title>`,
colours that colour-blind readers can tell apart (and dashes or shapes beside them), and follows the reader's dark mode.
A number that is not known is drawn hatched or as a gap, never as zero.

    chart = line_chart("Subsidy ratio", months, [Series("all mints", ratios)], y=Axis(unit="%"))
    chart.svg                # text for a page; `chart.standalone()` for a file of its own
    Page("Report", sections=[Section("Demand", [Figure(chart, caption="…")])]).html()
"""

from fieldstone.charts.bars import bar_chart, histogram, tornado
from fieldstone.charts.blocks import (
    Cell,
    Facts,
    Figure,
    Items,
    Note,
    Pill,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Tone,
)
from fieldstone.charts.chart import Axis, Chart, Series
from fieldstone.charts.grids import Columns, heat_map, retention
from fieldstone.charts.lines import Band, Mark, fan_chart, line_chart, scatter
from fieldstone.charts.numerals import number_text
from fieldstone.charts.page import Page
from fieldstone.charts.scores import Threshold, bullet, coverage_bar

__all__ = [
    "Axis",
    "Band",
    "Cell",
    "Chart",
    "Columns",
    "Facts",
    "Figure",
    "Items",
    "Mark",
    "Note",
    "Page",
    "Pill",
    "Section",
    "Series",
    "Table",
    "Text",
    "Threshold",
    "Tile",
    "Tiles",
    "Tone",
    "bar_chart",
    "bullet",
    "coverage_bar",
    "fan_chart",
    "heat_map",
    "histogram",
    "line_chart",
    "number_text",
    "retention",
    "scatter",
    "tornado",
]
