"""What work may earn at most, and the rate that pays it.

Work that is all alike has a list price before anybody buys it (`services.contract.ListPrice`; storage: KiB-seconds of
shares). That bounds both parts of a device's work. Readings of the world, each different, have no price and no cap.

*Sold* work was made by customers' own data. It is no measurement: whoever plays customer and provider at once makes as
much as he likes, and can compute it again instead of keeping it. So money that is really gone bounds it:
    cap_sold   = revenue · take · (1 − need_demand) · 10¹⁸ // price      what of the take steers nothing; 0: no work
Who pays himself a dollar gets (1 − take) of it as a sale, at most take · (1 − need_demand) here, and at most
take · need_demand by steering the bootstrap to his cell (`rewards.need`): never more than the dollar.

*Unsold* work (proven empty space) is on offer at the list price. It earns at most what it would if customers took it:
    cap_unsold = work / its weight · list price · (1 − take) · unsold_pay · 10¹⁸ // price
So a full device is never below an empty one: a unit sold at list price earns 1 − take of it and some of the take besides,
an unsold one at most 1 − take, while `unsold_pay_ppm` is at most 10⁶. Without that cap, as long as prices are small, the
bootstrap would pay an operator for refusing customers.

The rate: a service's whole coverage pool pays one rate Λ for a unit of work,
    Σ cells min(Σ parts min(Λ · work, cap), Λ · target) ≤ pool,  Λ ≤ pool / (full_coverage_cells · target),  Λ highest
and a crowded cell pays the lower rate that makes its parts add up to Λ · target. Without caps that is the division of
`rewards.need`. What capped work does not take lifts Λ for all others alike, so it dilutes nobody and opens nobody's cell;
above the bound it is not minted. One rate for all: splitting, merging and order change nothing.
Invariants: `sold_never_earns_less_than_unsold_at_list_price`, `selling_never_costs_an_operator`, `self_dealing_never_pays`,
`self_dealing_with_stored_data_never_pays`, `unpaid_work_takes_nothing_and_dilutes_nobody`, `no_part_earns_above_its_cap`,
`splitting_changes_nothing`, `order_does_not_matter`, `the_rate_is_the_highest_that_the_pool_pays`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from fieldstone.services.contract import ListPrice
from fieldstone.units import PPM, TOKEN_BASE

SOLD_INPUT_SCHEMA: dict[str, Any] = {"device": pl.String(), "service": pl.String(), "quantity": pl.Int64()}


class Part(NamedTuple):
    """A part of a device's work and the most that it may earn, in token base units (None: no bound)."""

    work: int
    cap: int | None


class Rate(NamedTuple):
    """Pay for a unit of work, exact: `amount` base units for `work` units."""

    amount: int
    work: int

    def reaches(self, part: Part) -> bool:
        """Return whether a part would earn more than its cap at this rate, so that it earns the cap."""
        return part.cap is not None and self.amount * part.work > part.cap * self.work

    def of(self, parts: Sequence[Part]) -> int:
        """Return what a device's parts earn together: rounded down once."""
        amount = free = 0
        for part in parts:
            if self.reaches(part):
                amount += part.cap or 0
            else:
                free += part.work
        return amount + (self.amount * free // self.work if free else 0)

    def split(self, work: int, capped: Iterable[Part]) -> tuple[int, int]:
        """Return what parts that reach their caps earn, and the work without them, of `work` that holds `capped`."""
        earned = 0
        for part in capped:
            if self.reaches(part):
                earned, work = earned + (part.cap or 0), work - part.work
        return earned, work

    def is_above(self, other: Rate) -> bool:
        """Return whether this rate pays more than another."""
        return self.amount * other.work > other.amount * self.work


def cell_rate(pool: int, work: int, weight: int, capped: Sequence[Part]) -> Rate:
    """Return a cell's rate: `pool` base units for `work`, counted as `weight` (≤ `work`); `capped`: parts with a cap.

    Never above pool / weight, what a unit earns where nobody crowds it. Raised step by step from pool / work, which is
    too low: each step leaves out what reached its cap at the rate before (Newton's method on a concave sum: it ends exactly).
    """
    rate = Rate(pool, work)
    if not capped:
        return rate
    highest = Rate(pool, weight)
    while True:
        earned, free = rate.split(work, capped)
        higher = Rate(pool - earned, free)
        if not free or not highest.is_above(higher):
            return highest
        if not higher.is_above(rate):
            return rate
        rate = higher


def service_rate(
    pool: int, work: Mapping[int, int], target: int, full_cells: int, capped: Mapping[int, Sequence[Part]]
) -> Rate:
    """Return Λ of the module's text: `pool` base units over cells of `work`, of it `capped`; found as in `cell_rate`."""
    weights = {cell: min(units, target) for cell, units in work.items()}
    highest = Rate(pool, full_cells * target)
    rate = Rate(pool, max(highest.work, sum(weights.values())))
    if not capped:
        return rate
    plain = sum(weight for cell, weight in weights.items() if cell not in capped)
    while True:
        left, units = pool, plain
        for cell, parts in capped.items():
            earned, free = rate.split(work[cell], parts)
            if earned * rate.work + rate.amount * free > rate.amount * target:  # crowded: paid as a full cell
                units += target
            else:
                left, units = left - earned, units + free
        higher = Rate(left, units)
        if not units or not highest.is_above(higher):
            return highest
        if not higher.is_above(rate):
            return rate
        rate = higher


def sold_cap(revenue_micro_usd: int, take_ppm: int, need_demand_ppm: int, price_micro_usd: int) -> int:
    """Return the most that sold work earns: the take on what was paid for it, less what of it may steer the bootstrap."""
    back: int = take_ppm * (PPM - need_demand_ppm) * max(0, revenue_micro_usd) * TOKEN_BASE
    return back // (PPM * PPM * price_micro_usd)


def unsold_cap(work: int, listed: ListPrice, take_ppm: int, unsold_pay_ppm: int, price_micro_usd: int) -> int:
    """Return the most that unsold work earns: `unsold_pay_ppm` of what operators would get for it at list price."""
    if not listed.unsold_weight_ppm:
        return 0
    would_earn: int = work * listed.micro_usd * (PPM - take_ppm) * unsold_pay_ppm * TOKEN_BASE
    return would_earn // (listed.units * listed.unsold_weight_ppm * PPM * PPM * price_micro_usd)
