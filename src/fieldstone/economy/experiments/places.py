"""On which line of a TOML text a key stands, arrays of tables counted: `("cohorts", 1, "capex_usd")` → 27.

The standard library's reader keeps no lines. This one reads no values; it only finds headers and keys, so a text must
have been accepted by `tomllib` first.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_OPENING = re.compile(r"\"\"\"|'''")


class Places:
    """The lines of all keys and tables of a text."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        table: Path = ()
        closing = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if closing:  # inside a text of several lines, which may look like anything
                if closing in line:
                    closing = ""
                continue
            header, pair = _HEADER.match(line), _PAIR.match(line)
            if header and not pair:
                table = self._table(header[2], header[1] == "[[", counts)
                self._lines.setdefault(table, number)
                if isinstance(table[-1], int):  # the whole array stands where its first table does
                    self._lines.setdefault(table[:-1], number)
            elif pair:
                self._lines.setdefault(table + _parts(pair[1]), number)
            opened = _OPENING.search(line)
            if opened and line.count(opened[0]) % 2:
                closing = opened[0]

    def line(self, path: Path) -> int | None:
        """Return the 1-based line of a key, or of the nearest table around it; None when nothing of it is there."""
        for depth in range(len(path), 0, -1):
            if path[:depth] in self._lines:
                return self._lines[path[:depth]]
        return None

    @staticmethod
    def _table(name: str, is_array: bool, counts: dict[Path, int]) -> Path:
        here: Path = ()
        parts = _parts(name)
        for depth, part in enumerate(parts, start=1):
            here += (part,)
            if is_array and depth == len(parts):
                counts[here] = counts.get(here, -1) + 1
            if here in counts:
                here += (counts[here],)
        return here


def _parts(dotted: str) -> tuple[str, ...]:
    found = re.findall(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)", dotted)
    return tuple(next(part for part in group if part) if any(group) else "" for group in found)


def dotted(path: Path) -> str:
    """Return a path as people write it: `cohorts[1].capex_usd`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
