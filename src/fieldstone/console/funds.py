"""What was paid once, as the pages and their JSON twin show it: funds of a sealed epoch, reviewed by their services."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import polars as pl

from fieldstone.epoch.store import EpochStore, SealedEpoch
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.market.catalogue import offers
from fieldstone.services import load_service
from fieldstone.services.contract import Endowing
from fieldstone.services.sealed_funds import review_sealed

FUNDS = "state-funds"
SHOWN_EPOCHS = 30
_STATES = ("empty", "short", "ending", "covers")  # the worst first
_INTERNAL = ("assumptions", "endowed_ms")


def has_funds(store: EpochStore) -> bool:
    """Tell whether anything was paid once by the newest sealed epoch."""
    return bool(store.latest) and FUNDS in store.sealed(store.latest).table_names()


def fund_rows(store: EpochStore, epoch: int) -> list[dict[str, Any]]:
    """Return the funds of an epoch with their reviews, those that will not last first. Amounts in micro-dollars."""
    sealed = store.sealed(epoch)
    if FUNDS not in sealed.table_names():
        return []
    rows = sealed.table(FUNDS).to_dicts()
    prices = {name: _prices(store, epoch, name) for name in {row["service"] for row in rows}}
    found = [_reviewed(sealed, row, rows, prices[row["service"]]) for row in rows]
    return sorted(found, key=lambda one: (_rank(one["review"]), one["fund"]))


def fund_history(store: EpochStore, fund: str) -> list[dict[str, int]]:
    """Return what a fund paid and held in the last 30 epochs, oldest first, with `height` 0 … 100 for a chart."""
    found = []
    for number in store.epochs()[-SHOWN_EPOCHS:]:
        sealed = store.sealed(number)
        if FUNDS not in sealed.table_names():
            continue
        for row in sealed.table(FUNDS).filter(pl.col("fund") == fund).iter_rows(named=True):
            held = row["paid_in_micro_usd"] - row["drawn_micro_usd"]
            found.append(
                {"epoch": number, "paid_micro_usd": row["drawn_now_micro_usd"], "balance_micro_usd": held, "height": 0}
            )
    most = max((one["paid_micro_usd"] for one in found), default=0) or 1
    return [{**one, "height": 100 * one["paid_micro_usd"] // most} for one in found]


def _rank(review: Mapping[str, Any] | None) -> int:
    state = "" if review is None else review["state"]
    return _STATES.index(state) if state in _STATES else len(_STATES)


def _prices(store: EpochStore, epoch: int, service: str) -> Mapping[str, int]:
    try:
        sold = offers([load_service(service)], store.state(epoch).policy)
    except UsageError:  # a service that this installation has not got
        return {}
    return {one.product.name: one.unit_price_micro_usd for one in sold}


def _reviewed(
    sealed: SealedEpoch, row: Mapping[str, Any], rows: list[dict[str, Any]], prices: Mapping[str, int]
) -> dict[str, Any]:
    review: Mapping[str, Any] | None = None
    if prices and isinstance(service := load_service(row["service"]), Endowing):
        used = f"usage-{row['service']}"
        with suppress(CheckFailed):  # the page says less of a fund that nobody can read, and all of the others
            review = review_sealed(
                row,
                rows,
                service=service,
                prices_micro_usd=prices,
                start_ms=sealed.manifest.start_ms,
                end_ms=sealed.manifest.end_ms,
                usage=sealed.table(used) if used in sealed.table_names() else None,
            )
    plain = {name: value for name, value in row.items() if name not in _INTERNAL}
    balance = row["paid_in_micro_usd"] - row["drawn_micro_usd"]
    return {**plain, "bought_ms": row["endowed_ms"], "balance_micro_usd": balance, "review": review}
