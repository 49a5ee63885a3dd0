"""`fieldstone backup`: copy a network, running or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    target: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    at: Annotated[Path, typer.Option("--at", help="The network's folder.")] = Path("."),
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Copy the secret keys too; guard the copy like them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy journal, state, chain and sealed epochs into TARGET while the network runs; nothing stops for it."""
    from fieldstone.cli.sealed import to_json
    from fieldstone.config import load
    from fieldstone.node.backup import backup

    summary = backup(load(at / "network.toml"), target, with_keys=with_keys)
    if as_json:
        typer.echo(to_json(summary))
    else:
        typer.echo(f"{target}: journal up to {summary['journal_head']}, {summary['epochs']} sealed epochs")
        typer.echo(f"Next: fieldstone restore {target} NEW_FOLDER", err=True)
