"""`fieldstone dispute`: object to an epoch's root before it pays, and decide objections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fieldstone.cli.onchain import (
    DEFAULT_NODE,
    AsJson,
    Contracts,
    NodeUrl,
    Rpc,
    Signatures,
    WalletFile,
    add_expire,
    echo_signature,
    reader,
    signatures_of,
    writer,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Object to an epoch's root while it waits to pay. The bond comes back if the verifiers agree or do not decide.",
)
Number = Annotated[int, typer.Argument(help="The dispute's number.")]
Uphold = Annotated[bool, typer.Option("--uphold/--reject", help="Uphold: the root falls. Reject: the bond is lost.")]


@app.command("open")
def open_(
    epoch: Annotated[int, typer.Argument(help="The epoch whose root is wrong.")],
    evidence: Annotated[
        Path, typer.Option(help="What proves it; its SHA-256 goes on chain, the file to the verifiers.")
    ],
    wallet: WalletFile,
    reason: Annotated[int, typer.Option(help="Number of the reason on the network's own list.")] = 1,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Freeze the epoch's root against the dispute bond, which the wallet pays."""
    import hashlib
    import json

    from fieldstone.errors import UsageError

    if not evidence.is_file():
        raise UsageError(f"{evidence} is no file; write down which device and number is wrong, and why")
    digest = hashlib.sha256(evidence.read_bytes()).digest()
    with writer(node, rpc, contracts, wallet) as chain:
        number = chain.dispute(epoch, chain.record(epoch).root, reason, digest)
    if as_json:
        typer.echo(json.dumps({"dispute": number, "evidence_sha256": digest.hex()}))
    else:
        typer.echo(f"dispute {number} is open; evidence SHA-256 {digest.hex()}")
        typer.echo(
            f"send the file to the verifiers; `fieldstone dispute show {number}` tells until when they can decide"
        )


@app.command()
def show(
    number: Number, node: NodeUrl = DEFAULT_NODE, rpc: Rpc = "", contracts: Contracts = None, as_json: AsJson = False
) -> None:
    """Show a dispute: epoch, who objects, bond, deadline, outcome."""
    import json
    from dataclasses import asdict
    from datetime import UTC, datetime

    from fieldstone.units import format_token

    found = reader(node, rpc, contracts).dispute_of(number)
    if as_json:
        typer.echo(
            json.dumps({**asdict(found), "bond_base": str(found.bond_base), "outcome": found.outcome.name.lower()})
        )
        return
    typer.echo(f"dispute   {number}, epoch {found.epoch}")
    typer.echo(f"by        {found.disputer}")
    typer.echo(f"bond      {format_token(found.bond_base)}")
    typer.echo(f"deadline  {datetime.fromtimestamp(found.deadline_s, UTC):%Y-%m-%d %H:%M} UTC")
    typer.echo(f"outcome   {found.outcome.name.lower()}")


@app.command()
def sign(
    number: Number,
    uphold: Uphold,
    wallet: WalletFile,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
) -> None:
    """Sign a decision as a verifier; print `address:signature` for whoever sends `decide`."""
    from fieldstone.identity.wallet import Wallet

    echo_signature(Wallet.load(wallet), reader(node, rpc, contracts).resolution_to_sign(number, uphold))


@app.command()
def decide(
    number: Number,
    uphold: Uphold,
    signatures: Signatures,
    wallet: WalletFile,
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
) -> None:
    """Send the verifiers' decision; anyone may."""
    given = signatures_of(signatures, "dispute sign")
    with writer(node, rpc, contracts, wallet) as chain:
        chain.resolve(number, uphold, given)
    typer.echo(f"dispute {number} is {'upheld: the root fell' if uphold else 'rejected: the root waits anew'}")


add_expire(app, "dispute", "the root falls and the objector's bond returns", lambda chain, number: chain.expire(number))
