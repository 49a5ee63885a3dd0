"""What a page is made of. Texts are plain texts, escaped when written; only charts bring markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fieldstone.charts.chart import Chart

Tone = Literal["good", "mid", "bad", "none"]


@dataclass(frozen=True, slots=True)
class Pill:
    """A word in a coloured pill; the word carries the meaning, the colour only repeats it."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell: a text, number or pill with a smaller line below, or a link to an anchor of this page or an URL."""

    main: str | float | int | Pill | Chart | None
    below: str = ""
    link: str = ""


Value = str | float | int | Pill | Chart | Cell | None


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph that stands out, with a coloured edge."""

    text: str
    tone: Tone = "none"
    title: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values side by side."""

    facts: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with what it is above and a remark below."""

    name: str
    value: str
    below: str = ""
    tone: Tone = "none"


@dataclass(frozen=True, slots=True)
class Tiles:
    """Numbers that matter most, side by side."""

    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Numbers are set right; `stack`: rows become cards on a narrow screen; `folded`: a word to click. `unit` per column for numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    caption: str = ""
    stack: bool = False
    folded: str = ""
    units: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its caption; the table of its numbers is folded below it."""

    chart: Chart
    caption: str = ""
    unit: str = ""


Block = Text | Note | Items | Facts | Tiles | Table | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page. `anchor` names it in links; without one it is made from the title."""

    title: str
    blocks: Sequence[Block]
    anchor: str = ""
