"""Whose shares earn bootstrap: one share of a segment per operator, identical bytes once, a customer's data rather than one's own.

By design every provider gets another share, so "the same disk twice" shows as the same bytes (root) or as several
shares of one segment with one operator. Who came first keeps the claim, for as long as its lease lasts and in epochs in
which it proves the bytes: lowest journal position, then device, then share; what an operator leases to himself comes after
everybody else's. A later claim counts from the end of the earlier one, so a share that a repair moved loses the seconds
in which both were leased, and copies that are released before the epoch ends gain nothing. A gateway that was revoked leaves nobody who pays: what it
leased counts for nothing, or a gateway could be enrolled, lease, and be revoked to have others pay for ever.

What does not count is paid by its customers all the same. Which segment a share is of is their word, and so is what they
leased before: a gateway that got its money back for duplicates would have every share stored for the price of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappush, heappushpop

import polars as pl

from fieldstone.services.contract import EpochInput

__all__ = ["mark"]

_CLAIM = ("own", "from_position", "device", "share", "until_position")  # the first has the claim


def mark(held: pl.DataFrame, operators: Mapping[str, str], whole: EpochInput) -> pl.DataFrame:
    """Return `held` with `operator`, `own` (leased by the operator's own gateway), `unpaid` (leased by one that is not
    enrolled any more, so nobody pays for it), `flaw` (reason code or "") and `flawed_units`: KiB-seconds of
    `proven_units` that do not count: nobody pays for them, or somebody else had the claim."""
    names = pl.DataFrame(
        {"device": list(operators), "operator": [one.lower() for one in operators.values()]},
        schema={"device": pl.String(), "operator": pl.String()},
    )
    gateways = names.rename({"device": "gateway", "operator": "gateway_operator"})
    table = held.join(names, on="device", how="left").join(gateways, on="gateway", how="left")
    own = (pl.col("operator") == pl.col("gateway_operator")).fill_null(False)
    unpaid = pl.col("gateway_operator").is_null()
    table = table.with_columns(own=own, unpaid=unpaid).drop("gateway_operator").sort("device", "share", "from_position")
    table = table.with_row_index("row")
    most = int(whole.params["segment_shares_per_operator"])
    copied = _taken(table, ["root"], 1, whole)
    double = _taken(table, ["operator", "segment"], most, whole)
    rows = [(row, max(copied.get(row, 0), double.get(row, 0)), row in copied) for row in sorted({*copied, *double})]
    schema = {"row": pl.UInt32(), "flawed_units": pl.Int64(), "is_copy": pl.Boolean()}
    joined = table.join(pl.DataFrame(rows, schema=schema, orient="row"), on="row", how="left", maintain_order="left")
    flaw = pl.when("is_copy").then(pl.lit("COPIED_SHARE")).otherwise(pl.lit("DUPLICATE_SEGMENT"))
    counts = pl.col("flawed_units").is_null()
    return joined.with_columns(
        flaw=pl.when("unpaid").then(pl.lit("NO_PAYER")).when(counts).then(pl.lit("")).otherwise(flaw),
        flawed_units=pl.when("unpaid").then("proven_units").otherwise(pl.col("flawed_units").fill_null(0)),
    ).drop("row", "is_copy")


def _taken(table: pl.DataFrame, group: list[str], most: int, whole: EpochInput) -> dict[int, int]:
    """Return row → units of it that were proven while `most` others of its group had the claim."""
    rivals = table.filter((pl.col("proven_units") > 0) & ~pl.col("unpaid")).filter(pl.len().over(group) > most)
    found: dict[int, int] = {}
    for _, one in rivals.sort(*_CLAIM).group_by(group, maintain_order=True):
        ends: list[int] = []  # the `most` latest of the earlier claims, a heap
        for row, from_ms, until_ms, units in one.select("row", "from_ms", "until_ms", "proven_units").iter_rows():
            low, high = max(from_ms, whole.start_ms), min(until_ms, whole.end_ms)
            taken_ms = max(0, min(ends[0], high) - low) if len(ends) == most else 0
            if taken_ms:
                found[row] = min(units, -(-units * taken_ms // max(1, high - low)))
            if len(ends) < most:
                heappush(ends, until_ms)
            else:
                heappushpop(ends, until_ms)
    return found
