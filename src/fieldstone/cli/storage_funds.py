"""`fieldstone storage funds`: what was paid once, what of it was spent, and whether it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from fieldstone.cli.shop import shop_at
from fieldstone.cli.storage_endow import Json, KeyFile, Network

if TYPE_CHECKING:
    from collections.abc import Mapping


def command(
    network: Network = "http://127.0.0.1:8080",
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show your funds: balance, real spending against the assumptions, until when they last, what happens then.

    Ends with 1 when a fund does not cover what it was bought for.
    """
    from fieldstone.cli.sealed import to_json
    from fieldstone.errors import CheckFailed

    with shop_at(network, key_file) as shop:
        funds = shop.funds()
    if as_json:
        typer.echo(to_json(funds))
    elif not funds:
        typer.echo("Nothing was paid once. `fieldstone storage endow SIZE` does.")
    else:
        for fund in funds:
            _show(fund)
    if failing := [fund["id"] for fund in funds if fund["review"] and fund["review"]["state"] in ("short", "empty")]:
        raise CheckFailed(f"{', '.join(failing)} will not last as long as it was bought for: add another fund")


def _show(fund: Mapping[str, Any]) -> None:
    from fieldstone.cli.show import facts, say, table
    from fieldstone.services.storage.paid_once import STATES
    from fieldstone.units import format_usd

    review = fund["review"] or {}
    facts(
        {
            "fund": f"{fund['id']} ({fund['status']}) for {fund['payer']}",
            "state": f"{review['state']}: {STATES[review['state']]}",
            **({"warning": review["warning"]} if review["warning"] else {}),
            "balance": f"{format_usd(fund['balance_micro_usd'])} of {format_usd(fund['price_micro_usd'])}",
            "bought": f"{fund['terms']['stored_bytes']:,} bytes of shares, "
            + ("for ever" if review["years_wanted"] is None else f"{review['years_wanted']:g} more years"),
            "a year": f"{format_usd(review['yearly_micro_usd'])} at today's prices for storage and "
            f"repair of all of it (planned {format_usd(review['planned_yearly_micro_usd'])})",
            "drawn": f"{format_usd(fund['drawn_micro_usd'])} in {review['epochs']} epochs"
            + (
                ""
                if review["pace_yearly_micro_usd"] is None
                else f", {format_usd(review['pace_yearly_micro_usd'])} a year at their pace"
            ),
            "not from it": f"{format_usd(review['not_from_fund_micro_usd'])} of permanent storage and repair went to credits",
        }
    )
    typer.echo("")
    for title, per, unit, name, rows in (
        ("prices fall a year", 10_000, " %", "decline_ppm", review["if_prices_fall"]),
        ("reads for repair a year", 1_000_000, "", "repair_reads_ppm", review["if_repairs"]),
    ):
        table(
            (title, "years left", "empty on"),
            [
                (
                    f"{one[name] / per:g}{unit}" + (" (assumed)" if one[name] == review[f"assumed_{name}"] else ""),
                    "for ever" if one["years"] is None else f"{one['years']:,.1f}",
                    _day(one["dry_ms"]),
                )
                for one in rows
            ],
        )
    say(f"Then: {review['at_exhaustion']}.")
    typer.echo("")


def _day(moment_ms: int | None) -> str:
    from datetime import UTC, datetime

    if moment_ms is None:
        return "never"
    try:
        return f"{datetime.fromtimestamp(moment_ms / 1_000, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return "after the year 9999"
