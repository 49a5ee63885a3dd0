"""Which verdicts cost a device its bond: those that end it because customers had to restore what it held.

A device that is disqualified for lost data, or because it stays away, left its customers with a repair. What it answers for is
what it held when its suspension began, since by the time it is disqualified the gateways have moved most of that
elsewhere. A device that keeps the data and serves tests badly loses its income and its held pay, not its bond.
The fault is named once, by the epoch that disqualifies: later epochs repeat the standing, not the fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from fieldstone.services.storage.reputation import DISQUALIFIED, GOOD, Standing

FAULTS = frozenset({"DATA_LOSS", "LOW_AUDIT_SCORE", "LOW_AVAILABILITY"})


def fault(verdict: Mapping[str, Any], end_ms: int) -> int:
    """Return the KiB (rounded up) that a verdict of the epoch that ended at `end_ms` makes the device answer for."""
    try:
        standing = msgspec.json.decode(verdict["detail"])["standing"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return 0  # no verdict on a device that was judged: a stranger, an equivocator
    if standing["state"] != DISQUALIFIED or standing["since_ms"] != end_ms or FAULTS.isdisjoint(standing["causes"]):
        return 0
    return -(-int(standing.get("at_risk_bytes", 0)) // 1_024)


def at_risk(before: Standing | None, now: Standing, start_ms: int, held_bytes: int) -> int:
    """Return what a device answers for: what it held in the epoch in which its suspension began; 0 while it is good."""
    if now.state == GOOD:
        return 0
    is_new = before is None or before.state == GOOD or (now.since_ms >= start_ms and now.state != DISQUALIFIED)
    return held_bytes if is_new or before is None else before.at_risk_bytes


def held_bytes(held: pl.DataFrame, start_ms: int) -> dict[str, int]:
    """Return device → bytes of the shares it held at any time since the epoch's start."""
    rows = held.filter(pl.col("until_ms") > start_ms).group_by("device").agg(pl.col("size_bytes").sum())
    return dict(rows.iter_rows())
