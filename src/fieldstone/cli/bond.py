"""`fieldstone bond`: tokens that an operator puts at risk for himself or for one device."""

from __future__ import annotations

from typing import Annotated

import typer

from fieldstone.cli.bond_case import app as case_app
from fieldstone.cli.onchain import DEFAULT_NODE, AsJson, Contracts, NodeUrl, Rpc, WalletFile, reader, writer

app = typer.Typer(
    no_args_is_help=True,
    help="Put tokens at risk for your devices, and take them back. Only a case that the verifiers decide can slash them.",
)
app.add_typer(case_app, name="case")
Device = Annotated[str, typer.Option("--device", help="The device it is for (default: for the operator itself).")]
Reference = Annotated[
    str, typer.Option(help="Your own name for this payment: the same one is sent once, however often.")
]


@app.command()
def show(
    owner: Annotated[str, typer.Argument(help="The operator's address.")],
    device: Device = "",
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Show what is bonded, what is on its way back, whether a case holds it, and how much capacity it covers."""
    import json

    from fieldstone.cli.bond_cover import cover_lines, told_of
    from fieldstone.identity.wallet import checksum_address
    from fieldstone.units import format_token

    found = reader(node, rpc, contracts).bond_of(checksum_address(owner), bond_key(device))
    told = told_of(node, owner) if contracts is None else {}
    if as_json:
        amounts = {name: str(value) if name.endswith("_base") else value for name, value in found.items()}
        typer.echo(json.dumps({**amounts, **({"cover": told} if told else {})}))
        return
    typer.echo(f"staked     {format_token(found['staked_base'])}")
    typer.echo(f"unbonding  {format_token(found['unbonding_base'])}" + _ready(found["ready_s"]))
    typer.echo(f"cases      {found['open_cases']} open")
    for line in cover_lines(told, device):
        typer.echo(line)


@app.command()
def add(
    tokens: Annotated[str, typer.Argument(help="How many tokens, e.g. 250 or 0.5.")],
    reference: Reference,
    wallet: WalletFile,
    device: Device = "",
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Bond tokens of the wallet for its owner."""
    from fieldstone.units import TOKEN_DECIMALS, parse_amount

    amount_base = parse_amount(tokens, TOKEN_DECIMALS, what="tokens")
    with writer(node, rpc, contracts, wallet) as chain:
        posted = chain.bond(chain.sender, bond_key(device), amount_base, reference)
    _said(f"bonded {tokens} tokens", posted.tx_hash, as_json)


@app.command()
def release(
    tokens: Annotated[str, typer.Argument(help="How many tokens to take back.")],
    reference: Reference,
    wallet: WalletFile,
    device: Device = "",
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Ask for bonded tokens back; `withdraw` pays them out after the unbonding delay."""
    from fieldstone.units import TOKEN_DECIMALS, parse_amount

    amount_base = parse_amount(tokens, TOKEN_DECIMALS, what="tokens")
    with writer(node, rpc, contracts, wallet) as chain:
        posted = chain.unbond(bond_key(device), amount_base, reference)
        ready_s = chain.bond_of(chain.sender, bond_key(device))["ready_s"]
    _said(f"{tokens} tokens are on their way back{_ready(ready_s)}", posted.tx_hash, as_json)


@app.command()
def withdraw(
    reference: Reference,
    wallet: WalletFile,
    device: Device = "",
    node: NodeUrl = DEFAULT_NODE,
    rpc: Rpc = "",
    contracts: Contracts = None,
    as_json: AsJson = False,
) -> None:
    """Take out what was released, once its delay is over and no case holds it."""
    with writer(node, rpc, contracts, wallet) as chain:
        posted = chain.withdraw(bond_key(device), reference)
    _said("withdrawn", posted.tx_hash, as_json)


def bond_key(device: str) -> bytes:
    """Return the 32 bytes under which a device's bond is kept; zeros for the operator's own."""
    from fieldstone.rewards.bonded import key_of

    return bytes.fromhex(key_of(device))


def _ready(ready_s: int) -> str:
    from datetime import UTC, datetime

    return f", from {datetime.fromtimestamp(ready_s, UTC):%Y-%m-%d %H:%M} UTC" if ready_s else ""


def _said(what: str, tx_hash: bytes | None, as_json: bool) -> None:
    import json

    sent = "0x" + tx_hash.hex() if tx_hash is not None else ""
    if as_json:
        typer.echo(json.dumps({"transaction": sent}))
    else:
        typer.echo(f"{what}  ({sent or 'it was done before'})")
