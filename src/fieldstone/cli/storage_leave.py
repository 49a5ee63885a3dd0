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
    from fieldstone.errors import EnvironmentProblem, UsageError

    mark = folder / "leaving"
    try:
        if not (folder / "device.key").exists():
            raise UsageError(f"{folder} is no provider's folder: it has no device.key")
        if (folder / "gateway.db").exists():  # its key looks the same, and nobody would ever read the mark
            raise UsageError(f"{folder} is a gateway's folder: name the provider's")
        if mark.exists() and not mark.is_file():
            raise EnvironmentProblem(f"{mark} is no file: move it out of the way")
        if cancel:
            mark.unlink(missing_ok=True)
        else:
            mark.touch()
    except OSError as error:
        raise EnvironmentProblem(f"{mark} cannot be changed: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{str(folder)!r} is not the name of a folder: {error}") from None
    if cancel:
        typer.echo("the provider stays; what was moved meanwhile stays where it is")
        return
    typer.echo("the provider leaves: keep it running until its log says that every share has been moved")
