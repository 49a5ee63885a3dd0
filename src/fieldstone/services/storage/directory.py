"""Where providers are: the newest announcement of each, kept from epoch to epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.records import Announcement, decode
from fieldstone.services.storage.schema import ANNOUNCE

ANNOUNCED = "announced"  # the table that is carried
ANNOUNCED_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "url": pl.String(),
    "capacity_bytes": pl.Int64(),
    "announced_ms": pl.Int64(),
}


def announced(whole: EpochInput) -> pl.DataFrame:
    """Return the newest readable announcement of every device: ANNOUNCED_SCHEMA, sorted by device.

    An announcement that cannot be read changes nothing: the one before stays.
    """
    newest: dict[str, tuple[Any, ...]] = {}
    carried = whole.carry.get(ANNOUNCED, pl.DataFrame(schema=ANNOUNCED_SCHEMA))
    for known in carried.select(*ANNOUNCED_SCHEMA).iter_rows():
        newest[known[0]] = known
    for row in whole.evidence[ANNOUNCE].sort("position").iter_rows(named=True):
        try:
            told = decode(row["body"], Announcement)
        except Rejected:
            continue
        newest[row["device"]] = (row["device"], told.url, told.capacity_bytes, row["received_ms"])
    rows = [newest[device] for device in sorted(newest)]
    return pl.DataFrame(rows, schema=ANNOUNCED_SCHEMA, orient="row")


def directory(so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
    """Return device → its address and capacity, for gateways that look for providers."""
    return {row["device"]: row for row in announced(so_far).iter_rows(named=True)}
