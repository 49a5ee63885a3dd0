"""What gateways fetch about providers: where they are, and what the network's verdicts say of them.

The newest announcement of each device is kept from epoch to epoch. With it go the standing after the last closed epoch
(state, a score to weigh placement by, since when silence counts as failure) and the shares that failed since they were
last proven: a gateway gives those up and has them repaired, wherever else it would not have noticed. Where a bond is asked
for, how much more data it covers (`bond_room`): gateways place no more than that.

    score_ppm = audit · availability · retrieval, 0 for who is suspended, disqualified, silent or leaving
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.services.contract import DOCUMENT_SCHEMA, EpochInput
from fieldstone.services.storage.bond_room import bond_rooms
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.presence import PRESENCE
from fieldstone.services.storage.presence import from_table as presences
from fieldstone.services.storage.records import Announcement, decode
from fieldstone.services.storage.reputation import DISQUALIFIED, GOOD, Standing, from_table
from fieldstone.services.storage.schema import ANNOUNCE
from fieldstone.units import PPM

ANNOUNCED = "announced"  # the table that is carried
ANNOUNCED_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "url": pl.String(),
    "capacity_bytes": pl.Int64(),
    "announced_ms": pl.Int64(),
    "is_leaving": pl.Boolean(),
}
MOST_FAILED = 1_000  # shares named of one device; the count is always whole


def announced(whole: EpochInput) -> pl.DataFrame:
    """Return the newest readable announcement of every device: ANNOUNCED_SCHEMA, sorted by device.

    An announcement that cannot be read changes nothing: the one before stays. It is counted (`unreadable`). One without an
    address that can be dialled is no better: everybody who looks for providers would stumble over it.
    """
    newest: dict[str, tuple[Any, ...]] = {}
    carried = whole.carry.get(ANNOUNCED, pl.DataFrame(schema=ANNOUNCED_SCHEMA))
    for known in carried.select(*ANNOUNCED_SCHEMA).iter_rows():
        newest[known[0]] = known
    for row in _told(whole).sort("position").iter_rows(named=True):
        told = _read(row["body"])
        if told is None:
            continue
        newest[row["device"]] = (row["device"], told.url, told.capacity_bytes, row["received_ms"], told.is_leaving)
    rows = [newest[device] for device in sorted(newest)]
    return pl.DataFrame(rows, schema=ANNOUNCED_SCHEMA, orient="row")


def unreadable(part: EpochInput) -> Counter[str]:
    """Return how many announcements of each device cannot be read or name no address."""
    rows = _told(part).select("device", "body").iter_rows()
    return Counter(device for device, body in rows if _read(body) is None)


def _told(whole: EpochInput) -> pl.DataFrame:
    return whole.evidence.get(ANNOUNCE, pl.DataFrame(schema=DOCUMENT_SCHEMA))


def _read(body: bytes) -> Announcement | None:
    try:
        told = decode(body, Announcement)
        parts = urlsplit(told.url)
        return told if parts.hostname and parts.port != 0 else None
    except (Rejected, ValueError):  # the latter for `http://[`, `http://[zz]`, `http://a:b`
        return None


def directory(so_far: EpochInput) -> Mapping[str, Mapping[str, Any]]:
    """Return device → its address, capacity and standing, for gateways that look for providers."""
    standings = from_table(so_far.carry.get("reputation"))
    silences = presences(so_far.carry.get(PRESENCE))
    failed = _failed(so_far)
    shared = _shared(so_far)
    table = announced(so_far)
    rooms = bond_rooms(so_far, table["device"].to_list())
    holding = _holding(so_far)
    found: dict[str, dict[str, Any]] = {}
    for row in table.iter_rows(named=True):
        device = row["device"]
        standing, presence = standings.get(device), silences.get(device)
        silent_ms = presence.silent_ms if presence else 0
        if silent_ms and row["announced_ms"] > silent_ms and device not in holding:
            silent_ms = 0  # it is back and nothing is asked of it, so no answer can end its silence
        state = standing.state if standing else GOOD
        # who is silent or out has failed as a whole: there is nothing to name
        shares = [] if silent_ms or state == DISQUALIFIED else failed.get(device, [])
        found[device] = {
            **row,
            "state": state,
            "score_ppm": 0 if silent_ms or row["is_leaving"] else score_ppm(standing),
            "heard_ms": presence.heard_ms if presence else 0,
            "silent_ms": silent_ms,
            "shares_disk_with": shared.get(device, ""),
            "failed_count": len(shares),
            "failed": [share.hex() for share in shares[:MOST_FAILED]],
            **rooms.get(device, {}),
        }
    return found


def have_left(announcements: pl.DataFrame, holdings: pl.DataFrame, silent: Collection[str] = ()) -> frozenset[str]:
    """Return the devices that said they leave and hold nothing any more: whatever was held back of their pay is theirs.

    Both are tables of the carry: ANNOUNCED_SCHEMA and HOLDING_SCHEMA. Who is `silent` did not hand its shares over:
    they were restored elsewhere.
    """
    leaving = announcements.filter(pl.col("is_leaving"))["device"].to_list()
    holding = set(holdings.filter(pl.col("until_position") == FOREVER)["device"].to_list())
    return frozenset(device for device in leaving if device not in holding and device not in silent)


def score_ppm(standing: Standing | None) -> int:
    """Return by what placement weighs a device: the product of its scores, 10⁶ for one that nothing is known of."""
    if standing is None:
        return PPM
    if standing.state != GOOD:
        return 0
    return standing.audit.ppm * standing.online.ppm // PPM * standing.read.ppm // PPM


def _holding(so_far: EpochInput) -> frozenset[str]:
    holdings = so_far.carry.get("holdings")
    if holdings is None:
        return frozenset()
    return frozenset(holdings.filter(pl.col("until_position") == FOREVER)["device"].to_list())


def _shared(so_far: EpochInput) -> Mapping[str, str]:
    """Return device → the device that earns for the disk which it shares (`live_rounds`)."""
    table = so_far.carry.get("suspicions")
    if table is None or not table.height:
        return {}
    from fieldstone.services.storage.live_rounds import groups_of

    enrolled = dict(so_far.registry.select("device", "enrolled_ms").iter_rows())
    return groups_of(table, enrolled, so_far.params)


def _failed(so_far: EpochInput) -> dict[str, list[bytes]]:
    """Return the live shares of each device that failed since they were last proven, the newest failures first."""
    holdings = so_far.carry.get("holdings")
    if holdings is None:
        return {}
    lost = (pl.col("failed_ms") > pl.col("proven_ms")) & (pl.col("until_position") == FOREVER)
    rows = holdings.filter(lost).sort("failed_ms", "share", descending=[True, False])
    found: dict[str, list[bytes]] = {}
    for device, share in rows.select("device", "share").iter_rows():
        found.setdefault(device, []).append(share)
    return found
