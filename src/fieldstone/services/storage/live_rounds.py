"""From same-time challenges to a verdict: slowly, by several, and never about a slow line.

Whom a round draws together is public, so two names on one disk could refuse whenever they are. Who does not answer, while
the control does, and while it answers the network's own questions of the same round, counts as a hit for a *line*: it is kept
apart from the other by placement, as it would have been after an answer, and loses nothing. Who is silent to the network as well
is away, and the measurement is void.

When both suspects took `live_slowed_ppm` times as long together as alone, and the control did not, they share something:
a *disk* when what they were slowed by is `live_disk_times` what slowed them for chunks side by side (as many bytes for the
line, one seek for the disk), else a *line*. What slows all three is the checker's own line, and such a measurement is
void, as are ones whose receipts do not verify. For each pair, each operator of gateways and each of the two kinds a sum (CUSUM)
rises by ln(0.5/0.1) with a hit and falls by −ln(0.5/0.9) with a miss; an operator raises the alarm at ln(10⁶), which a pair
whose hits come by chance reaches at most once in a million measurements (10 % of hits; the noisiest lines simulated, ± 200 ms,
give 9.7 %). A pair shares a disk when `live_quorum` operators, none of them the owner of one of the two, have their alarm up
for it, and together pay for `live_stake_ppm` of what both prove for customers: wallets and a few leased kilobytes cost
nothing, so a count of operators alone would let anybody accuse anybody. It comes down when the sum is back at zero.

Of the devices that share a disk one earns: the one enrolled first. The others' quality is 0, which ends their bootstrap;
customers go on paying for what is proven, and the directory names the group, so that placement takes it for one operator.
Devices that share a line are one position in the network and no more: placement takes them for one operator, and they lose
nothing. A disk that delays its answers side by side passes for a line; that keeps it from earning nothing, not from placement.
The timings are the gateway's word, the answers the provider's: a lie needs as many operators as an alarm does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from fieldstone.errors import Rejected
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import Posed
from fieldstone.services.storage.directory import announced
from fieldstone.services.storage.holdings import device_keys, opened
from fieldstone.services.storage.live_draw import PHASES, challenge_seed, group
from fieldstone.services.storage.pool.directory import prefix_of, region_of
from fieldstone.services.storage.schema import LIVE
from fieldstone.units import PPM

__all__ = ["LIVE_SCHEMA", "SUSPICIONS", "Suspicions", "groups_of", "heard_in", "suspicions", "weigh"]

SUSPICIONS = "suspicions"  # the table that is carried
DISK, LINE = "disk", "line"
LIVE_SCHEMA: dict[str, pl.DataType] = {
    "first": pl.String(),  # of the two in alphabetical order
    "second": pl.String(),
    "operator": pl.String(),  # of the gateways that measured
    "kind": pl.String(),  # disk | line
    "sum": pl.Int64(),  # 10⁻⁶ nat
    "is_up": pl.Boolean(),
    "measured": pl.Int64(),
    "hits": pl.Int64(),
    "stake_ppm": pl.Int64(),  # of what was proven for customers of the two, that this operator pays: the lesser of both
}


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What one operator's gateways found about a pair so far."""

    sum: int = 0
    is_up: bool = False
    measured: int = 0
    hits: int = 0
    stake_ppm: int = 0

    def after(self, is_hit: bool, params: Mapping[str, Any]) -> Suspicion:
        """Return the suspicion after a measurement."""
        alarm = int(params["live_alarm_micronats"])
        step = int(params["live_hit_micronats"]) if is_hit else -int(params["live_miss_micronats"])
        now = min(max(0, self.sum + step), 2 * alarm)
        return Suspicion(
            now, now >= alarm or (self.is_up and now > 0), self.measured + 1, self.hits + is_hit, self.stake_ppm
        )


