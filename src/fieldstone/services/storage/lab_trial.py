"""Let the adversaries of the storage lab loose on the real rules, and say of every device what came of it.

    outcome = trial(seed=1, days=2)         device, label, penalised, accused, reasons, first_hours, income_ppm

`penalised`: earned less than an honest device with the same shares, or was accused. `accused`: a reason that says more
than "was away". `first_hours`: from the attack's start to the end of the epoch that first named it. `income_ppm`: what
customers paid for its storage, against what they would have paid for all of it. Epochs last six hours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fieldstone.services.storage.lab_providers import (
    BitRot,
    CorruptReads,
    Drops,
    Honest,
    HotLeaves,
    InflatesEgress,
    LateWhenHit,
    Outage,
    RefusesReads,
    RefusesWithFriends,
    Replays,
    RootsOnly,
    ServesCheckers,
    ServesPublicDraw,
    SilentWhenHit,
    Slanders,
    SlowReads,
    Vanishes,
)
from fieldstone.services.storage.lab_world import START_MS, Provider, World

__all__ = ["ATTACKS", "OUTCOME_SCHEMA", "TROUBLES", "Attack", "trial"]

EPOCH_HOURS = 6.0
HOUR_MS = 3_600_000
LATE_START_MS = START_MS + 12 * HOUR_MS
LOST_PPM = 999_000  # income below this is a loss: floors and the first minutes cost less
ACCUSING = frozenset(
    [
        "DATA_LOSS",
        "LOW_AUDIT_SCORE",
        "LOW_RETRIEVAL_SCORE",
        "SERVES_TESTS_ONLY",
        "DISSENTING_CHECKER",
        "BAD_VOUCHER",
        "COPIED_SHARE",
        "DUPLICATE_SEGMENT",
        "SHARED_DISK",
        "BAD_LEASE",
        "MISSING_LEAF",
        "WRONG_LEAF",
        "DISQUALIFIED",
    ]
)

OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "label": pl.String(),
    "penalised": pl.Boolean(),
    "accused": pl.Boolean(),
    "reasons": pl.List(pl.String()),
    "first_hours": pl.Float64(),  # null: never
    "suspended_hours": pl.Float64(),
    "income_ppm": pl.Int64(),
}


@dataclass(frozen=True)
class Attack:
    """`build` adds the adversaries to a world before shares are stored, `after` acts once they are."""

    summary: str
    build: Callable[[World, str], None]
    after: Callable[[World, str], None] = lambda world, name: None
    from_ms: int = START_MS


def _one(make: Callable[[], Honest]) -> Callable[[World, str], None]:
    def build(world: World, name: str) -> None:
        world.add(name, make(), label=name)

    return build


def _ring(make: Callable[[Callable[[World, str], bool]], Honest], size: int) -> Callable[[World, str], None]:
    def build(world: World, name: str) -> None:
        def in_ring(place: World, device: str) -> bool:
            return place.provider(device).label == name

        for number in range(size):
            world.add(f"{name}{number}", make(in_ring), label=name)

    return build


def _same_operator(world: World, name: str) -> None:
    for number in range(3):  # the first is an ordinary provider: who came first keeps the claim
        label = name if number else "original"
        world.add(f"{name}{number}", Honest(), operator=world.operator(name), label=label)


def _one_segment(world: World, name: str) -> None:
    """Lease shares of one segment to all identities of one operator."""
    mine = [one for one in world.providers if one.name.startswith(name)]
    for number in range(20):
        segment = world.dice.bytes(16)
        for index, one in enumerate(mine):
            world.lease(one, [world.share(segment, index + 3 * number % 40)])


def _same_bytes(world: World, name: str) -> None:
    """Lease the same bytes to all identities, each under another share id and segment: one disk would do."""
    mine = [one for one in world.providers if one.name.startswith(name)]
    for number in range(20):
        content = world.dice.bytes(32)
        for one in mine:
            world.lease(one, [world.share(world.dice.bytes(16), number, content)])


def _forged(world: World, name: str) -> None:
    """Lease shares that nobody stored: receipts signed by the wrong key, for an honest provider and for itself twice."""
    evil = next(one for one in world.providers if one.label == name)
    victim = world.providers[0]
    known = dict(victim.shares)
    world.lease(victim, [world.share(world.dice.bytes(16), 0)], gateway=evil.key, signer=evil.key)
    victim.shares = known


def _customers(world: World, name: str) -> None:
    """Let four customers of their own store with everybody and read in secret."""
    for number in range(4):
        world.store(10, gateway=world.add_customer(f"customer{number}").key)


def _one_disk(far_ms: int) -> Callable[[World, str], None]:
    """Add two providers whose bytes lie on one hard disk; the second reaches it over a line of `far_ms`."""

    def build(world: World, name: str) -> None:
        for number in range(2):
            one = world.add(f"{name}{number}", Honest(), label=name)
            one.disk, one.seek_ms, one.latency_ms = name, 8.0, one.latency_ms + number * far_ms

    return build


def _measured(world: World, name: str) -> None:
    """Let three customers store with these and two others, and ask them at the same moment in every round."""
    world.is_live, world.params = True, {**world.params, "live_every_rounds": 1}
    suspects = [one for one in world.providers if one.label == name]
    for number in range(3):
        customer = world.add_customer(f"customer{number}")
        for one in (*world.providers[:2], *suspects):
            count = max(4, len(one.shares) // 4)
            world.lease(
                one, [world.share(world.dice.bytes(16), place % 40) for place in range(count)], gateway=customer.key
            )


def _empty(world: World, name: str) -> None:
    """Throw everything away and lease much more of it from oneself: seats among the checkers, if leases gave any."""
    owner = world.add_customer("owner")
    for one in world.providers:
        if one.label == name:
            fakes = [world.share(world.dice.bytes(16), number % 40) for number in range(10 * len(one.shares))]
            world.lease(one, fakes, gateway=owner.key)
            one.shares.clear()


def _vanish(world: World, name: str) -> None:
    for number in range(max(1, round(len(world.providers) * 0.3 / 0.7))):
        world.add(f"{name}{number}", Vanishes(from_ms=LATE_START_MS), label=name)


ATTACKS: Mapping[str, Attack] = {
    "drop_1": Attack("keeps 99 %, says nothing", _one(lambda: Drops(share_dropped=0.01))),
    "drop_5": Attack("keeps 95 %, says nothing", _one(lambda: Drops(share_dropped=0.05))),
    "drop_50": Attack("keeps half, says nothing", _one(lambda: Drops(share_dropped=0.5))),
    "drop_after_payment": Attack(
        "honest for twelve hours, then drops 20 %",
        _one(lambda: Drops(share_dropped=0.2, from_ms=LATE_START_MS)),
        from_ms=LATE_START_MS,
    ),
    "silent_when_hit": Attack("drops 5 %, silent when asked about it", _one(lambda: SilentWhenHit(share_dropped=0.05))),
    "late_when_hit": Attack("drops 5 %, late when asked about it", _one(lambda: LateWhenHit(share_dropped=0.05))),
    "roots_only": Attack("keeps trees, invents leaves", _one(RootsOnly)),
    "replayed_proofs": Attack("keeps twelve hours of old answers", _one(Replays), from_ms=LATE_START_MS),
    "hot_leaves": Attack("keeps the first half of every share", _one(HotLeaves)),
    "refuses_reads": Attack("proves all, serves nobody", _one(RefusesReads)),
    "slow_reads": Attack("proves all, serves after 30 s", _one(SlowReads)),
    "corrupt_reads": Attack("proves all, serves noise", _one(CorruptReads)),
    "serves_checkers": Attack("serves committees of providers, refuses gateways", _one(ServesCheckers), _customers),
    "serves_public_draw": Attack("serves only what the public seed draws", _one(ServesPublicDraw), _customers),
    "slander_ring": Attack(
        "three operators denounce all others as checkers", _ring(lambda ring: Slanders(ring=ring), 3)
    ),
    "friends_of_a_refuser": Attack(
        "three operators serve nobody and vouch for each other", _ring(lambda ring: RefusesWithFriends(ring=ring), 3)
    ),
    "vanish_30": Attack("30 % of the shares leave at once", _vanish, from_ms=LATE_START_MS),
    "inflated_egress": Attack("forged, replayed and borrowed vouchers", _one(InflatesEgress)),
    "one_segment": Attack("one operator, three identities, shares of the same segments", _same_operator, _one_segment),
    "same_bytes": Attack("one operator, three identities, the same bytes", _same_operator, _same_bytes),
    "forged_lease": Attack("leases shares that nobody stored", _one(Honest), _forged),
    "one_disk": Attack("two operators, one hard disk", _one_disk(0), _measured),
    "fetches_on_demand": Attack(
        "two operators, one of whom fetches everything from the other", _one_disk(60), _measured
    ),
    "empty_checkers": Attack(
        "five operators store nothing, lease much from themselves and denounce all others as checkers",
        _ring(lambda ring: Slanders(ring=ring), 5),
        _empty,
    ),
}

RINGS = ("slander_ring", "friends_of_a_refuser", "empty_checkers")

TROUBLES: Mapping[str, Callable[[], Honest]] = {
    "outage": lambda: Outage(hours=3),
    "slow_line": lambda: Honest(delay_ms=600_000),
    "bit_rot_0.1%": lambda: BitRot(one_in=1_000),
}


def trial(
    seed: int,
    *,
    honest: int = 10,
    shares: int = 60,
    days: float = 2.0,
    attacks: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return OUTCOME_SCHEMA over one world per attack (a world's attackers shall not help each other's statistics).

    Every world has `honest` honest providers besides and one of each trouble; they are counted in each.
    """
    names = list(ATTACKS) if attacks is None else list(attacks)
    return pl.concat([_play(seed, name, honest, shares, days, overrides or {}) for name in names])


