"""`fieldstone claim`: turn a node's proofs, or a sealed epoch's leaf file, into tokens in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fieldstone.chain.claims import ClaimDocument
    from fieldstone.chain.deploy import Addresses
    from fieldstone.chain.settlement import ClaimResult, Settlement


def command(
    accounts: Annotated[list[str], typer.Argument(help="Operator addresses; several are claimed in one transaction.")],
    node: Annotated[str, typer.Option(help="A node that serves the proofs.")] = "http://127.0.0.1:8080",
    leaves: Annotated[Path | None, typer.Option(help="A sealed epoch's leaf file instead of a node.")] = None,
    epoch: Annotated[int, typer.Option(help="The epoch of --leaves (shown only).")] = 0,
    rpc: Annotated[str, typer.Option(help="JSON-RPC address of the chain (default: the node's /rpc).")] = "",
    contracts: Annotated[Path | None, typer.Option(help="Addresses file; a node names them itself.")] = None,
    wallet: Annotated[Path | None, typer.Option(help="Wallet that sends it; none is needed where gas is free.")] = None,
    outbox: Annotated[
        Path | None, typer.Option(help="Where signed transactions are kept (default: beside the wallet).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show what would be paid; send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Claim the rewards of ACCOUNTS. Anyone may send it; the tokens go to each account's own recipient."""
    from fieldstone.chain.claims import documents_from_leaves, fetch_documents
    from fieldstone.chain.rpc import RpcPort
    from fieldstone.chain.settlement import Settlement
    from fieldstone.errors import CheckFailed

    documents = documents_from_leaves(leaves, epoch, accounts) if leaves else fetch_documents(node, accounts)
    addresses = _addresses(contracts, documents)
    port = RpcPort(rpc or f"{node.rstrip('/')}/rpc", expected_chain_id=addresses.chain_id)
    reader = Settlement(port, addresses)
    active = reader.active_root()
    if documents[0].root != active and leaves is None:
        documents, active = fetch_documents(node, accounts), reader.active_root()  # another root began to pay meanwhile
    if documents[0].root != active:
        raise CheckFailed(
            f"these proofs are for root 0x{documents[0].root.hex()} (epoch {documents[0].epoch}), but epoch "
            f"{reader.active_epoch()} with root 0x{active.hex()} pays now; claim again with its proofs"
        )
    if dry_run:
        _show_plan(reader, documents, as_json)
        return
    _show_results(_send(port, addresses, documents, wallet, outbox), as_json)


def _addresses(path: Path | None, documents: list[ClaimDocument]) -> Addresses:
    from fieldstone.chain.deploy import Addresses
    from fieldstone.errors import UsageError

    if path is not None:
        return Addresses.load(path)
    named = documents[0].contracts
    if named is None:
        raise UsageError("nobody names the contracts: pass the network's addresses file with --contracts")
    return named


def _send(
    port: object,
    addresses: Addresses,
    documents: list[ClaimDocument],
    wallet_path: Path | None,
    outbox_path: Path | None,
) -> list[ClaimResult]:
    import tempfile

    from fieldstone.chain.claims import pay
    from fieldstone.chain.outbox import Outbox
    from fieldstone.chain.port import ChainPort
    from fieldstone.chain.settlement import Settlement
    from fieldstone.clock import SystemClock
    from fieldstone.errors import UsageError
    from fieldstone.identity.wallet import Wallet

    assert isinstance(port, ChainPort)
    with tempfile.TemporaryDirectory() as scratch:
        if wallet_path is not None:
            wallet = Wallet.load(wallet_path)
            kept = outbox_path or wallet_path.with_name(f"{wallet_path.stem}.outbox.sqlite3")
        elif port.fees().max_fee_wei == 0:
            # gas is free, so a throw-away key will do: the contract pays each account once, whoever sends
            wallet, kept = Wallet.generate(), outbox_path or Path(scratch) / "outbox.sqlite3"
        else:
            raise UsageError("this chain charges gas: pass the wallet that pays it with --wallet")
        outbox = Outbox(kept, clock=SystemClock())
        try:
            settlement = Settlement(port, addresses, outbox=outbox, signer=wallet)
            settlement.recover()
            return pay(settlement, documents)
        finally:
            outbox.close()


def _show_plan(reader: Settlement, documents: list[ClaimDocument], as_json: bool) -> None:
    import json

    from fieldstone.units import format_token

    rows = []
    for document in documents:
        claim = document.claim
        due = max(claim.cumulative_base - reader.claimed(claim.account), 0)
        rows.append({"account": claim.account, "epoch": document.epoch, "due_base": str(due)})
        if not as_json:
            typer.echo(f"{claim.account}  would be paid {format_token(due)}  (epoch {document.epoch})")
    if as_json:
        typer.echo(json.dumps({"dry_run": True, "window_room_base": str(reader.window_room()), "claims": rows}))


def _show_results(results: list[ClaimResult], as_json: bool) -> None:
    import json

    from fieldstone.units import format_token

    payments = [payment for result in results for payment in result.payments]
    hashes = ["0x" + result.tx_hash.hex() for result in results if result.tx_hash is not None]
    if as_json:
        body = {
            "paid_base": str(sum(payment.amount_base for payment in payments)),
            "transactions": hashes,
            "payments": [
                {"account": item.account, "recipient": item.recipient, "amount_base": str(item.amount_base)}
                for item in payments
            ],
        }
        typer.echo(json.dumps(body))
        return
    for payment in payments:
        where = "" if payment.recipient == payment.account else f" to {payment.recipient}"
        typer.echo(f"{payment.account}  paid {format_token(payment.amount_base)}{where}")
    typer.echo(f"transactions: {', '.join(hashes)}" if hashes else "nothing left to claim", err=not hashes)
