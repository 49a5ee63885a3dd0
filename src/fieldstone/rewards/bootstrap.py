"""How the bootstrap of an epoch reaches devices: an offer, cut into services, cells and devices.

    offer     faded schedule (`rewards.emission`)
    service   its share_ppm of the offer; shares that add up to more than the whole are scaled down, never paid twice
    cell      by need (`rewards.need`)
    device    inside its cell by work; work with a list price only up to its cap (`rewards.caps`)
What nobody earned is not minted; what rounding left is the treasury's. Both are returned, so that the book adds up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fieldstone.errors import Terminal
from fieldstone.policy import RewardPolicy
from fieldstone.rewards.allocation_input import AllocationInput
from fieldstone.rewards.caps import Part, Rate, cell_rate, sold_cap, unsold_cap
from fieldstone.rewards.emission import fade, schedule, smooth
from fieldstone.rewards.need import Need, cell_of, split_by_need
from fieldstone.rewards.statements import StatementLine
from fieldstone.services.contract import ListPrice
from fieldstone.units import PPM, TOKEN_BASE


@dataclass(frozen=True, slots=True)
class Offer:
    """What is scheduled, and what of it is offered at this smoothed revenue per epoch (micro-dollars)."""

    scheduled_base: int
    smoothed_micro_usd: int
    offered_base: int


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One service's part of the offer. `take_base`: the network's take on the service's revenue. `rates`: cell → pay for
    its work, where some of it has a cap. `unspent_base`: earned by nobody; `dust_base`: lost to rounding."""

    pool_base: int
    take_base: int
    need: Need
    rates: Mapping[int, Rate]
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
    work, revenue = _put_into_cells(inp, name, lines, place_of)
    take = policy.take_ppm * sum(revenue.values()) * TOKEN_BASE // (PPM * inp.price_micro_usd)
    capped: dict[int, list[Part]] = defaultdict(list)
    for line in lines:
        if line.has_cap and line.cell is not None:
            capped[line.cell] += [part for part in line.parts if part.cap is not None]
    need = split_by_need(
        pool,
        take,
        work,
        revenue,
        target_work=inp.services[name].cell_target_rate * inp.epoch_length_s * PPM,
        full_coverage_cells=policy.full_coverage_cells,
        need_demand_ppm=policy.need_demand_ppm,
        capped=capped,
    )
    rates = {
        cell: cell_rate(part.pool_base, part.work, part.weight, capped.get(cell, ()))
        for cell, part in need.cells.items()
    }
    paid = 0
    for line in lines:
        if line.work and line.cell is not None:
            rate = rates[line.cell]
            line.bootstrap = rate.of(line.parts) if line.has_cap else rate.amount * line.work // rate.work
            paid += line.bootstrap
    earned = need.earned_base
    if capped:  # what cells earned before their devices' amounts were rounded
        earned = sum(_earned(rates[cell], part.work, capped.get(cell, ())) for cell, part in need.cells.items())
    return ServicePart(
        pool_base=pool,
        take_base=take,
        need=need,
        rates={cell: rates[cell] for cell in capped},
        unspent_base=pool - earned,
        dust_base=earned - paid,
    )


def _earned(rate: Rate, work: int, capped: Sequence[Part]) -> int:
    earned, free = rate.split(work, capped)
    return earned + (rate.amount * free // rate.work if free else 0)


def _put_into_cells(
    inp: AllocationInput,
    name: str,
    lines: list[StatementLine],
    place_of: Mapping[str, tuple[float, float]],
) -> tuple[dict[int, int], dict[int, int]]:
    """Write each line's cell and caps, and return the cells' work and revenue (micro-dollars)."""
    work: dict[int, int] = defaultdict(int)
    revenue: dict[int, int] = defaultdict(int)
    listed, resolution = inp.list_prices.get(name), inp.policy.cell_resolution
    for line in lines:
        place = place_of.get(line.device)
        if place is None:
            continue  # not registered: no place, no work
        try:
            cell = line.cell = cell_of(*place, resolution)
        except (ValueError, TypeError) as error:
            where = f"{place[0]}, {place[1]}, which is no place"
            raise Terminal(f"epoch {inp.epoch}: {line.device} stands at {where}") from error
        _bound(inp, line, listed)
        work[cell] += line.work
        if line.revenue_micro_usd > 0:
            revenue[cell] += line.revenue_micro_usd
    return work, revenue


def _bound(inp: AllocationInput, line: StatementLine, listed: ListPrice | None) -> None:
    """Write what the two parts of a line's work may earn; what nobody paid for is no work, and opens no cell."""
    policy, price = inp.policy, inp.price_micro_usd
    if line.sold_work:
        line.sold_cap = sold_cap(line.revenue_micro_usd, policy.take_ppm, policy.need_demand_ppm, price)
        if not line.sold_cap:
            line.work -= line.sold_work
            line.sold_unpaid, line.sold_work = line.sold_work, 0
    unsold = line.work - line.sold_work
    if listed is not None and unsold:
        pay_ppm = inp.services[line.service].unsold_pay_ppm
        line.unsold_cap = unsold_cap(unsold, listed, policy.take_ppm, pay_ppm, price)
