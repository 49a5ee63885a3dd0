"""How results look on a terminal: tables and facts on stdout, plain when stdout is not a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """Print a table; row by row where a terminal is too narrow for it.

    Cells are text, never markup: a device's name cannot colour or hide anything.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    for row in texts:
        shown.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 240
        console.print(shown)
        return
    with console.capture() as drawn:
        console.print(shown)
    # rich cuts words that do not fit with an ellipsis
    if drawn.get().count("…") > sum(text.count("…") for row in [columns, *texts] for text in row) + title.count("…"):
        _one_by_one(columns, texts, title)
    else:
        console.print(shown)


def facts(values: Mapping[str, Any]) -> None:
    """Print aligned `name  value` lines; on a terminal long values go on below themselves."""
    import typer

    width = max(map(len, values), default=0)
    for name, value in values.items():
        typer.echo(f"{name.ljust(width)}  {_wrapped(printable(str(value)), width + 2)}")


def say(text: str) -> None:
    """Print a paragraph, on a terminal within its width."""
    import typer

    typer.echo(_wrapped(printable(text), 0))


def printable(text: str) -> str:
    r"""Return text of a stranger as it can be shown: what steers a terminal becomes visible (`\x1b`), lines stay lines."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter in "\n\u00a0\u202f" or letter.isprintable() else _visible(letter) for letter in text
    )


def _visible(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _wrapped(text: str, indent: int) -> str:
    import shutil
    import sys
    import textwrap

    room = shutil.get_terminal_size().columns - indent if sys.stdout.isatty() else 0
    if room < 20 or len(text) <= room:
        return text
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)


def _one_by_one(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    import typer

    if title:
        typer.echo(title)
    for row in rows:
        typer.echo("")
        facts({name: cell for name, cell in zip(columns, row, strict=True) if cell})
    typer.echo("")
