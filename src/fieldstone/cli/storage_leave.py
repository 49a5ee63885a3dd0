"""`fieldstone storage leave`: stop renting out a disk without losing what was earned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="The provider's folder.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Stay after all.")] = False,
) -> None:
    """Announce that a provider leaves: its shares are moved while it runs, and paid until they have been.

    Keep `storage provide` running; its log says when every share has been moved. Nothing new is placed on it meanwhile.
    """
    from fieldstone.errors import UsageError

    if not (folder / "device.key").exists():
        raise UsageError(f"{folder} is no provider's folder: it has no device.key")
    mark = folder / "leaving"
    if cancel:
        mark.unlink(missing_ok=True)
        typer.echo("the provider stays; what was moved meanwhile stays where it is")
        return
    mark.touch()
    typer.echo("the provider leaves: keep it running until its log says that every share has been moved")
