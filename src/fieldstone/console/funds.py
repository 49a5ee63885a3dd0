"""What was paid once, as the pages and their JSON twin show it: funds of a sealed epoch, reviewed by their services."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import polars as pl

from fieldstone.epoch.store import EpochStore
from fieldstone.errors import CheckFailed, UsageError
from fieldstone.market.catalogue import offers
from fieldstone.services import load_service
from fieldstone.services.contract import Endowing
from fieldstone.services.sealed_funds import SealedFunds

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
    return _rows(store, epoch, sealed.manifest.root) if FUNDS in sealed.table_names() else []


@lru_cache(maxsize=4)
def _rows(store: EpochStore, epoch: int, root: str) -> list[dict[str, Any]]:
    # a sealed epoch never changes; anybody may ask for the page, again and again
    rows = store.sealed(epoch).table(FUNDS).to_dicts()
    found: list[dict[str, Any]] = []
    for service in sorted({row["service"] for row in rows}):
        mine = [row for row in rows if row["service"] == service]
        reviews = _reviews(store, epoch, service, mine)
        found += [_shown(row, None if reviews is None else _review(reviews, row)) for row in mine]
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


def _reviews(store: EpochStore, epoch: int, name: str, rows: list[dict[str, Any]]) -> SealedFunds | None:
    try:
        service = load_service(name)
    except UsageError:  # this installation has not got it
        return None
    if not isinstance(service, Endowing):
        return None
    sealed, used = store.sealed(epoch), f"usage-{name}"
    sold = offers([service], store.state(epoch).policy)
    return SealedFunds(
        rows,
        service,
        prices_micro_usd={one.product.name: one.unit_price_micro_usd for one in sold},
        start_ms=sealed.manifest.start_ms,
        end_ms=sealed.manifest.end_ms,
        usage=sealed.table(used) if used in sealed.table_names() else None,
    )


def _review(reviews: SealedFunds, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return reviews.review(row)
    except CheckFailed:  # the page says less of a fund that nobody can read, and all of the others
        return None


def _shown(row: Mapping[str, Any], review: Mapping[str, Any] | None) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name not in _INTERNAL}
    balance = row["paid_in_micro_usd"] - row["drawn_micro_usd"]
    return {**plain, "bought_ms": row["endowed_ms"], "balance_micro_usd": balance, "review": review}