@dataclass(frozen=True)
class Suspicions:
    """`table`: LIVE_SCHEMA. `shared`: device → the device of its group on a disk that was enrolled first; `placed`: the
    same, of those that are one position in the network by a disk or a line. `bad`: reports that
    could not be used, `unasked`: that no round drew, by gateway."""

    table: pl.DataFrame
    shared: Mapping[str, str]
    placed: Mapping[str, str]
    bad: Mapping[str, int]
    unasked: Mapping[str, int]


def weigh(measures: Sequence[records.LiveMeasure], params: Mapping[str, Any]) -> str | None:
    """Tell what a measurement (first, second, control) says that the two share: disk, line, or "" for nothing; None: void.
    All three answered."""
    slowed = [
        one.together_us * 1_000_000 >= one.alone_us * int(params["live_slowed_ppm"])
        and one.together_us - one.alone_us >= int(params["live_slowed_us"])
        for one in measures
    ]
    if slowed[2]:
        return None
    if not (slowed[0] and slowed[1]):
        return ""
    times = int(params["live_disk_times"])
    is_disk = all(
        one.together_us - one.alone_us >= times * (one.beside_together_us - one.beside_alone_us) for one in measures[:2]
    )
    return DISK if is_disk else LINE


def heard_in(checks: pl.DataFrame) -> frozenset[tuple[str, int]]:
    """Return (device, round) of the judged rounds that a device answered in time. `checks`: CHECK_SCHEMA."""
    rows = checks.select("device", "rounds").iter_rows()
    return frozenset(
        (d, one["number"]) for d, rounds in rows for one in rounds if one["state"] not in ("silent", "late")
    )


def suspicions(
    whole: EpochInput, held: pl.DataFrame, rounds: Sequence[Posed], heard: Container[tuple[str, int]] = frozenset()
) -> Suspicions:
    """Fold the epoch's `live` reports into the carried sums. `heard`: (device, round) that were answered in time."""
    wallets = {device: owner.lower() for device, owner in whole.registry.select("device", "operator").iter_rows()}
    state = {(row[0], row[1], row[2], row[3]): Suspicion(*row[4:]) for row in _carried(whole).iter_rows()}
    posed = {one.asked.number: one.asked for one in rounds}
    within_ms = int(whole.params["check_within_s"]) * 1_000
    table = whole.evidence.get(LIVE)
    bad: dict[str, int] = defaultdict(int)
    unasked: dict[str, int] = defaultdict(int)
    done: set[tuple[str, int]] = set()
    places = _places(whole)
    keys = device_keys(whole)
    reports = () if table is None else table.sort("position").select("device", "received_ms", "body").iter_rows()
    for gateway, received_ms, body in reports:
        try:
            said = records.decode(body, records.LiveSet)
        except Rejected:
            bad[gateway] += 1
            continue
        asked = posed.get(said.number)
        if gateway not in wallets or asked is None or (gateway, said.number) in done:
            unasked[gateway] += 1
            continue
        if received_ms > asked.issued_ms + within_ms:
            continue  # late is nothing
        done.add((gateway, said.number))
        at = (pl.col("from_position") < asked.position) & (pl.col("until_position") > asked.position)
        paid = held.filter((pl.col("gateway") == gateway) & at)["device"].unique().to_list()
        near = {device: places.get(device, ("", "")) for device in paid}
        drawn = group(asked.seed, gateway, near, int(whole.params["live_every_rounds"]))
        if drawn is None or tuple(one.provider for one in said.measures) != drawn:
            unasked[gateway] += 1
            continue
        if not all(_is_signed(asked.seed, gateway, one, keys) for one in said.measures if one.is_answered):
            bad[gateway] += 1
            continue
        silent = [one.provider for one in said.measures if not one.is_answered]
        if not silent:
            found = weigh(said.measures, whole.params)
        else:
            evades = said.measures[2].is_answered and all((device, said.number) in heard for device in silent)
            found = LINE if evades else None
        owner, (first, second) = wallets[gateway], sorted(drawn[:2])
        if found is None or owner in (wallets.get(first), wallets.get(second)):
            continue
        for kind in (LINE,) if silent else (DISK, LINE):
            key = first, second, owner, kind
            state[key] = state.get(key, Suspicion()).after(found == kind, whole.params)
    stakes = _stakes(held, wallets)
    for (first, second, owner, kind), one in state.items():
        both = [stakes[device] for device in (first, second) if device in stakes]
        if len(both) == 2:  # nothing proven is no news of who pays: what was known stays
            state[first, second, owner, kind] = replace(one, stake_ppm=min(who.get(owner, 0) for who in both))
    rows = [(*key, *_fields(one)) for key, one in sorted(state.items())]
    table = pl.DataFrame(rows, schema=LIVE_SCHEMA, orient="row")
    enrolled = dict(whole.registry.select("device", "enrolled_ms").iter_rows())
    shared = groups_of(table.filter(pl.col("kind") == DISK), enrolled, whole.params)
    return Suspicions(table, shared, groups_of(table, enrolled, whole.params), bad, unasked)


