"""How much more of customers' data a device's bond covers: what gateways look at before they place a share.

    room = what is left of the device's bond + an even part of what is left of the operator's, among his devices
The parts of all devices together never exceed the bond, so a gateway may fill each of them up. Data above the cover stays
where it is and is paid: only what it would earn as bootstrap is lost (`rewards.bonded`).

It is the cover of the rewards, told before the epoch is over: what a device has to have at risk for other services
(`Bonds.elsewhere`, by what they carried from the last epoch) uses up the same bond, and a device that is disqualified
earns nothing, so it uses up none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from fieldstone.rewards.bonded import OPERATOR_KEY, Bonded, Need, cover, key_of, needed_base
from fieldstone.services.bonding import BondTerms
from fieldstone.services.contract import EpochInput
from fieldstone.services.storage.holdings import FOREVER, fold
from fieldstone.services.storage.reputation import DISQUALIFIED, from_table
from fieldstone.services.storage.schema import SERVICE

ELSEWHERE = ""  # all other services together
KIB = 1_024
KIB_PER_TIB = 2**30


def bond_rooms(so_far: EpochInput, announced: Collection[str]) -> Mapping[str, dict[str, Any]]:
    """Return device → `bond_covered_bytes`, `bond_held_bytes`, `bond_room_bytes` of announced devices; nothing where the
    policy asks for no bond."""
    bonds = so_far.bonds
    if bonds is None:
        return {}
    rule = Bonded(BondTerms("TiB", KIB_PER_TIB, 0), bonds.per_unit_base)
    operators = dict(so_far.registry.select("device", "operator").iter_rows())
    held = held_bytes(fold(so_far).holdings)
    out = disqualified(so_far.carry)
    mine = {
        device: str(operators[device]).lower()
        for device in {*announced, *held, *bonds.elsewhere}
        if device in operators
    }
    needs = [
        Need(device, SERVICE, owner, 0 if device in out else needed_base(rule, -(-held.get(device, 0) // KIB), 1))
        for device, owner in mine.items()
    ]
    others = [Need(device, ELSEWHERE, mine[device], base) for device, base in bonds.elsewhere.items() if device in mine]
    covered = cover([*needs, *others], bonds.staked)
    sharing = Counter(mine[device] for device in announced if device in mine and device not in out)
    own_left, owed = {}, Counter[str]()
    for need in needs:
        bond = bonds.staked.get((need.operator, key_of(need.device)), 0)
        wanted = need.needed_base + bonds.elsewhere.get(need.device, 0)
        own_left[need.device] = max(0, bond - wanted)
        owed[need.operator] += max(0, wanted - bond)
    found = {}
    for need in needs:
        shared = max(0, bonds.staked.get((need.operator, OPERATOR_KEY), 0) - owed[need.operator])
        left = 0 if need.device in out else own_left[need.device] + shared // max(1, sharing[need.operator])
        found[need.device] = {
            "bond_covered_bytes": covered[need.device, SERVICE] * KIB_PER_TIB // rule.per_unit_base * KIB,
            "bond_held_bytes": held.get(need.device, 0),
            "bond_room_bytes": left * KIB_PER_TIB // rule.per_unit_base * KIB,
        }
    return found


def carried_capacity(carry: Mapping[str, pl.DataFrame]) -> Mapping[str, int]:
    """Return device → KiB of shares that it answers for as an epoch begins; `services.bonding.Bonding.carried_capacity`."""
    holdings, out = carry.get("holdings"), disqualified(carry)
    if holdings is None:
        return {}
    return {device: -(-size // KIB) for device, size in held_bytes(holdings).items() if device not in out}


def held_bytes(holdings: pl.DataFrame) -> dict[str, int]:
    """Return device → bytes of its live shares."""
    live = holdings.filter(pl.col("until_position") == FOREVER)
    return dict(live.group_by("device").agg(pl.col("size_bytes").sum()).sort("device").iter_rows())


def disqualified(carry: Mapping[str, pl.DataFrame]) -> frozenset[str]:
    """Return the devices that earn nothing any more."""
    return frozenset(d for d, one in from_table(carry.get("reputation")).items() if one.state == DISQUALIFIED)
