"""Which shares are charged as permanent: those of segments that their gateway declared permanent in a `cover` report.

A cover is the gateway's word about its own bill and touches nobody else's: it decides under which product the proven time
of its own shares is charged (`permanent-storage`, drawn from funds first, at the same price), never whether it is. How
many shares restore a segment bounds what reads of it are repair (`repair_reads`); the lowest number said counts. It
counts for the whole epoch in which it is received and as long as the network knows a share of the segment.
"""

from __future__ import annotations

from collections import defaultdict

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.schema import COVER, PERMANENT_STORAGE, STORAGE

__all__ = ["COVERS", "COVER_SCHEMA", "covers", "kept_covers", "with_product"]

COVERS = "covers"
COVER_SCHEMA: dict[str, pl.DataType] = {"gateway": pl.String(), "segment": pl.Binary(), "needed": pl.Int64()}


def covers(whole: EpochInput) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return (COVER_SCHEMA, sorted, each once; reports of each device that nobody can read)."""
    rows: list[tuple[str, bytes, int]] = []
    unreadable: dict[str, int] = defaultdict(int)
    reports = whole.evidence.get(COVER)
    for device, body in () if reports is None else reports.select("device", "body").iter_rows():
        try:
            one = records.decode(body, records.Cover)
            rows += [(device, segment, k) for segment, k in zip(one.segments, one.needed, strict=True)]
        except Rejected:
            unreadable[device] += 1
    new = pl.DataFrame(rows, schema=COVER_SCHEMA, orient="row")
    carried = whole.carry.get(COVERS, pl.DataFrame(schema=COVER_SCHEMA)).select(list(COVER_SCHEMA))
    every = pl.concat([carried, new]).group_by("gateway", "segment").agg(pl.col("needed").min())
    return every.sort("gateway", "segment"), dict(unreadable)


def kept_covers(found: pl.DataFrame, holdings: pl.DataFrame) -> pl.DataFrame:
    """Return the covers that the next epoch must know: of segments in `holdings` (HOLDING_SCHEMA, as it is carried)."""
    return found.join(holdings.select("gateway", "segment"), on=["gateway", "segment"], how="semi").sort(
        "gateway", "segment"
    )


def with_product(held: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return `held` with `product`: what the proven time of each share is charged as. Order is kept."""
    marked = found.select("gateway", "segment", product=pl.lit(PERMANENT_STORAGE))
    joined = held.join(marked, on=["gateway", "segment"], how="left", maintain_order="left")
    return joined.with_columns(pl.col("product").fill_null(STORAGE))
