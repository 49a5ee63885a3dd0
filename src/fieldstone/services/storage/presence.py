"""Who is there: when a device was last heard, and since when its silence counts as failure.

Silence is not fraud and moves no audit score. But who has not answered any round for `silent_s` cannot be counted on:
its shares are marked as failed (`failed_ms`), so reports, repair and leases stop counting them. The first answer ends
it, and every share is again what it was before; what was proven before the silence stays paid.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

__all__ = ["PRESENCE", "PRESENCE_SCHEMA", "Presence", "from_table", "to_table"]

PRESENCE = "presence"  # the table that is carried
PRESENCE_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "heard_ms": pl.Int64(),
    "silent_ms": pl.Int64(),
}


@dataclass(frozen=True, slots=True)
class Presence:
    """`heard_ms`: issue of the newest answered round (of the first one asked, when none was); `silent_ms`: issue of the
    round with which silence became failure, 0 while the device is heard. Unix ms."""

    heard_ms: int = 0
    silent_ms: int = 0

    def after(self, issued_ms: int, *, is_heard: bool, silent_ms: int) -> Presence:
        """Return the presence after a round that asked something. `silent_ms`: how long silence may last."""
        if is_heard:
            return Presence(issued_ms)
        heard_ms = self.heard_ms or issued_ms
        is_gone = issued_ms - heard_ms >= silent_ms
        return Presence(heard_ms, self.silent_ms or (issued_ms if is_gone else 0))


def from_table(table: pl.DataFrame | None) -> dict[str, Presence]:
    """Read PRESENCE_SCHEMA."""
    if table is None:
        return {}
    return {device: Presence(*row) for device, *row in table.select(list(PRESENCE_SCHEMA)).iter_rows()}


def to_table(checks: pl.DataFrame) -> pl.DataFrame:
    """Return PRESENCE_SCHEMA of stage 1's table: those who were ever asked."""
    return checks.filter(pl.col("heard_ms") > 0).select(list(PRESENCE_SCHEMA)).sort("device")
