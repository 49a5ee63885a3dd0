"""`fieldstone merkle`: roots and proofs of payout lists, the same as OpenZeppelin's StandardMerkleTree gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.chain.merkle import Tree

app = typer.Typer(
    help="Roots and proofs of payout lists (columns address,amount), as OpenZeppelin's StandardMerkleTree.",
    no_args_is_help=True,
    add_completion=False,
)

_File = Annotated[
    Path, typer.Argument(help="CSV with the columns address and amount (whole base units), or a JSON dump.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def root(
    file: _File,
    dump: Annotated[Path | None, typer.Option(help="Also write OpenZeppelin's JSON dump here.")] = None,
    columns: Annotated[
        Path | None, typer.Option(help="Also write leaves.parquet and nodes.npy into this folder.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Print the Merkle root of FILE."""
    import json

    tree = _read(file)
    if dump is not None or columns is not None:
        from fieldstone.chain.leaf_files import write_columns, write_dump

        if dump is not None:
            write_dump(dump, tree)
        if columns is not None:
            write_columns(columns, tree)
    if as_json:
        body = {"root": tree.root_hex, "leaves": len(tree), "total": str(tree.total), "longest_proof": tree.depth}
        typer.echo(json.dumps(body))
    else:
        typer.echo(tree.root_hex)


@app.command()
def proof(
    file: _File,
    address: Annotated[str, typer.Argument(help="The account to prove.")],
    as_json: _Json = False,
) -> None:
    """Print the proof of ADDRESS: one 32-byte sibling a line, leaf to root."""
    import json

    from fieldstone.identity.wallet import checksum_address

    checksum_address(address)
    tree = _read(file)
    index = tree.find(address)
    siblings = ["0x" + sibling.hex() for sibling in tree.proof(index)]
    if as_json:
        body = {
            "root": tree.root_hex,
            "address": tree.addresses[index],
            "amount": str(tree.amounts[index]),
            "proof": siblings,
        }
        typer.echo(json.dumps(body))
    elif siblings:
        typer.echo("\n".join(siblings))


@app.command()
def verify(
    file: Annotated[
        str, typer.Argument(help="What `merkle proof --json` printed (- reads it from stdin), or a CSV or dump.")
    ],
    root: Annotated[str | None, typer.Option(help="The root it must lead to; taken from a trusted place.")] = None,
    as_json: _Json = False,
) -> None:
    """Check a proof, or a whole list, against a root; exit 1 when it does not lead there."""
    import json
    import sys

    from fieldstone.errors import CheckFailed, UsageError

    wanted = None if root is None else _word(root, "--root")
    text = sys.stdin.read() if file == "-" else None
    body = _proof_body(text if text is not None else _text_of(Path(file)))
    if body is None:
        if text is not None:
            raise UsageError("stdin holds no proof: pass what `merkle proof --json` printed")
        if wanted is None:
            raise UsageError("a whole list is compared with a root: add --root 0x…")
        found = _read(Path(file)).root
    else:
        found = _check_proof(body)
    if wanted is not None and found != wanted:
        raise CheckFailed(f"{file} leads to root 0x{found.hex()}, not to 0x{wanted.hex()}")
    typer.echo(json.dumps({"ok": True, "root": "0x" + found.hex()}) if as_json else f"ok 0x{found.hex()}")


def _read(path: Path) -> Tree:
    from fieldstone.chain.leaf_files import read_csv, read_dump
    from fieldstone.chain.merkle import Tree

    if path.suffix.lower() == ".json":
        return read_dump(path)
    leaves = read_csv(path)
    if len(leaves) < 50_000:
        return Tree(leaves)
    from rich.console import Console

    with Console(stderr=True).status(f"hashing {len(leaves):,} leaves"):
        return Tree(leaves)


def _text_of(path: Path) -> str:
    """Return the text of a small JSON file, or "" for anything that is read as a list."""
    from fieldstone.errors import UsageError

    if path.suffix.lower() != ".json":
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _proof_body(text: str) -> dict[str, object] | None:
    import json

    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and "proof" in body else None


def _check_proof(body: dict[str, object]) -> bytes:
    from fieldstone.chain.merkle import verify as verify_proof
    from fieldstone.errors import CheckFailed, UsageError

    siblings = body.get("proof")
    address = body.get("address", body.get("account"))
    amount = body.get("amount", body.get("cumulative"))
    if not isinstance(siblings, list) or not isinstance(address, str) or not str(amount).isdigit():
        raise UsageError("a proof holds root, address, amount and proof (a list)")
    root = _word(body.get("root"), "root")
    path = [_word(sibling, "a proof entry") for sibling in siblings]
    if not verify_proof(root, address, int(str(amount)), path):
        raise CheckFailed(f"the proof of {address} with amount {amount} does not lead to root 0x{root.hex()}")
    return root


def _word(text: object, what: str) -> bytes:
    from fieldstone.errors import UsageError

    try:
        word = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        word = b""
    if len(word) != 32:
        raise UsageError(f"{what} {str(text)[:80]!r} is not 32 bytes of hex")
    return word
