"""Egress: what a provider is paid for bytes that were read. Cumulative vouchers, of which only the rise counts.

A voucher is an AccessOrder that the gateway signed; `egress_bytes` in it is the sum of all it ever ordered from this
provider. Redeemed is the newest one; what an earlier epoch counted is carried, so no voucher is paid twice and a lost
one costs nothing. Counted at most is what the device's line can send and what its stored shares make plausible; what
exceeds that is not lost but redeemable later, so a hot object is paid late and an invented one slowly, in the open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.reasons import reason
from fieldstone.services.storage import records
from fieldstone.services.storage.holdings import opened
from fieldstone.units import DAY_MS

__all__ = ["EGRESS_SCHEMA", "EGRESS_STRUCT", "EgressCount", "count_egress"]

EGRESS_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "gateway": pl.String(),
    "redeemed_bytes": pl.Int64(),  # cumulative: what has been counted so far, this epoch's included
}
EGRESS_STRUCT = pl.Struct(
    {
        "gateway": pl.String(),
        "redeemed_bytes": pl.Int64(),
        "counted_bytes": pl.Int64(),
        "held_back_bytes": pl.Int64(),
    }
)


@dataclass
class EgressCount:
    """`rows`: EGRESS_STRUCT, sorted by gateway, carried totals included."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    bad_reports: int = 0
    bad_vouchers: int = 0


def count_egress(
    device: str,
    claims: list[tuple[int, bytes]],
    redeemed: Mapping[str, int],
    stored: Mapping[str, int],
    length_ms: int,
    params: Mapping[str, Any],
    keys: Mapping[str, tuple[str, ...]],
) -> EgressCount:
    """Count one device's vouchers. `stored`: gateway → bytes leased at the end. All amounts are bytes."""
    found = EgressCount()
    newest = dict(redeemed)
    for _, body in claims:
        try:
            vouchers = records.decode(body, records.EgressClaim).vouchers
        except Rejected:
            found.bad_reports += 1
            continue
        for voucher in vouchers:
            try:
                order = _voucher(voucher, device, keys)
            except Rejected:
                found.bad_vouchers += 1
                continue
            if order.egress_bytes < newest.get(order.gateway, 0):
                found.bad_vouchers += 1
            else:
                newest[order.gateway] = order.egress_bytes
    line = int(params["egress_line_bytes_s"]) * length_ms // 1_000
    for gateway in sorted(newest):
        before = redeemed.get(gateway, 0)
        risen = newest[gateway] - before
        plausible = stored.get(gateway, 0) * int(params["egress_stored_times_day"]) * length_ms // DAY_MS
        floor = int(params["egress_floor_bytes"]) * length_ms // DAY_MS
        counted = min(risen, line, max(plausible, floor))
        line -= counted
        found.rows.append(
            {
                "gateway": gateway,
                "redeemed_bytes": before + counted,
                "counted_bytes": counted,
                "held_back_bytes": risen - counted,
            }
        )
    return found


def _voucher(message: bytes, device: str, keys: Mapping[str, tuple[str, ...]]) -> records.AccessOrder:
    claimed = records.decode(cose.parse(message).payload, records.AccessOrder)
    if claimed.provider != device:
        raise Rejected(reason("BAD_SIGNATURE"), claimed.provider, f"the voucher is not for {device}")
    return opened(message, records.AccessOrder, claimed.gateway, records.ACCESS, keys)
