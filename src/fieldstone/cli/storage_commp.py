"""`fieldstone storage commp FILE`: the piece commitment that Filecoin stores and PDP contracts prove."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    file: Annotated[str, typer.Argument(help="The payload (- reads standard input).", show_default=False)],
    v1: Annotated[
        bool, typer.Option("--v1", help="Print the old form, which leaves the payload's length out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: both forms, sizes, height and root.")] = False,
) -> None:
    """Print the PieceCIDv2 of FILE (fr32, SHA-254 tree), in flat memory for any size."""
    import json

    from fieldstone.cli.storage_input import pieces_of
    from fieldstone.services.storage.codes import commp

    found = commp.commit(pieces_of(file))
    cid = found.cid
    if as_json:
        body = {
            "cid": str(cid),
            "cid_v1": cid.v1,
            "payload_bytes": found.payload_bytes,
            "padding_bytes": cid.padding,
            "piece_bytes": cid.padded_bytes,
            "height": cid.height,
            "data_leaves": cid.data_leaves,
            "root": found.root.hex(),
        }
        typer.echo(json.dumps(body))
    else:
        typer.echo(cid.v1 if v1 else str(cid))
