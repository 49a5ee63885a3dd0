"""Fold what was paid once and drawn over the journal, and refuse a charge that draws what no fund was bought for. Pure.

The node says which fund pays what of a charge; everybody who replays an epoch holds it against what the journal says of the
fund. A charge of epoch e that draws on a fund stands when

    order     it is the one charge of that payer, product and epoch (`metering.charge_id`), e is over, and later than the
              last one that drew on the fund for the product: nothing is charged twice
    payer     the fund pays this product of this payer
    units     what it pays for, with all that it paid for before, is at most what was bought until the epoch began in
              which the charge stands: `units_per_s` of what it covers, the allowance of what it may pay besides
    price     amount ≤ ⌈units · price of one⌉, at the highest price in force since the fund last paid for the product
    balance   amount ≤ what it holds, and all funds together pay at most the charge's price

A fund counts from when it was bought, but from no earlier than two days before the epoch in which the journal has it: else a
node could date it back by years, and with it the allowance.

Reason: without `units` a node could let a fund pay for more repair than it was bought for, and without `price` it could call
all of a balance the price of one unit. The highest price since the last charge, not today's: a charge that a crash held
up reaches the journal after a change of prices, and is honest. That units were really used is checked against the sealed epoch
by whoever has it (`epoch.charges`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.market.fund_parts import allowed, covered
from fieldstone.market.metering import Delivered, Endowed, JournalEntry, charge_id, decode
from fieldstone.units import DAY_MS

__all__ = ["FUND_SCHEMA", "Prices", "settle_funds"]

DATED_BACK_MS = 2 * DAY_MS

Prices = Mapping[tuple[str, str], tuple[int, int]]
"""(service, product) → (micro-dollars, units that cost them)."""

FUND_SCHEMA: dict[str, Any] = {
    "fund": pl.String(),
    "customer": pl.String(),
    "payer": pl.String(),  # did:key of the device whose charges it pays
    "service": pl.String(),
    "covers": pl.String(),  # the metered product that it pays
    "also": pl.List(pl.String()),  # …and may pay, up to an allowance
    "paid_in_micro_usd": pl.Int64(),
    "drawn_micro_usd": pl.Int64(),
    "drawn_now_micro_usd": pl.Int64(),  # by the charges of this epoch's journal
    "endowed_ms": pl.Int64(),
    "assumptions": pl.String(),  # canonical JSON: what its price rests on
    "rooms": pl.List(
        pl.Struct(
            {
                "product": pl.String(),  # `covers`, then each of `also`
                "per_s": pl.Int64(),  # smallest units that it may pay: so many a second since it was bought,
                "at_once": pl.Int64(),  # …and these at once,
                "per_year": pl.Int64(),  # …and so many a year
                "drawn_units": pl.Int64(),  # what of them it has paid for
                "charged_epoch": pl.Int64(),  # the newest epoch whose use it paid, 0: none
                "price_micro_usd": pl.Int64(),  # highest price of a unit since then
            }
        )
    ),
}


def settle_funds(
    entries: Iterable[JournalEntry],
    funds: pl.DataFrame,
    *,
    epoch: int,
    start_ms: int,
    prices: Prices,
) -> pl.DataFrame:
    """Return what every fund holds after the metering entries of an epoch. `funds`: FUND_SCHEMA as the epoch before left them.

    `start_ms`: when the epoch began, so when the newest one that can be charged was over; `prices`: those of its policy.
    Raises CheckFailed, naming charge and fund, for a charge that does not stand (see the module's words).
    """
    rows = {row["fund"]: _priced({**row, "drawn_now_micro_usd": 0}, prices) for row in funds.iter_rows(named=True)}
    seen: set[str] = set()
    drawn: list[tuple[str, str]] = []
    for entry in entries:
        if entry.kind != "metering":
            continue
        body = decode(entry.body)
        if isinstance(body, Endowed):
            rows.setdefault(body.fund, _priced(_row(body, start_ms - DATED_BACK_MS), prices))
        elif isinstance(body, Delivered) and body.funds and body.order not in seen:
            seen.add(body.order)
            _check_order(body, epoch)
            for fund in body.funds:
                _draw(rows, body, fund, start_ms, prices)
                drawn.append((fund, body.product))
    for fund, product in drawn:
        _room(rows[fund], product)["price_micro_usd"] = _price(prices, rows[fund]["service"], product)[0]
    return pl.DataFrame([rows[fund] for fund in sorted(rows)], schema=FUND_SCHEMA, orient="row")


def _row(body: Endowed, earliest_ms: int) -> dict[str, Any]:
    rooms = [_new_room(body.covers, per_s=body.units_per_s)]
    for product, room in sorted(body.also.items()):
        if product != body.covers:
            rooms.append(_new_room(product, at_once=room.get("at_once", 0), per_year=room.get("per_year", 0)))
    return {
        "fund": body.fund, "customer": body.customer, "payer": body.payer, "service": body.service,
        "covers": body.covers, "also": sorted(body.also), "paid_in_micro_usd": body.paid_in_micro_usd,
        "drawn_micro_usd": 0, "drawn_now_micro_usd": 0, "endowed_ms": max(earliest_ms, body.endowed_ms),
        "assumptions": msgspec.json.encode(body.terms.get("assumptions", {}), order="sorted").decode(),
        "rooms": rooms,
    }  # fmt: skip


def _new_room(product: str, *, per_s: int = 0, at_once: int = 0, per_year: int = 0) -> dict[str, Any]:
    return {
        "product": product, "per_s": per_s, "at_once": at_once, "per_year": per_year,
        "drawn_units": 0, "charged_epoch": 0, "price_micro_usd": 0,
    }  # fmt: skip


def _check_order(body: Delivered, epoch: int) -> None:
    if sum(body.funds.values()) > body.net_micro_usd:
        raise CheckFailed(
            f"charge {body.order} draws more from funds than its price of {body.net_micro_usd} micro-dollars"
        )
    if body.order != charge_id(body.service, body.epoch, body.payer, body.product) or not 0 < body.epoch < epoch:
        raise CheckFailed(
            f"charge {body.order} draws on funds, but is not the charge of an epoch before {epoch} for "
            f"{body.service}/{body.product} of {body.payer!r}"
        )
    if sum(body.fund_units.values()) > sum(body.devices.values()):
        raise CheckFailed(f"charge {body.order} lets funds pay for more units than were used")


def _draw(rows: Mapping[str, dict[str, Any]], body: Delivered, fund: str, start_ms: int, prices: Prices) -> None:
    row, amount, units = rows.get(fund), body.funds[fund], body.fund_units.get(fund, 0)
    is_its = row is not None and (row["service"], row["payer"]) == (body.service, body.payer)
    if row is None or not is_its or body.product not in (row["covers"], *row["also"]):
        raise CheckFailed(
            f"charge {body.order} draws on fund {fund!r}, which does not pay {body.service}/{body.product} of {body.payer!r}"
        )
    room = _room(row, body.product)
    if body.epoch <= room["charged_epoch"]:
        raise CheckFailed(f"charge {body.order} draws on fund {fund} again for {body.product} of epoch {body.epoch}")
    age_ms = start_ms - row["endowed_ms"]
    most = covered(room["per_s"], age_ms) + allowed(room["at_once"], room["per_year"], age_ms) if age_ms >= 0 else 0
    over = room["drawn_units"] + units - most
    if over > 0:
        raise CheckFailed(
            f"charge {body.order} lets fund {fund} pay for {units} units of {body.product}, {over} more than its allowance: "
            f"{most} were bought so far and {room['drawn_units']} of them paid"
        )
    _, per = _price(prices, body.service, body.product)
    dearest = -(-units * room["price_micro_usd"] // per) if per else 0
    if amount > dearest:
        raise CheckFailed(
            f"charge {body.order} draws {amount} micro-dollars from fund {fund} for {units} units of {body.product}, "
            f"which cost at most {dearest}"
        )
    row["drawn_micro_usd"] += amount
    row["drawn_now_micro_usd"] += amount
    room["drawn_units"] += units
    room["charged_epoch"] = body.epoch
    if row["drawn_micro_usd"] > row["paid_in_micro_usd"]:
        raise CheckFailed(
            f"charge {body.order} draws {amount} micro-dollars from fund {fund}, which does not hold so much"
        )


def _room(row: Mapping[str, Any], product: str) -> dict[str, Any]:
    return next(room for room in row["rooms"] if room["product"] == product)


def _priced(row: dict[str, Any], prices: Prices) -> dict[str, Any]:
    """Raise the price of each room to that of the epoch, where it is higher."""
    rooms = [
        {**room, "price_micro_usd": max(room["price_micro_usd"], _price(prices, row["service"], room["product"])[0])}
        for room in row["rooms"]
    ]
    return {**row, "rooms": rooms}


def _price(prices: Prices, service: str, product: str) -> tuple[int, int]:
    return prices.get((service, product), (0, 0))
