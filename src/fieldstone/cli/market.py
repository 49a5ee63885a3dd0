"""`fieldstone market`: buy verified data; the founder's verbs are in `market_admin`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fieldstone.cli import market_admin
from fieldstone.cli.market_admin import seconds, show_json
from fieldstone.cli.market_text import show_order, show_quote, time_text
from fieldstone.cli.shop import shop_at

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="""Buy verified data.

    fieldstone market products

    fieldstone market quote --last 24h --variable temperature_c --box 52,13,53,14

    fieldstone market buy --last 24h --out berlin.parquet --yes

In the network's folder: `customer add`, `key add`, `topup`.""",
)
app.add_typer(market_admin.customer_app, name="customer")
app.add_typer(market_admin.key_app, name="key")
app.command("topup")(market_admin.topup)

Node = Annotated[str, typer.Option("--node", envvar="FIELDSTONE_NODE", metavar="URL", help="Address of the node.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="File with the API key; or set FIELDSTONE_API_KEY.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Service = Annotated[str, typer.Option("--service", help="The service that sells.")]
ProductName = Annotated[str, typer.Option("--product", help="What to buy.")]
Variables = Annotated[list[str] | None, typer.Option("--variable", "-v", help="A variable; repeat it. None: all.")]
Cells = Annotated[list[str] | None, typer.Option("--cell", help="An H3 cell of any resolution; repeat it.")]
BoxText = Annotated[
    str, typer.Option("--box", metavar="S,W,N,E", help="Degrees; west > east crosses the antimeridian.")
]
From = Annotated[str, typer.Option("--from", help="Start: 2026-01-31, 2026-01-31T12:00Z or Unix milliseconds.")]
To = Annotated[str, typer.Option("--to", help="End, not included. Default: now.")]
Last = Annotated[str, typer.Option("--last", help="Instead of --from: 90m, 24h, 7d.")]
Quality = Annotated[float, typer.Option("--min-quality", min=0, max=1, help="Least quality, 0 to 1.")]
DEFAULT_NODE = "http://127.0.0.1:8080"


@app.command()
def products(node: Node = DEFAULT_NODE, as_json: Json = False) -> None:
    """List what is on offer and what a unit costs."""
    from fieldstone.cli.show import table
    from fieldstone.units import format_usd

    with shop_at(node, None, need_key=False) as shop:
        found = shop.products()
    if as_json:
        return show_json(found)
    rows = [
        (
            offer["service"],
            offer["product"],
            f"{format_usd(offer['unit_price_micro_usd'])} a {offer['unit']}",
            f"≥ {offer['min_quality_ppm'] / 10_000:g} %",
            ", ".join(column["name"] for column in offer["variables"]),
        )
        for offer in found
    ]
    table(("service", "product", "price", "quality", "variables"), rows)


@app.command()
def quote(
    variable: Variables = None,
    cell: Cells = None,
    box: BoxText = "",
    start: From = "",
    end: To = "",
    last: Last = "",
    min_quality: Quality = 0.0,
    service: Service = "sensing",
    product: ProductName = "observations",
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Ask what a selection costs. Free, and binding until it ends."""
    question = _question(variable, cell, box, start, end, last, min_quality, service, product)
    with shop_at(node, key_file) as shop:
        made = shop.quote(**question)
    if as_json:
        return show_json(made)
    show_quote(made)
    typer.echo(f"next: fieldstone market buy --quote {made['id']} --out data.parquet", err=True)


@app.command()
def buy(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet, .csv or .json.")],
    quote_id: Annotated[str, typer.Option("--quote", help="A quote made before; instead of a selection.")] = "",
    variable: Variables = None,
    cell: Cells = None,
    box: BoxText = "",
    start: From = "",
    end: To = "",
    last: Last = "",
    min_quality: Quality = 0.0,
    service: Service = "sensing",
    product: ProductName = "observations",
    max_usd: Annotated[str, typer.Option("--max-usd", help="Buy only up to this price.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Buy a selection or a quote, and write the data and its provenance beside it."""
    import sys

    from fieldstone.errors import CheckFailed, UsageError
    from fieldstone.units import format_usd, parse_amount

    form = _format(out)
    highest = parse_amount(max_usd, 6, what="--max-usd") if max_usd else None
    with shop_at(node, key_file) as shop:
        if not quote_id:
            question = _question(variable, cell, box, start, end, last, min_quality, service, product)
            made = shop.quote(**question)
            show_quote(made, err=True)
            price = made["price_micro_usd"]
            if highest is not None and price > highest:
                raise CheckFailed(f"the price {format_usd(price)} is above --max-usd {format_usd(highest)}")
            if not yes:
                if not sys.stdin.isatty():
                    raise UsageError("nobody is there to confirm the price; add --yes (and --max-usd)")
                typer.confirm(f"Buy for {format_usd(price)}?", abort=True, err=True)
            quote_id = made["id"]
        elif highest is not None:
            raise UsageError("--max-usd goes with a selection; the price of a quote is known")
        bought = shop.buy(quote_id)
        size = shop.download(bought["id"], out, form)
    _sidecar(out).write_text(json.dumps(bought["provenance"], indent=1, sort_keys=True) + "\n")
    if as_json:
        return show_json({**bought, "file": str(out), "bytes": size, "provenance_file": str(_sidecar(out))})
    show_order(bought)
    typer.echo(f"wrote {out} ({size:,} bytes) and {_sidecar(out).name}", err=True)
    typer.echo(f"next: fieldstone market invoice {bought['invoices'][0]}", err=True)


@app.command()
def download(
    order_id: str,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet, .csv or .json.")],
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
) -> None:
    """Download an order again, free of charge."""
    form = _format(out)
    with shop_at(node, key_file) as shop:
        bought = shop.order(order_id)
        size = shop.download(order_id, out, form)
    _sidecar(out).write_text(json.dumps(bought["provenance"], indent=1, sort_keys=True) + "\n")
    typer.echo(f"wrote {out} ({size:,} bytes) and {_sidecar(out).name}", err=True)


@app.command()
def orders(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List your newest orders."""
    from fieldstone.cli.show import table
    from fieldstone.units import format_usd

    with shop_at(node, key_file) as shop:
        found = shop.orders(limit)
    if as_json:
        return show_json(found)
    rows = [
        (
            time_text(order["created_ms"]),
            order["id"],
            order["status"],
            f"{order['delivered_readings'] or 0:,} of {order['quoted_readings']:,}",
            format_usd(order["price_micro_usd"]),
            format_usd(order["refund_micro_usd"]),
            ", ".join(order["invoices"]),
        )
        for order in found
    ]
    table(("placed", "order", "status", "readings", "price", "refunded", "invoices"), rows)


@app.command()
def invoice(
    invoice_id: str,
    form: Annotated[str, typer.Option("--format", help="text, html or json.")] = "text",
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Print an invoice or a credit note."""
    from fieldstone.errors import UsageError

    if form not in ("text", "html", "json"):
        raise UsageError(f"--format {form!r} is none of text, html, json")
    with shop_at(node, key_file) as shop:
        typer.echo(shop.invoice(invoice_id, "json" if as_json else form).rstrip("\n"))


@app.command("pay-for")
def pay_for(
    device_key: Annotated[
        Path, typer.Argument(help="Key file of the device whose use you pay: a gateway's device.key.")
    ],
    node: Node = DEFAULT_NODE,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Pay from your credits for what a device of yours uses: storage that its gateway fills, bytes that it reads."""
    import httpx

    from fieldstone.errors import Retryable
    from fieldstone.identity.keys import DeviceKey
    from fieldstone.market.usage import binding_text

    key = DeviceKey.load(device_key)
    device = key.public.device_id
    with shop_at(node, key_file) as shop:
        customer = shop.account()["customer_id"]
        try:
            network_id = httpx.get(f"{shop.url}/v1/network", timeout=30).json()["network_id"]
        except httpx.HTTPError as error:
            raise Retryable(f"{shop.url} did not answer: {error}") from error
        answer = shop.pay_for(device, key.sign(binding_text(network_id, device, customer)))
    if as_json:
        show_json(answer)
    else:
        typer.echo(f"{customer} pays for {device}")


@app.command()
def usage(node: Node = DEFAULT_NODE, key_file: KeyFile = None, limit: int = 100, as_json: Json = False) -> None:
    """Show what your devices used, epoch by epoch, and what it cost."""
    from fieldstone.cli.show import table
    from fieldstone.units import format_usd

    with shop_at(node, key_file) as shop:
        found = shop.usage(limit)
    if as_json:
        show_json(found)
        return
    rows = [
        [
            str(charge["epoch"]),
            f"{charge['service']}/{charge['product']}",
            f"{charge['units']:,}",
            format_usd(charge["due_micro_usd"]),
            format_usd(charge["paid_micro_usd"]),
            charge["payer"],
        ]
        for charge in found["charges"]
    ]
    table(("epoch", "product", "units", "due", "paid", "device"), rows)


@app.command()
def account(node: Node = DEFAULT_NODE, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Show your credits and what the key may still spend."""
    from fieldstone.cli.show import facts
    from fieldstone.units import format_usd

    with shop_at(node, key_file) as shop:
        found = shop.account()
    if as_json:
        return show_json(found)
    limit = found["limit_micro_usd"]
    days = found["limit_period_s"] / 86_400
    facts(
        {
            "customer": f"{found['customer_name']} ({found['customer_id']})",
            "credits": format_usd(found["credits_micro_usd"]),
            "held": format_usd(found["held_micro_usd"]),
            "key": f"fsk_{found['key_prefix']}_…",
            "spent": f"{format_usd(found['spent_micro_usd'])} in {days:g} days",
            "limit": "none" if limit is None else f"{format_usd(limit)} in {days:g} days",
        }
    )


# ---- inside ---------------------------------------------------------------------------------------------------------


def _question(
    variables: list[str] | None,
    cells: list[str] | None,
    box: str,
    start: str,
    end: str,
    last: str,
    min_quality: float,
    service: str,
    product: str,
) -> dict[str, Any]:
    import time

    from fieldstone.errors import UsageError

    if bool(start) == bool(last):
        raise UsageError("give either --from or --last, such as --last 24h")
    end_ms = _time_ms(end, "--to") if end else time.time_ns() // 1_000_000
    start_ms = _time_ms(start, "--from") if start else max(end_ms - 1000 * seconds(last, "--last"), 0)
    question: dict[str, Any] = {
        "service": service,
        "product": product,
        "variables": variables or [],
        "cells": cells or [],
        "start_ms": start_ms,
        "end_ms": end_ms,
        "min_quality_ppm": round(min_quality * 1_000_000),
    }
    if box:
        try:
            south, west, north, east = (float(edge) for edge in box.split(","))
        except ValueError:
            raise UsageError(f"--box {box!r} is not four numbers: south,west,north,east") from None
        question["box"] = {"south": south, "west": west, "north": north, "east": east}
    return question


def _time_ms(text: str, option: str) -> int:
    from datetime import UTC, datetime

    from fieldstone.errors import UsageError

    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time such as 2026-01-31T12:00Z or Unix milliseconds") from None
    # a time without a zone is UTC: the same command means the same everywhere
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _format(out: Path) -> str:
    from fieldstone.errors import UsageError

    form = out.suffix.removeprefix(".").lower()
    if form not in ("parquet", "csv", "json"):
        raise UsageError(f"--out {out} must end in .parquet, .csv or .json")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no such folder")  # say so before anything is paid
    return form


def _sidecar(out: Path) -> Path:
    return out.with_name(out.name + ".provenance.json")
