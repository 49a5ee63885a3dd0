"""What an epoch hands on to the next one, and what gateways reported that does not count.

What was redeemed of vouchers, and how a device stood, outlasts its absence from the registry: a revoked device may be
recovered, and would be paid again for all that it ever served, or be rid of a disqualification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import Posed
from fieldstone.services.storage.device_tables import unnest
from fieldstone.services.storage.egress import EGRESS_SCHEMA
from fieldstone.services.storage.holdings import HOLDING_SCHEMA
from fieldstone.services.storage.schema import LEASE, RELEASE

__all__ = ["carried", "gateway_counts", "kept_egress", "kept_holdings", "with_absent"]


def gateway_counts(whole: EpochInput, checks: pl.DataFrame) -> tuple[set[str], dict[str, int]]:
    """Return the gateways, and how many lines of theirs do not count: refused by a provider's part, or of no provider."""
    gateways: set[str] = set()
    bad: dict[str, int] = defaultdict(int)
    enrolled = set(whole.registry["device"].to_list())
    for kind, record in ((LEASE, records.Lease), (RELEASE, records.Release)):
        table = whole.evidence.get(kind)
        for device, body in () if table is None else table.select("device", "body").iter_rows():
            gateways.add(device)
            try:
                shares = records.decode(body, record).shares  # type: ignore[attr-defined]
            except Rejected:
                bad[device] += 1
                continue
            bad[device] += sum(_provider_of(line) not in enrolled for line in shares)
    if "holdings" in whole.carry:
        gateways |= set(whole.carry["holdings"]["gateway"].to_list())
    for refused in checks["refused"]:
        for one in refused:
            bad[one["gateway"]] += 1
    return gateways, bad


def _provider_of(line: Any) -> str:
    if isinstance(line, tuple):
        return str(line[0])
    try:
        return records.decode(cose.parse(line.receipt).payload, records.ShareReceipt).provider
    except Rejected:
        return ""


def kept_holdings(held: pl.DataFrame, rounds: list[Posed], whole: EpochInput) -> pl.DataFrame:
    """Return the live holdings, and the released ones that an open round may have asked for or whose receipt is valid."""
    first = rounds[0].asked if rounds else None
    still = pl.col("until_position") > (first.position if first is not None else 2**61)
    still |= pl.col("until_ms") > whole.end_ms - int(whole.params["receipt_valid_s"]) * 1_000
    table = held.filter(still).select(list(HOLDING_SCHEMA))
    return table.sort("device", "share", "from_position")


def carried(checks: pl.DataFrame, column: str, schema: Mapping[str, Any], then: str) -> pl.DataFrame:
    """Return what stage 1 found in a column for the next epoch, sorted by device and column `then`."""
    if not checks.height or not checks[column].list.len().sum():
        return pl.DataFrame(schema=schema)
    return unnest(checks, column).select(list(schema)).cast(dict(schema)).sort("device", then)  # type: ignore[arg-type]


def kept_egress(checks: pl.DataFrame, whole: EpochInput) -> pl.DataFrame:
    """Return EGRESS_SCHEMA for the next epoch: of gateways that are enrolled, or were when something was redeemed.

    Keys cost nothing; vouchers of keys that nobody enrolled are charged to nobody and would be carried for ever.
    """
    table = carried(checks, "egress", EGRESS_SCHEMA, "gateway")
    before = whole.carry.get("egress", pl.DataFrame(schema=EGRESS_SCHEMA)).select(list(EGRESS_SCHEMA))
    pair = ["device", "gateway"]
    enrolled = table.filter(pl.col("gateway").is_in(whole.registry["device"].to_list()))
    known = table.join(enrolled, on=pair, how="anti").join(before, on=pair, how="semi")
    return with_absent(pl.concat([enrolled, known]), before, whole).sort(*pair)


def with_absent(table: pl.DataFrame, before: pl.DataFrame | None, whole: EpochInput) -> pl.DataFrame:
    """Return a table of this epoch's devices with the rows of those that were carried and are in the registry no more."""
    if before is None:
        return table
    absent = before.select(table.columns).filter(~pl.col("device").is_in(whole.registry["device"].to_list()))
    return pl.concat([table, absent]).sort("device", maintain_order=True)
