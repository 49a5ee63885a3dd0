"""`fieldstone restore`: make a network's folder out of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[Path, typer.Argument(help="Folder written by `fieldstone backup`.")],
    folder: Annotated[Path, typer.Argument(help="A new folder for the network.")],
    keys: Annotated[Path | None, typer.Option(help="Keys folder, when the backup was made without keys.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Restore a network and check every hash of it. Exit code 1 when the copy does not hold what it says."""
    from fieldstone.cli.sealed import to_json
    from fieldstone.node.backup import restore

    summary = restore(source, folder, keys=keys)
    if as_json:
        typer.echo(to_json(summary))
    else:
        typer.echo(
            f"{folder}: journal up to {summary['journal_head']}, {summary['epochs']} sealed epochs, all hashes agree"
        )
        typer.echo(f"Next: fieldstone up {folder}", err=True)