def _stakes(held: pl.DataFrame, wallets: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return device → operator of gateways → ppm of what was proven on it for others than its owner."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    proven = held.group_by("gateway", "device").agg(pl.col("proven_units").sum()).filter(pl.col("proven_units") > 0)
    for gateway, device, units in proven.iter_rows():
        owner = wallets.get(gateway)
        if owner is not None and owner != wallets.get(device):
            sums[device][owner] += units
    return {
        device: {owner: units * PPM // sum(who.values()) for owner, units in who.items()}
        for device, who in sums.items()
    }


def groups_of(table: pl.DataFrame, enrolled: Mapping[str, int], params: Mapping[str, Any]) -> dict[str, str]:
    """Return device → first enrolled device of its group, for devices in pairs that enough operators found to share one
    thing. Of the whole table that is one position in the network; of rows of one kind, that disk or line."""
    up = table.filter(pl.col("is_up")).group_by("first", "second", "operator").agg(pl.col("stake_ppm").max())
    found = up.group_by("first", "second").agg(count=pl.len(), stake=pl.col("stake_ppm").sum())
    enough = (pl.col("count") >= int(params["live_quorum"])) & (pl.col("stake") >= int(params["live_stake_ppm"]))
    pairs = found.filter(enough).select("first", "second").sort("first", "second").rows()
    leader: dict[str, str] = {}

    def find(device: str) -> str:
        while leader.setdefault(device, device) != device:
            device = leader[device]
        return device

    for first, second in pairs:
        low, high = sorted((find(first), find(second)), key=lambda one: (enrolled.get(one, 2**62), one))
        leader[high] = low
    return {device: find(device) for device in sorted(leader)}


def _fields(one: Suspicion) -> tuple[int, bool, int, int, int]:
    return one.sum, one.is_up, one.measured, one.hits, one.stake_ppm


def _carried(whole: EpochInput) -> pl.DataFrame:
    return whole.carry.get(SUSPICIONS, pl.DataFrame(schema=LIVE_SCHEMA)).select(list(LIVE_SCHEMA))


def _places(whole: EpochInput) -> dict[str, tuple[str, str]]:
    places = {device: (lat, lon) for device, lat, lon in whole.registry.select("device", "lat", "lon").iter_rows()}
    urls = dict(announced(whole).select("device", "url").iter_rows())
    return {device: (prefix_of(url), region_of(*places.get(device, (None, None)))) for device, url in urls.items()}


def _is_signed(seed: bytes, gateway: str, one: records.LiveMeasure, keys: Mapping[str, tuple[str, ...]]) -> bool:
    """Tell whether the provider signed that it answered all four challenges."""
    for receipt, phase in zip(one.receipts, PHASES, strict=True):
        try:
            said = opened(receipt, records.LiveReceipt, one.provider, records.LIVE_RECEIPT, keys)
        except Rejected:
            return False
        if said.provider != one.provider or said.seed != challenge_seed(seed, gateway, one.provider, phase):
            return False
    return True
