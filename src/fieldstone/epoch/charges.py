"""Hold the charges that draw on funds against the sealed use of the epoch they are for: funds pay for what was verified.

The fold over the journal (`market.fund_fold`) knows what a fund may pay, not what was used; the epochs that a verifier has
agreed with do. So a node cannot let a fund pay for repair that no epoch found, even within its allowance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from fieldstone.errors import CheckFailed
from fieldstone.journal import Entry, EntryKind
from fieldstone.market.metering import Delivered, decode

Use = Callable[[int, str], pl.DataFrame | None]
"""(epoch, service) → USAGE_SCHEMA; None: nothing was used."""


def check_charges(entries: Iterable[Entry], used: Use) -> None:
    """Raise CheckFailed for a charge that draws on a fund for other use than the epoch it names has verified."""
    for entry in entries:
        if entry.kind is not EntryKind.METERING:
            continue
        body = decode(entry.body)
        if not isinstance(body, Delivered) or not body.funds:
            continue
        table = used(body.epoch, body.service)
        found: dict[str, int] = {}
        if table is not None:
            mine = table.filter((pl.col("payer") == body.payer) & (pl.col("product") == body.product))
            found = {device: n for device, n in mine.group_by("device").agg(pl.col("units").sum()).iter_rows() if n}
        if found != body.devices:
            raise CheckFailed(
                f"charge {body.order} draws on funds for {sum(body.devices.values())} units of {body.product} of "
                f"{len(body.devices)} devices; epoch {body.epoch} verified {sum(found.values())} of {len(found)}"
            )