def _play(seed: int, name: str, honest: int, shares: int, days: float, overrides: Mapping[str, Any]) -> pl.DataFrame:
    attack = ATTACKS[name]
    world = World(seed * 1_000 + list(ATTACKS).index(name), overrides=overrides)
    # a ring among the checkers has a majority in some committees: what it does to others is counted apart
    label = "honest:slandered" if name in RINGS else "honest"
    for number in range(honest):
        world.add(f"honest{number}", Honest(), label=label)
    for trouble, make in TROUBLES.items():
        world.add(trouble, make(), label=f"{label}:{trouble}" if name in RINGS else f"honest:{trouble}")
    attack.build(world, name)
    world.store(shares)
    attack.after(world, name)
    found = {one.device: _Found(one) for one in world.providers}
    for _ in range(round(days * 24 / EPOCH_HOURS)):
        _, result = world.run(EPOCH_HOURS)
        usage = dict(
            result.usage.filter(pl.col("product") == "storage")
            .group_by("device")
            .agg(pl.col("units").sum())
            .iter_rows()
        )
        for row in result.verdicts.iter_rows(named=True):
            if row["device"] in found:
                found[row["device"]].take(row, usage.get(row["device"], 0), world.now_ms, attack.from_ms)
    rows = [one.row() for one in found.values()]
    return pl.DataFrame(rows, schema=OUTCOME_SCHEMA, orient="row").sort("device")


