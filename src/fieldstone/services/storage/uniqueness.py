"""Whose shares count: one share of a segment per operator, identical bytes once, a customer's data rather than one's own.

By design every provider gets another share, so "the same disk twice" shows as the same bytes (root) or as several
shares of one segment with one operator. Who came first keeps the claim: lowest journal position, then device, then share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from fieldstone.services.storage.holdings import FOREVER

__all__ = ["mark"]


def mark(held: pl.DataFrame, operators: Mapping[str, str], params: Mapping[str, Any]) -> pl.DataFrame:
    """Return `held` with `operator`, `flaw` (reason code or "") and `own` (leased by the operator's own gateway).

    A share released in the epoch was counted before; only live ones compete, and against those who came earlier.
    """
    names = pl.DataFrame(
        {"device": list(operators), "operator": [one.lower() for one in operators.values()]},
        schema={"device": pl.String(), "operator": pl.String()},
    )
    gateways = names.rename({"device": "gateway", "operator": "gateway_operator"})
    table = held.join(names, on="device", how="left").join(gateways, on="gateway", how="left")
    table = table.sort("from_position", "device", "share", "until_position")
    live = pl.col("until_position") == FOREVER
    # counting live rows before this one, in the order of arrival
    rank = live.cum_sum().over("operator", "segment")
    same = live.cum_sum().over("root")
    flaw = (
        pl.when(live & (same > 1))
        .then(pl.lit("COPIED_SHARE"))
        .when(live & (rank > int(params["segment_shares_per_operator"])))
        .then(pl.lit("DUPLICATE_SEGMENT"))
        .otherwise(pl.lit(""))
    )
    own = (pl.col("operator") == pl.col("gateway_operator")).fill_null(False)
    return table.with_columns(flaw=flaw, own=own).drop("gateway_operator").sort("device", "share", "from_position")
