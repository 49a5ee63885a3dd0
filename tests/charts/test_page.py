"""A page is one file without scripts or requests, everything in it escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from fieldstone.charts import (
    Axis,
    Cell,
    Facts,
    Figure,
    Items,
    Note,
    Page,
    Pill,
    Section,
    Series,
    Table,
    Text,
    Tile,
    Tiles,
    line_chart,
)

EVIL = '<img src=x onerror="alert(1)">\u202e'


def page(text: str) -> str:
    chart = line_chart(text, [0, 1], [Series(text, [0.5, None])], y=Axis(text, "%"))
    table = Table(
        [text, "n"],
        [[Cell(text, text, "#x"), 1.5], [Pill(text, "bad"), 20], [Cell("l", "", "javascript:alert(1)"), None]],
        caption=text,
        stack=True,
    )
    blocks = [
        Text(text), Note(text, "bad", text), Items([text], text), Facts({text: text}), Figure(chart, text), table,
        Tiles([Tile(text, text, text)]),
    ]  # fmt: skip
    return Page(text, [Section(text, blocks)] * 4, lead=text, provenance={text: text}).html()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "rect", "path", "circle"):
            self.depth.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("rect", "path", "circle"):
            return
        assert self.depth.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.depth == []
    return reader


def test_nothing_given_becomes_markup() -> None:
    reader = read(page(EVIL))
    assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    for _, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
        assert not (attributes.get("href") or "#").startswith("javascript:")


def test_a_page_makes_no_request_and_allows_only_its_style() -> None:
    text = page("plain")
    assert re.findall(r"https?://[^\s\"'<]+", text.replace("http://www.w3.org/2000/svg", "")) == []
    style = text.split("<style>")[1].split("</style>")[0]
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{allowed}'" in text
    assert "default-src 'none'" in text
    assert "url(http" not in style and "@import" not in style


def test_the_same_content_gives_the_same_bytes() -> None:
    assert page("a") == page("a") != page("b")


def test_every_figure_has_its_numbers() -> None:
    text = page("plain")
    assert text.count("<figure>") == text.count("Numbers of this figure") == 4


def test_anchors_are_unique() -> None:
    ids = re.findall(r'<section id="([^"]+)"', page("Same"))
    assert ids == ["same", "same-2", "same-2-2", "same-2-2-2"]


def test_unknown_is_said() -> None:
    assert '<td class="n" data-name="n">unknown</td>' in page("a")
