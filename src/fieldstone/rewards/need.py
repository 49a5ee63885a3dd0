"""Where a service's bootstrap goes: over H3 cells by need. Scarce cells pay more per device, crowded ones less.

Formula, per service (integers, floor; work = verified quantity × quality_ppm) where no work has a cap:
    target   = cell_target_rate · epoch seconds · 10⁶        work that a cell needs for its whole pool
    weight_c = min(work_c, target)
    demand   = min(pool, take tokens) · need_demand_ppm // 10⁶
    coverage = pool − demand
    pool_c   = coverage · weight_c // max(Σ weight, full_coverage_cells · target)
             + demand · revenue_c · weight_c // (Σ revenue · target)
Where some of the work may earn only so much (`rewards.caps`), coverage / max(…) gives way to the higher rate Λ at which all
that cells then earn is the coverage; pool_c is what its cell would earn at that rate without caps.

Reasons, each an attack that the formula answers:
- *Clones in one cell*: beyond the target, a cell's pool does not depend on how many devices stand in it.
- *Many nearly empty cells*: a cell counts with its verified work, not with its existence, so a device of 1 % quality
  opens 1 % of a cell; and splitting one device's honest work over cells gains nothing, since below the target the
  pool is proportional to work.
- *Arriving first*: until `full_coverage_cells` cells are served, a cell gets the same as it would then; what is left
  is not minted. One device in an empty network cannot take the whole epoch.
- *Buying one's own data to raise a cell's need*: the demand part is limited to a share of the take, and a cell gets
  it in proportion to revenue, so a dollar spent brings back less than `take · need_demand_ppm` of itself.
Known limit: three hexagons meet in a corner, so clones on one roof can reach three cells, never more. Proving that
they are clones is the verification's work, not the reward's.
Invariants: `clones_dilute_each_other`, `spreading_work_over_cells_gains_nothing`, `demand_part_below_take`,
`cell_pools_never_exceed_the_pool`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from h3.api import basic_int as h3

from fieldstone.rewards.caps import Part, Rate, service_rate
from fieldstone.units import PPM


class CellPool(NamedTuple):
    """One cell: its work, counted weight, revenue (micro-dollars), the two parts of its pool and the pool, in base units."""

    work: int
    weight: int
    revenue_micro_usd: int
    coverage_base: int
    demand_base: int
    pool_base: int  # their sum: what the devices of this cell share in proportion to their work


@dataclass(frozen=True, slots=True)
class Need:
    """The split of one service's pool. `rate`: the coverage pool's pay for a unit of weight. `earned_base`: what cells earn
    together before any rounding, if no work has a cap; the rest of the pool is nobody's (cells missing or below target)."""

    cells: Mapping[int, CellPool]
    target_work: int
    rate: Rate
    coverage_base: int
    demand_base: int
    revenue_micro_usd: int
    earned_base: int


def cell_of(lat: float, lon: float, resolution: int) -> int:
    """Return the H3 cell (int64) of a place in degrees. Raises ValueError for a place that is not on Earth."""
    return int(h3.latlng_to_cell(lat, lon, resolution))  # type: ignore[no-untyped-call]


def cell_name(cell: int) -> str:
    """Return the usual hexadecimal name of a cell."""
    return f"{cell:x}"


def split_by_need(
    pool_base: int,
    take_base: int,
    work: Mapping[int, int],
    revenue_micro_usd: Mapping[int, int],
    *,
    target_work: int,
    full_coverage_cells: int,
    need_demand_ppm: int,
    capped: Mapping[int, Sequence[Part]] = MappingProxyType({}),
) -> Need:
    """Split a service's bootstrap over cells.

    `take_base`: the network's take on this service's revenue, in tokens. `work`: cell → Σ quantity × quality_ppm.
    `revenue_micro_usd`: cell → revenue of its devices in this epoch, never negative. `capped`: cell → the parts of its
    work that have a cap.
    """
    revenue_sum = sum(revenue_micro_usd.values())
    demand = min(pool_base, take_base) * need_demand_ppm // PPM if revenue_sum else 0
    coverage = pool_base - demand
    weights = {cell: min(amount, target_work) for cell, amount in work.items() if amount > 0}
    rate = service_rate(coverage, work, target_work, full_coverage_cells, capped)
    demand_divisor = revenue_sum * target_work or 1
    cells = {}
    demand_weight = 0
    for cell in work.keys() | revenue_micro_usd.keys():  # sums of integers: the order does not matter
        weight, bought = weights.get(cell, 0), revenue_micro_usd.get(cell, 0)
        coverage_part = rate.amount * weight // rate.work
        demand_part = demand * bought * weight // demand_divisor if bought else 0
        demand_weight += bought * weight
        both = coverage_part + demand_part
        cells[cell] = CellPool(work.get(cell, 0), weight, bought, coverage_part, demand_part, both)
    earned = rate.amount * sum(weights.values()) // rate.work + demand * demand_weight // demand_divisor
    return Need(cells, target_work, rate, coverage, demand, revenue_sum, earned)
