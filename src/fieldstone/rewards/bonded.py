"""Bonds: capacity that earns bootstrap without tokens at risk earns none.

Formula, per epoch and service (integers; base units of the token):
    needed_d   = ⌈quantity_d · bond_per_unit / (quantity_per_s · epoch_s)⌉       capacity is quantity per second
    own_d      = min(needed_d, bond of the device)                               staked by its operator for its key
    rest_d     = needed_d − own_d
    covered_d  = own_d + min(rest_d, bond of the operator · rest_d // Σ rest of his devices)
    work_d     = work_d · covered_d // needed_d
Reason: a device that loses its customers' data leaves a loss, and held pay (`rewards.held`) is no help against one that
brings much capacity at once. So what may be earned by being there follows what can be lost. It is in proportion: a bond
that is shared out over ten devices or held by one covers the same capacity, so splitting and merging gain nothing, and no
bond is counted twice, neither for two devices nor for two operators (the owner has to be the device's operator) nor for two
services. What is being unbonded covers nothing: it still can be slashed, but it is on its way out.

What customers paid is not withheld from capacity without a bond. They paid for proven work, from credits that are really
gone; to keep it would make the network gain by letting operators run uncovered, and the customer chose whom to trust (his
gateway places nothing on devices whose bond is used up).

What empty capacity counts is what its quantity counts: proven empty space weighs 1 % by default, and needs 1 % of the bond.

Slashing: a case that the verifiers uphold takes `slash_ppm` of the bond asked for the capacity that was lost, from the
device's own bond first, then from the operator's (`fractions`). It goes to the treasury, never to who was harmed or who
accused: whoever can be both would slash himself and keep the tokens.
Invariants (tests/rewards/test_bonded.py): `a_bond_covers_once`, `splitting_and_merging_gain_nothing`, `order_does_not_matter`,
`more_bond_never_covers_less`, `full_cover_changes_nothing`, `sales_are_not_withheld`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fieldstone.services.bonding import BondTerms, Staked
from fieldstone.units import PPM

if TYPE_CHECKING:
    from fieldstone.rewards.statements import StatementLine

__all__ = [
    "OPERATOR_KEY",
    "Bonded",
    "Need",
    "capacity_text",
    "cover",
    "fractions",
    "key_of",
    "needed_base",
    "reduce_work",
]

OPERATOR_KEY = "00" * 32


class Need(NamedTuple):
    """What one device has to have at risk for one service, base units."""

    device: str
    service: str
    operator: str
    needed_base: int


class Bonded(NamedTuple):
    """A service's rule: its terms and the bond asked for one unit of capacity (above 0), base units."""

    terms: BondTerms
    per_unit_base: int


def key_of(device: str) -> str:
    """Return the key under which a device's bond is kept on chain, in hex; without a device the operator's own."""
    return hashlib.sha256(device.encode()).hexdigest() if device else OPERATOR_KEY


def needed_base(rule: Bonded, quantity: int, seconds: int) -> int:
    """Return the bond for a quantity that was verified in so many seconds (1: the quantity is a capacity)."""
    return -(-quantity * rule.per_unit_base // (rule.terms.quantity_per_s * seconds))


def cover(needs: Iterable[Need], staked: Staked) -> dict[tuple[str, str], int]:
    """Return (device, service) → what of its need is covered: at most the need, and together at most the bonds."""
    ordered = sorted(needs)
    covered: dict[tuple[str, str], int] = {}
    for own in _grouped(ordered, lambda need: need.device):
        bond = staked.get((own[0].operator.lower(), key_of(own[0].device)), 0)
        shares = _shared(bond, [need.needed_base for need in own])
        covered.update({(need.device, need.service): share for need, share in zip(own, shares, strict=True)})
    for own in _grouped(ordered, lambda need: need.operator.lower()):
        bond = staked.get((own[0].operator.lower(), OPERATOR_KEY), 0)
        shares = _shared(bond, [need.needed_base - covered[need.device, need.service] for need in own])
        for need, share in zip(own, shares, strict=True):
            covered[need.device, need.service] += share
    return covered


def reduce_work(
    lines: Iterable[StatementLine], rules: Mapping[str, Bonded], staked: Staked, epoch_length_s: int
) -> None:
    """Write into lines of services that ask for a bond what is needed and covered, and take the rest of their work away."""
    asked = [line for line in lines if line.service in rules and line.operator and line.quantity]
    for line in asked:
        line.bond_needed = needed_base(rules[line.service], line.quantity, epoch_length_s)
        line.bond_rule = rules[line.service]
    needs = [Need(line.device, line.service, line.operator, line.bond_needed) for line in asked]
    covered = cover(needs, staked)
    for line in asked:
        line.bond_covered = covered[line.device, line.service]
        work = line.work * line.bond_covered // line.bond_needed
        line.unbonded_work, line.work = line.work - work, work
        line.sold_work = line.sold_work * line.bond_covered // line.bond_needed


def fractions(penalty_base: int, device_bond_base: int, operator_bond_base: int) -> tuple[int, int]:
    """Return what parts (ppm, rounded up) of the device's and of the operator's bond make up a penalty, at most all of both."""
    from_device = min(penalty_base, device_bond_base)
    from_operator = min(penalty_base - from_device, operator_bond_base)
    return _part_ppm(from_device, device_bond_base), _part_ppm(from_operator, operator_bond_base)


def capacity_text(amount_base: int, per_unit_base: int) -> str:
    """Return how many units of capacity an amount covers, with two digits: "3.25"."""
    hundredths = amount_base * 100 // per_unit_base
    return f"{hundredths // 100:,}.{hundredths % 100:02d}"


def _part_ppm(part: int, whole: int) -> int:
    return -(-part * PPM // whole) if whole else 0


def _shared(bond: int, rests: Sequence[int]) -> list[int]:
    whole = sum(rests)
    return list(rests) if whole <= bond else [bond * rest // whole for rest in rests]


def _grouped(needs: Sequence[Need], key: Callable[[Need], str]) -> list[list[Need]]:
    groups: dict[str, list[Need]] = defaultdict(list)
    for need in needs:
        groups[key(need)].append(need)
    return list(groups.values())
