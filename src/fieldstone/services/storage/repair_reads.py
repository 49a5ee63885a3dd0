"""Which of the egress was repair of permanent objects, so that funds pay for it: by what was leased anew, at nobody's word.

A voucher sums up all that a gateway ordered from a provider; nothing on it says what for, and a gateway that could label
its reads would have funds pay for them. What the network does see is the repair's result: shares leased anew. So, for
each segment that was permanent before the epoch began and of which shares were leased in it,

    budget    needed · largest share                      k shares restore a segment: one read of it, however many were lost
    from d    min(egress counted from d, d's share, what is left of the budget)            every share is read once at most

and all other egress is egress. Bytes are bytes: whether these very ones were read for the repair does not matter, their
sum does. `needed` is the gateway's word, at most the number of live shares that were there before. What was not claimed yet
(providers claim every few minutes) stays open for `repair_claim_s`. A segment that is repaired twice in an epoch counts once.

Reason: with the customer gone nobody's credits pay for reads, and an object that is paid for, but not repaired, is lost all
the same. Whoever has the gateway's key can have shares leased anew that were not lost, with a provider who helps; that
costs the fund what a repair costs, up to its allowance (`paid_once`), and everybody else nothing.

Invariant (a test bears this name): repair never exceeds what was ordered, nor one read of the segments leased anew; with
egress it adds up to what was counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.covers import COVERS
from fieldstone.services.storage.holdings import FOREVER

__all__ = ["REPAIRS", "REPAIR_SCHEMA", "Mended", "divide", "mended", "to_table"]

REPAIRS = "repairs"  # the table that is carried
REPAIR_SCHEMA: dict[str, pl.DataType] = {
    "gateway": pl.String(),
    "segment": pl.Binary(),
    "made_ms": pl.Int64(),  # end of the epoch in which its shares were leased anew
    "left_bytes": pl.Int64(),  # of its one read, that no egress was counted for yet
}


@dataclass(slots=True)
class Mended:
    """A segment whose shares were leased anew. `shares`: (device, bytes) of those that could be read."""

    gateway: str
    segment: bytes
    made_ms: int
    left_bytes: int
    shares: Sequence[tuple[str, int]]


def mended(whole: EpochInput, held: pl.DataFrame) -> list[Mended]:
    """Return what was repaired in the epoch and what earlier repairs left open, oldest first. `held`: HELD_SCHEMA."""
    carried = whole.carry.get(REPAIRS, pl.DataFrame(schema=REPAIR_SCHEMA)).select(list(REPAIR_SCHEMA))
    open_ms = whole.start_ms - int(whole.params["repair_claim_s"]) * 1_000
    carried = carried.filter(pl.col("made_ms") >= open_ms)
    known = whole.carry.get(COVERS)
    before = whole.carry.get("holdings")
    if known is None or not known.height or before is None:
        return []
    mine = held.join(known, on=["gateway", "segment"], how="inner")
    mine = mine.filter((pl.col("until_position") == FOREVER) | (pl.col("until_ms") > open_ms))
    lease = ["device", "share", "from_position"]
    old = mine.join(before.select(lease), on=lease, how="semi")
    anew = mine.join(before.select(lease), on=lease, how="anti").filter(pl.col("until_position") == FOREVER)
    wanted = pl.concat([anew.select("gateway", "segment"), carried.select("gateway", "segment")]).unique()
    shares: dict[tuple[str, bytes], dict[str, int]] = defaultdict(dict)
    needed: dict[tuple[str, bytes], int] = {}
    readable = old.join(wanted, on=["gateway", "segment"], how="semi").sort("gateway", "segment", "device", "share")
    columns = readable.select("gateway", "segment", "device", "size_bytes", "needed").iter_rows()
    for gateway, segment, device, size_bytes, count in columns:
        there = shares[gateway, segment]
        there[device] = max(size_bytes, there.get(device, 0))
        needed[gateway, segment] = count
    found = [
        Mended(gateway, segment, made_ms, left, sorted(shares[gateway, segment].items()))
        for gateway, segment, made_ms, left in carried.sort("made_ms", "gateway", "segment").iter_rows()
    ]
    for gateway, segment in anew.select("gateway", "segment").unique().sort("gateway", "segment").iter_rows():
        if (gateway, segment) in needed:
            there = shares[gateway, segment]
            budget = min(needed[gateway, segment], len(there)) * max(there.values())
            found.append(Mended(gateway, segment, whole.end_ms, budget, sorted(there.items())))
    return found


def divide(found: Iterable[Mended], egress: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return what of the egress, (gateway, device) → bytes, was repair; `left_bytes` of `found` fall by it."""
    repair: dict[tuple[str, str], int] = defaultdict(int)
    for one in found:
        for device, size_bytes in one.shares:
            pair = one.gateway, device
            part = min(size_bytes, one.left_bytes, egress.get(pair, 0) - repair.get(pair, 0))
            if part > 0:
                repair[pair] += part
                one.left_bytes -= part
    return dict(repair)


def to_table(found: Iterable[Mended]) -> pl.DataFrame:
    """Return REPAIR_SCHEMA: what is still open, for the next epoch."""
    rows: list[tuple[Any, ...]] = [
        (one.gateway, one.segment, one.made_ms, one.left_bytes) for one in found if one.left_bytes > 0
    ]
    return pl.DataFrame(rows, schema=REPAIR_SCHEMA, orient="row").sort("made_ms", "gateway", "segment")
