"""`fieldstone market customer|key|topup`: what the founder does, in the network's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fieldstone.config import Config

customer_app = typer.Typer(no_args_is_help=True, help="Customers (in the network's folder).")
key_app = typer.Typer(no_args_is_help=True, help="API keys (in the network's folder).")

At = Annotated[Path, typer.Option("--at", metavar="FOLDER", help="The network's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@customer_app.command("add")
def customer_add(name: str, at: At = Path("."), as_json: Json = False) -> None:
    """Register a customer."""
    from fieldstone.clock import SystemClock
    from fieldstone.market.customers import Customers

    with _state(at) as (_, engine):
        made = Customers(engine, SystemClock()).add(name)
    if as_json:
        return show_json({"customer": made.id, "name": made.name})
    typer.echo(made.id)
    typer.echo(f"next: fieldstone market key add {made.id}", err=True)


@customer_app.command("list")
def customer_list(at: At = Path("."), as_json: Json = False) -> None:
    """List customers with their credits."""
    from fieldstone.cli.show import table
    from fieldstone.clock import SystemClock
    from fieldstone.ledger import AccountKind, Ledger
    from fieldstone.ledger import account as account_id
    from fieldstone.market.customers import Customers
    from fieldstone.units import format_usd

    with _state(at) as (_, engine):
        ledger = Ledger(engine)
        found = [
            (one.id, one.name, ledger.balance(account_id(AccountKind.CUSTOMER, one.id)))
            for one in Customers(engine, SystemClock()).all()
        ]
    if as_json:
        return show_json([{"customer": who, "name": name, "credits_micro_usd": held} for who, name, held in found])
    table(("customer", "name", "credits"), [(who, name, format_usd(held)) for who, name, held in found])


@key_app.command("add")
def key_add(
    customer: str,
    label: Annotated[str, typer.Option(help="What the key is for.")] = "",
    limit_usd: Annotated[str, typer.Option("--limit-usd", help="Most that the key may spend in a period.")] = "",
    period: Annotated[str, typer.Option("--period", help="The limit's period: 24h, 30d.")] = "30d",
    at: At = Path("."),
    as_json: Json = False,
) -> None:
    """Make an API key. It is printed once and cannot be shown again."""
    from fieldstone.clock import SystemClock
    from fieldstone.market.customers import Customers
    from fieldstone.units import parse_amount

    limit = parse_amount(limit_usd, 6, what="--limit-usd") if limit_usd else None
    with _state(at) as (_, engine):
        made = Customers(engine, SystemClock()).add_key(
            customer, label=label, limit_micro_usd=limit, limit_period_s=seconds(period, "--period")
        )
    if as_json:
        return show_json({"prefix": made.prefix, "key": made.secret, "customer": made.customer_id})
    typer.echo(made.secret)
    typer.echo("keep it: only its hash is stored. Give it to the customer as FIELDSTONE_API_KEY", err=True)


@key_app.command("revoke")
def key_revoke(prefix: str, at: At = Path(".")) -> None:
    """Revoke a key for good, by its prefix (`fsk_<prefix>_…`)."""
    from fieldstone.clock import SystemClock
    from fieldstone.market.customers import Customers

    with _state(at) as (_, engine):
        Customers(engine, SystemClock()).revoke_key(prefix)
    typer.echo("revoked; it can never be used again", err=True)


def topup(
    customer: str,
    amount_usd: str,
    reference: Annotated[str, typer.Option("--reference", help="The payment's reference; public, credits once.")],
    wallet: Annotated[Path | None, typer.Option("--wallet", help="The founder's wallet that signs it.")] = None,
    at: At = Path("."),
    as_json: Json = False,
) -> None:
    """Credit a customer for a payment that arrived (in the network's folder)."""
    from fieldstone.clock import SystemClock
    from fieldstone.errors import Retryable
    from fieldstone.identity.wallet import Wallet
    from fieldstone.journal.log import Journal
    from fieldstone.ledger import Escrow, Ledger
    from fieldstone.market.credits import Credits, Source, text_to_sign
    from fieldstone.node.layout import Layout
    from fieldstone.units import parse_amount

    amount = parse_amount(amount_usd, 6, what="amount")
    with _state(at) as (config, engine):
        network = config.policy.network_id
        signature = ""
        founder = None
        if wallet is not None:
            signer = Wallet.load(wallet)
            founder = signer.address
            signature = "0x" + signer.sign_text(text_to_sign(network, customer, amount, reference)).hex()
        credits = Credits(engine, Escrow(engine, Ledger(engine)), SystemClock(), network_id=network, founder=founder)
        wish = credits.request(customer, amount, Source.FIAT, reference, signature, head=0)
        status = wish.status
        path = Layout(config.data_dir).journal
        # A journal begins with the policy, which the node writes on its first start: do not begin one here.
        # While the node runs, it holds the journal's lock and takes the top-up over.
        if path.exists():
            with suppress(Retryable), Journal.open(path, clock=SystemClock()) as journal:
                credits.complete(journal)
                status = "credited"
    if as_json:
        return show_json({"customer": customer, "amount_micro_usd": amount, "reference": reference, "status": status})
    typer.echo(f"{customer}  ${amount_usd}  {status}")
    if status == "pending":
        typer.echo("the node credits it as soon as it runs and the customer looks or buys", err=True)


def seconds(text: str, option: str) -> int:
    """Read a length of time such as 90m, 24h or 7d. Raises UsageError."""
    from fieldstone.errors import UsageError

    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 10**9:
        raise UsageError(f"{option} {text!r} is no length of time such as 90m, 24h or 7d")
    return int(number) * _UNITS_S[unit]


@contextmanager
def _state(at: Path) -> Iterator[tuple[Config, Engine]]:
    from fieldstone.config import load
    from fieldstone.node.layout import Layout
    from fieldstone.state import open_state

    config = load(at / "network.toml")
    engine = open_state(Layout(config.data_dir).state)
    try:
        yield config, engine
    finally:
        engine.dispose()


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
