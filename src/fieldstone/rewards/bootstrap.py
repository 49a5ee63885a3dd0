"""How the bootstrap of an epoch reaches devices: an offer, cut into services, cells and devices.

    offer     faded schedule (`rewards.emission`)
    service   its share_ppm of the offer; shares that add up to more than the whole are scaled down, never paid twice
    cell      by need (`rewards.need`)
    device    inside its cell by work; work that customers' own data made only up to its cap (`rewards.sold`)
What nobody earned is not minted; what rounding left is the treasury's. Both are returned, so that the book adds up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fieldstone.errors import Terminal
from fieldstone.policy import RewardPolicy
from fieldstone.rewards.allocation_input import AllocationInput
from fieldstone.rewards.emission import fade, schedule, smooth
from fieldstone.rewards.need import Need, cell_of, split_by_need
from fieldstone.rewards.sold import Claim, Shared, share_cell
from fieldstone.rewards.statements import StatementLine
from fieldstone.units import PPM, TOKEN_BASE


@dataclass(frozen=True, slots=True)
class Offer:
    """What is scheduled, and what of it is offered at this smoothed revenue per epoch (micro-dollars)."""

    scheduled_base: int
    smoothed_micro_usd: int
    offered_base: int


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One service's part of the offer. `take_base`: the network's take on the service's revenue. `shared`: cell → what
    was shared in proportion, for cells with capped work. `unspent_base`: earned by nobody; `dust_base`: lost to rounding."""

    pool_base: int
    take_base: int
    need: Need
    shared: Mapping[int, Shared]
    unspent_base: int
    dust_base: int


def make_offer(policy: RewardPolicy, epoch: int, smoothed_micro_usd: int, revenue_micro_usd: int) -> Offer:
    """Return what an epoch offers. `smoothed_micro_usd`: as the previous epoch left it; `revenue_micro_usd`: this epoch's."""
    smoothed = smooth(smoothed_micro_usd, revenue_micro_usd, policy.revenue_smoothing_ppm)
    scheduled = schedule(epoch, policy.bootstrap_base, policy.bootstrap_decay_ppm)
    return Offer(scheduled, smoothed, fade(scheduled, policy.r_half_micro_usd, smoothed))


def share_offer(
    inp: AllocationInput,
    offer: Offer,
    lines: Iterable[StatementLine],
    place_of: Mapping[str, tuple[float, float]],
) -> dict[str, ServicePart]:
    """Share the offer: write `cell`, `bootstrap` and what caps it into `lines`, and return the parts by service.

    `place_of`: latitude and longitude of registered devices, in degrees. Raises Terminal for a place that is none.
    """
    share_sum = max(PPM, sum(service.share_ppm for service in inp.services.values()))
    by_service: dict[str, list[StatementLine]] = defaultdict(list)
    for line in lines:
        by_service[line.service].append(line)
    parts = {}
    for name in sorted(inp.services):
        pool = offer.offered_base * inp.services[name].share_ppm // share_sum
        parts[name] = _share_in_service(inp, name, pool, by_service[name], place_of)
    return parts


def _share_in_service(
    inp: AllocationInput,
    name: str,
    pool: int,
    lines: list[StatementLine],
    place_of: Mapping[str, tuple[float, float]],
) -> ServicePart:
    policy = inp.policy
    work, revenue = _put_into_cells(inp, lines, place_of)
    take = policy.take_ppm * sum(revenue.values()) * TOKEN_BASE // (PPM * inp.price_micro_usd)
    need = split_by_need(
        pool,
        take,
        work,
        revenue,
        target_work=inp.services[name].cell_target_rate * inp.epoch_length_s * PPM,
        full_coverage_cells=policy.full_coverage_cells,
        need_demand_ppm=policy.need_demand_ppm,
    )
    left = {cell: part.pool_base for cell, part in need.cells.items()}
    claims: dict[int, list[Claim]] = defaultdict(list)
    for line in lines:
        if line.sold_work and line.cell is not None:
            claims[line.cell].append(Claim(line.device, line.sold_work, line.sold_cap))
    shares = {cell: share_cell(pool, work[cell], claims.get(cell, ())) for cell, pool in left.items()}
    for line in lines:
        if line.work and line.cell is not None:
            line.bootstrap = shares[line.cell].of(line.device, line.work, line.sold_work, line.sold_cap)
            left[line.cell] -= line.bootstrap
    unearned = 0
    for cell, shared in shares.items():
        if not shared.work:  # all of the cell's work reached its cap: the rest of its pool is nobody's
            unearned += left[cell]
            left[cell] = 0
    return ServicePart(
        pool_base=pool,
        take_base=take,
        need=need,
        shared={cell: shared for cell, shared in shares.items() if claims.get(cell)},
        unspent_base=need.unmet_base + unearned,
        dust_base=need.dust_base + sum(left.values()),
    )


def _put_into_cells(
    inp: AllocationInput, lines: list[StatementLine], place_of: Mapping[str, tuple[float, float]]
) -> tuple[dict[int, int], dict[int, int]]:
    """Write each line's cell and cap, and return the cells' work and revenue (micro-dollars)."""
    work: dict[int, int] = defaultdict(int)
    revenue: dict[int, int] = defaultdict(int)
    policy = inp.policy
    for line in lines:
        place = place_of.get(line.device)
        if place is None:
            continue  # not registered: no place, no work
        try:
            cell = line.cell = cell_of(*place, policy.cell_resolution)
        except (ValueError, TypeError) as error:
            where = f"{place[0]}, {place[1]}, which is no place"
            raise Terminal(f"epoch {inp.epoch}: {line.device} stands at {where}") from error
        if line.sold_work:
            income = max(0, line.revenue_micro_usd)
            line.sold_cap = policy.take_ppm * income * TOKEN_BASE // (PPM * inp.price_micro_usd)
            if not line.sold_cap:  # nobody paid for it: it is no work here, and opens no cell
                line.work -= line.sold_work
                line.sold_unpaid, line.sold_work = line.sold_work, 0
        work[cell] += line.work
        if line.revenue_micro_usd > 0:
            revenue[cell] += line.revenue_micro_usd
    return work, revenue
