"""`fieldstone storage root --scheme arweave|sia FILE`: the roots under which other networks store the same bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer


class Scheme(StrEnum):
    """Whose root."""

    arweave = "arweave"
    sia = "sia"


def command(
    file: Annotated[str, typer.Argument(help="The data (- reads standard input).", show_default=False)],
    scheme: Annotated[
        Scheme,
        typer.Option(help="arweave: data_root, base64url; sia: root over 4 MiB sectors, hex.", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: root, sizes, chunks or sector roots.")] = False,
) -> None:
    """Print the root of FILE as another network computes it. Sia: a shorter last sector is padded with zeros."""
    import json

    body = _arweave(file) if scheme is Scheme.arweave else _sia(file)
    typer.echo(json.dumps(body) if as_json else body["root"])


def _arweave(file: str) -> dict[str, Any]:
    from fieldstone.cli.storage_input import pieces_of
    from fieldstone.services.storage.codes import arweave

    tree = arweave.build(pieces_of(file))
    uploaded = [chunk for chunk in tree.chunks if chunk.end > chunk.start]
    return {
        "scheme": "arweave",
        "root": arweave.text_of(tree.data_root),
        "size_bytes": tree.size_bytes,
        "chunks": len(uploaded),
    }


def _sia(file: str) -> dict[str, Any]:
    from fieldstone.cli.storage_input import pieces_of
    from fieldstone.services.storage.codes import sia

    hasher = sia.Hasher()
    size_bytes = 0
    for piece in pieces_of(file):
        size_bytes += len(piece)
        hasher.update(piece)
    root = hasher.finish()
    return {
        "scheme": "sia",
        "root": root.hex(),
        "size_bytes": size_bytes,
        "sectors": len(hasher.roots),
        "padding_bytes": hasher.padding_bytes,
        "sector_roots": [sector.hex() for sector in hasher.roots],
    }
