"""How `fieldstone market` prints quotes and orders."""

from __future__ import annotations

from typing import Any

import typer


def show_quote(made: dict[str, Any], *, err: bool = False) -> None:
    """Print a quote."""
    from fieldstone.units import format_usd

    lines = [
        f"quote     {made['id']}, until {time_text(made['valid_until_ms'])}",
        f"readings  {made['readings']:,} from {made['devices']:,} devices in {len(made['epochs'])} epochs",
        f"price     {format_usd(made['price_micro_usd'])} ({format_usd(made['unit_price_micro_usd'])} each)",
        *(
            f"quality   ≥ {b['at_least_ppm'] / 10_000:g} %: {b['readings']:,}"
            for b in made["by_quality"]
            if b["readings"]
        ),
        *(f"left out  {why}" for why in made["excluded"].values()),
    ]
    for line in lines:
        typer.echo(line, err=err)


def show_order(bought: dict[str, Any]) -> None:
    """Print an order."""
    from fieldstone.cli.show import facts
    from fieldstone.units import format_usd

    facts(
        {
            "order": bought["id"],
            "status": bought["status"],
            "readings": f"{bought['delivered_readings']:,} of {bought['quoted_readings']:,}",
            "paid": format_usd(bought["price_micro_usd"] - bought["refund_micro_usd"]),
            "refunded": format_usd(bought["refund_micro_usd"]),
            "invoices": ", ".join(bought["invoices"]),
        }
    )


def time_text(time_ms: int) -> str:
    """Return a time in UTC, to the second. `time_ms`: Unix ms."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
