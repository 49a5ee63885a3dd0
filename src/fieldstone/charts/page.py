"""One self-contained HTML page: opens from disk, makes no request, runs no script, prints well.

Its content security policy allows nothing but its own style sheet (by hash), so even a flaw in escaping could not run code.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fieldstone.charts.blocks import Block, Cell, Facts, Figure, Items, Note, Pill, Section, Table, Text, Tiles, Value
from fieldstone.charts.chart import Chart
from fieldstone.charts.numerals import number_text
from fieldstone.charts.svg import escape as plain
from fieldstone.charts.theme import CHART_CSS, PAGE_CSS, VARIABLES

_STYLE = VARIABLES + PAGE_CSS + CHART_CSS
_TWIN_ROWS = 500  # a longer table twin belongs into a file
_KEPT = re.compile(r"\d{4}-\d{2}(?:-\d{2})?|[+−±-]?\d[\d.,]* [%KMBT](?![A-Za-z])")
_LINK = re.compile(r"(#[\w.-]+|https?://\S+)")


@dataclass(frozen=True, slots=True)
class Page:
    """A report. `provenance` stands at its foot: versions, hashes, seeds, dates of the data."""

    title: str
    sections: Sequence[Section]
    lead: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    contents: bool = True

    def html(self) -> str:
        """Return the page's text. Equal content gives equal bytes."""
        policy = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        anchors = _anchors(self.sections)
        head = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{policy}'; img-src data:\">"
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
            f"<title>{plain(self.title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        )
        body = [f"<h1>{escape(self.title)}</h1>"]
        if self.lead:
            body.append(f'<p class="lead">{escape(self.lead)}</p>')
        if self.contents and len(self.sections) > 3:
            links = (
                f'<a href="#{a}">{escape(s.title)}</a>' for s, a in zip(self.sections, anchors, strict=True) if s.title
            )
            body.append(f'<nav aria-label="Contents">{"".join(links)}</nav>')
        for section, anchor in zip(self.sections, anchors, strict=True):
            title = f"<h2>{escape(section.title)}</h2>" if section.title else ""
            inside = "\n".join(block_html(block) for block in section.blocks)
            body.append(f'<section id="{anchor}">{title}\n{inside}</section>')
        if self.provenance:
            facts = " · ".join(f"{escape(k)}: <code>{plain(v)}</code>" for k, v in self.provenance.items())
            body.append(f"<footer>{facts}</footer>")
        return head + "\n".join(body) + "\n</main></body></html>\n"


def escape(text: object) -> str:
    """Return text for HTML in which dates, and numbers with their unit, are not broken over lines."""
    return _KEPT.sub(lambda match: f'<span class="nb">{match[0]}</span>', plain(text))


def block_html(block: Block) -> str:
    """Return one block as HTML."""
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Note(text, tone, title):
            strong = f"<strong>{escape(title)}</strong> " if title else ""
            return f'<div class="note {tone}">{strong}{escape(text)}</div>'
        case Items(items, title):
            strong = f"<h3>{escape(title)}</h3>" if title else ""
            return f"{strong}<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
        case Facts(facts):
            return f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{_value(v)}</dd>' for k, v in facts.items())}</dl>"
        case Tiles(tiles):
            inside = (
                f'<div><small>{escape(t.name)}</small><b class="{t.tone if t.tone != "none" else ""}">{escape(t.value)}</b>'
                f"<small>{escape(t.below)}</small></div>"
                for t in tiles
            )
            return f'<div class="tiles">{"".join(inside)}</div>'
        case Table():
            return _table(block)
        case Figure(chart, caption, unit):
            return _figure(chart, caption, unit)


def _figure(chart: Chart, caption: str, unit: str) -> str:
    twin = Table(
        chart.columns, chart.rows[:_TWIN_ROWS], units=["", *([unit] * (len(chart.columns) - 1))] if unit else ()
    )
    rest = len(chart.rows) - _TWIN_ROWS
    cut = f"<p>{rest} more rows are left out.</p>" if rest > 0 else ""
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><h3>{escape(chart.title)}</h3><div class="chart">{chart.svg}</div>{told}'
        f"<details><summary>Numbers of this figure</summary>{_table(twin)}{cut}</details></figure>"
    )


def _table(table: Table) -> str:
    numeric = [
        any(_is_number(row[n]) for row in table.rows)
        and all(_is_number(row[n]) or row[n] is None for row in table.rows)
        for n in range(len(table.columns))
    ]
    head = "".join(f'<th scope="col"{_class(numeric[n])}>{escape(name)}</th>' for n, name in enumerate(table.columns))
    rows = []
    for row in table.rows:
        cells = []
        for n, value in enumerate(row):
            unit = table.units[n] if n < len(table.units) else ""
            name = f' data-name="{plain(table.columns[n])}"' if table.stack and n and table.columns[n] else ""
            kind = ' class="dash"' if value == "—" else _class(numeric[n])
            cells.append(f"<td{kind}{name}>{_value(value, unit)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    kind = ' class="stack"' if table.stack else ""
    whole = f'<div class="scroll"><table{kind}>{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return f"<details><summary>{escape(table.folded)}</summary>{whole}</details>" if table.folded else whole


def _value(value: Value, unit: str = "") -> str:
    match value:
        case None:
            return "unknown"
        case Cell(main, below, link):
            shown = _value(main, unit)
            if _LINK.fullmatch(link):
                shown = f'<a href="{plain(link)}" rel="noreferrer">{shown}</a>'
            return f"{shown}<small>{escape(below)}</small>" if below else shown
        case Pill(text, tone):
            return f'<span class="pill {tone}">{escape(text)}</span>'
        case Chart():
            return value.svg
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return escape(f"{value:,}" if isinstance(value, int) and not unit else number_text(float(value), unit, 4))
        case _:
            return escape(value)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _class(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _anchors(sections: Sequence[Section]) -> list[str]:
    found: list[str] = []
    for section in sections:
        name = re.sub(r"[^a-z0-9]+", "-", (section.anchor or section.title).lower()).strip("-") or "part"
        while name in found:
            name += "-2"
        found.append(name)
    return found
