"""What pays for a permanent object: the funds of its gateway as a sealed epoch has them, and this object's part. Pure.

A fund belongs to a gateway, not to an object: all permanent objects of the gateway draw on it. `warnings` say in words what is
not as it was bought: an object that no fund pays for, a fund that ends too early, more bytes than were bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fieldstone.services.sealed_funds import SealedFunds
from fieldstone.services.storage.covers import COVER_SCHEMA
from fieldstone.services.storage.paid_once import PaidOnce
from fieldstone.services.storage.schema import GIB, MONTH_S, PERMANENT_STORAGE, SERVICE, STORAGE

__all__ = ["permanence"]

_OF_CHARGES = ("charged_micro_usd", "epochs", "not_from_fund_micro_usd", "paid_by_epoch")  # one epoch has not got them
UNFUNDED = "No fund pays for this object: its storage and repair are charged to credits, and it is lost when they end."


def permanence(
    gateway: str,
    segments: Sequence[bytes],
    stored_bytes: int,
    *,
    covers: pl.DataFrame | None,
    funds: pl.DataFrame | None,
    usage: pl.DataFrame | None,
    prices_micro_usd: Mapping[str, int],
    start_ms: int,
    end_ms: int,
) -> dict[str, Any] | None:
    """Return which of the object's segments are permanent and the funds that pay for them; None: it is not permanent.

    `stored_bytes`: of the object's shares; `covers`: COVER_SCHEMA; `funds`: FUND_SCHEMA; `usage`: USAGE_SCHEMA.
    """
    table = pl.DataFrame(schema=COVER_SCHEMA) if covers is None else covers
    known = set(table.filter(pl.col("gateway") == gateway)["segment"].to_list())
    covered = sum(segment in known for segment in segments)
    if not covered:
        return None
    mine = (pl.col("payer") == gateway) & (pl.col("service") == SERVICE) & (pl.col("covers") == PERMANENT_STORAGE)
    rows = [] if funds is None else list(funds.filter(mine).sort("endowed_ms", "fund").iter_rows(named=True))
    sealed = SealedFunds(
        rows, PaidOnce(), prices_micro_usd=prices_micro_usd, start_ms=start_ms, end_ms=end_ms, usage=usage
    )
    found = []
    for row in rows:
        review = sealed.review(row)
        found.append(
            {
                "balance_micro_usd": row["paid_in_micro_usd"] - row["drawn_micro_usd"],
                "drawn_micro_usd": row["drawn_micro_usd"],
                "fund": row["fund"],
                "paid_in_micro_usd": row["paid_in_micro_usd"],
                "paid_this_epoch_micro_usd": row["drawn_now_micro_usd"],
                "review": {name: value for name, value in review.items() if name not in _OF_CHARGES},
            }
        )
    holds = any(one["balance_micro_usd"] > 0 for one in found)
    warnings = [one["review"]["warning"] for one in found if one["review"]["warning"]]
    price = prices_micro_usd.get(PERMANENT_STORAGE, prices_micro_usd.get(STORAGE, 0))
    return {
        "balance_micro_usd": sum(one["balance_micro_usd"] for one in found),
        "covered_segments": covered,
        "funds": found,
        "paid_this_epoch_micro_usd": sum(one["paid_this_epoch_micro_usd"] for one in found),
        "segments": len(segments),
        "warnings": list(dict.fromkeys(warnings if holds else [*warnings, UNFUNDED])),
        "yearly_micro_usd": -(-stored_bytes * price * 365 * 86_400 // (GIB * MONTH_S)),
    }
