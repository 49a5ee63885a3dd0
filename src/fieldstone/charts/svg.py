"""SVG text: escaping, coordinates, elements. Everything a chart writes goes through here."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def escape(text: object) -> str:
    """Return text that is safe between tags and in quoted attributes of HTML and XML.

    Control characters, lone surrogates and direction overrides, which could hide or reorder text, become `\ufffd`.
    """
    return html.escape(_CONTROL.sub("\ufffd", str(text)), quote=True)


def at(value: float) -> str:
    """Write a coordinate with at most two decimals, without a trailing zero and without −0."""
    if not math.isfinite(value):
        raise ValueError("a coordinate must be finite")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, attributes: dict[str, object], children: Iterable[str] | None = None) -> str:
    """Return one element. `children` are markup already; floats are written as coordinates, None is left out."""
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = at(value) if isinstance(value, float | int) and not isinstance(value, bool) else escape(value)
            parts.append(f'{key}="{shown}"')
    opening = " ".join(parts)
    return f"<{opening}/>" if children is None else f"<{opening}>{''.join(children)}</{name}>"


def hover(text: str) -> str:
    """Return the child that browsers show when the pointer rests on an element."""
    return f"<title>{escape(text)}</title>"


def label(x: float, y: float, text: object, *, anchor: str = "start", kind: str = "t") -> str:
    """Return a text. `kind` is its class: t (tick), b (strong), s (soft)."""
    place = None if anchor == "start" else anchor
    return element("text", {"x": x, "y": y, "text-anchor": place, "class": kind}, [escape(text)])


def path(points: Iterable[tuple[float, float] | None], closed: bool = False) -> str:
    """Return path data; None lifts the pen, so that what is unknown is a gap."""
    parts = []
    pen_down = False
    for point in points:
        if point is None:
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{at(point[0])} {at(point[1])}")
        pen_down = True
    return "".join(parts) + ("Z" if closed and parts else "")


def width_of(text: str, size: float = 12.0) -> float:
    """Estimate a text's width in px in a sans-serif font; wide enough for most."""
    narrow = sum(ch in "iljtfI.,:;|'()[] 1" for ch in text)
    wide = sum(ch in "mwMW%@—…" or ord(ch) > 0x2E80 for ch in text)
    return size * (0.61 * len(text) - 0.25 * narrow + 0.33 * wide)


def fit(text: str, room: float, size: float = 12.0) -> str:
    """Cut a text to the room it has, ending in an ellipsis; the full text belongs into the hover."""
    if width_of(text, size) <= room:
        return text
    while text and width_of(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"