class _Found:
    """What became of one device so far."""

    def __init__(self, one: Provider) -> None:
        self._one = one
        self._reasons: dict[str, None] = {}
        self._first: float | None = None
        self._suspended: float | None = None
        self._paid = self._due = 0

    def take(self, row: Mapping[str, Any], paid: int, now_ms: int, from_ms: int) -> None:
        hours = (now_ms - from_ms) / HOUR_MS
        due = json.loads(row["detail"]).get("units", {}).get("due", 0)
        if hours > 0:
            self._paid += paid
            self._due += due
        self._reasons.update(dict.fromkeys(row["reasons"]))
        noticed = ACCUSING & set(row["reasons"]) or (due and paid * 1_000_000 < due * LOST_PPM)
        if noticed and hours > 0 and self._first is None:
            self._first = hours
        if {"SUSPENDED", "DISQUALIFIED"} & set(row["reasons"]) and self._suspended is None:
            self._suspended = hours

    def row(self) -> tuple[Any, ...]:
        income = self._paid * 1_000_000 // self._due if self._due else 0
        accused = bool(ACCUSING & set(self._reasons))
        lost = self._due > 0 and income < LOST_PPM
        return (
            self._one.device,
            self._one.label,
            accused or lost,
            accused,
            sorted(self._reasons),
            self._first,
            self._suspended,
            income,
        )
