"""How results look on a terminal: tables and facts on stdout, plain when stdout is not a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
    """Print a table. Cells are text, never markup: a device's name cannot colour or hide anything."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns, title=title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 240
    console.print(shown)


def facts(values: Mapping[str, Any]) -> None:
    """Print aligned `name  value` lines."""
    import typer

    width = max(map(len, values), default=0)
    for name, value in values.items():
        typer.echo(f"{name.ljust(width)}  {value}")
