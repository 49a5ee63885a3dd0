"""The stress pack: what goes wrong in networks, each as shocks on a scenario from one month on, and for good.

A stress that a scenario cannot feel (no pool, nothing locked, no top customer given) is not run and says why: a
"0 % collapse" of a shock that hit nothing would be a lie. Stresses see the same runs as the base, so a difference is
the shock's alone. A fall of the token price from outside multiplies the fundamental price, or is traded into the pool,
whose flows go on from there. Parity with the channels of the stress matrix of Kao et al. 2020: demand contraction,
liquidity shock, competitive yield, provider cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.flywheel import Scenario, Shock
from fieldstone.metrics import Interval

Build = Callable[[Scenario, float], "tuple[Shock, ...] | str"]


@dataclass(frozen=True, slots=True)
class Stress:
    """A named shock. `build(scenario, month)` returns its patches, or in words why this scenario cannot feel it."""

    key: str
    title: str
    build: Build


@dataclass(frozen=True, slots=True)
class Stressed:
    """What a stress did. Months count from the start of the run; None: not run (`why` says so), or it never happened.

    `devices_change`: of the median at the end, against the runs without the stress.
    """

    stress: Stress
    why: str = ""
    collapse: Interval | None = None
    utility_collapse: Interval | None = None
    tipping_month: float | None = None
    runway_months: float | None = None
    worst_collateral: float | None = None
    devices_end: float | None = None
    devices_change: float | None = None


def shock_month(scenario: Scenario) -> float:
    """Return when stresses begin: after a year, or after a quarter of a short horizon."""
    return min(12.0, max(1.0, float(scenario.months // 4)))


def stressed_scenario(scenario: Scenario, stress: Stress) -> Scenario | str:
    """Return the scenario with a stress added to its own shocks, or why it cannot feel it."""
    shocks = stress.build(scenario, shock_month(scenario))
    return shocks if isinstance(shocks, str) else replace(scenario, shocks=scenario.shocks + shocks)


def _times(target: str, factor: float) -> Build:
    return lambda scenario, month: (Shock(target=target, value=factor, from_month=month),)


def _unlock(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    locked = scenario.supply.locked_tokens
    if locked <= 0:
        return "nothing is locked (supply.locked_tokens)"
    # all of it within one month; what is due later was unlocked then
    return (Shock(target="unlock", kind="add", value=locked, from_month=month, until_month=month + 1),)


def _competitor(extra: float) -> Build:
    def build(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
        shocks = []
        for cohort in scenario.cohorts:
            name = f"competitor.{cohort.name}"
            if cohort.competitor_usd_month > 0:
                shocks.append(Shock(target=name, value=1 + extra, from_month=month))
            else:  # nobody said what the hardware earns elsewhere: its own costs and wear, and so much more
                worth = cohort.opex_usd_month + cohort.capex_usd / cohort.life_months
                shocks.append(Shock(target=name, kind="add", value=worth * (1 + extra), from_month=month))
        return tuple(shocks)

    return build


def _costs(scenario: Scenario, month: float) -> tuple[Shock, ...]:
    return (
        Shock(target="opex", value=1.5, from_month=month),
        Shock(target="power_price", value=1.5, from_month=month),
    )


def _liquidity(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    if scenario.price.model != "pool":
        return 'this price model has no pool (price.model = "pool")'
    return (Shock(target="liquidity", value=0.2, from_month=month),)


def _oracle(scenario: Scenario, month: float) -> tuple[Shock, ...]:
    return (
        Shock(target="price", value=0.5, from_month=month),
        Shock(target="oracle_lag", kind="add", value=2.0, from_month=month),
    )


def _halving(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    if scenario.emission.policy == "none" or scenario.emission.scale == 0:
        return "nothing is minted on a schedule"
    return (Shock(target="emission", value=0.5, from_month=month),)


def _top_customer(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    if not any(segment.top_customer_share for segment in scenario.segments):
        return "no segment says what its largest customer buys (segments.NAME.top_customer_share)"
    return (Shock(target="top_customer", value=0.0, from_month=month),)


def _vendor(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    potential: dict[str, float] = {}
    for cohort in scenario.cohorts:
        if cohort.vendor:
            potential[cohort.vendor] = potential.get(cohort.vendor, 0.0) + cohort.potential_devices
    if not potential:
        return "no cohort names its vendor (cohorts.NAME.vendor)"
    largest = max(sorted(potential), key=lambda vendor: potential[vendor])
    return (Shock(target=f"join.{largest}", value=0.0, from_month=month),)


def _fakes(extra: float) -> Build:
    return lambda scenario, month: (Shock(target="fraud", kind="add", value=extra, from_month=month),)


def _region(scenario: Scenario, month: float) -> tuple[Shock, ...] | str:
    if len(scenario.regions) < 2:
        return "there is only one region: a ban ends the network"
    devices: dict[str, float] = {region.name: 0.0 for region in scenario.regions}
    for cohort in scenario.cohorts:
        devices[cohort.region] += cohort.potential_devices
    largest = max(sorted(devices), key=lambda name: devices[name])
    return (Shock(target=f"region.{largest}", value=0.0, from_month=month),)


STRESSES: tuple[Stress, ...] = (
    *(Stress(f"demand_{cut}", f"demand −{cut} %", _times("demand", 1 - cut / 100)) for cut in (30, 50, 70)),
    *(Stress(f"price_{cut}", f"token price −{cut} %", _times("price", 1 - cut / 100)) for cut in (50, 80, 95)),
    Stress("unlock_cliff", "unlock cliff: all locked tokens at once", _unlock),
    *(Stress(f"competitor_{more}", f"competitor yield +{more} %", _competitor(more / 100)) for more in (50, 100)),
    Stress("costs_50", "running costs +50 % (electricity too)", _costs),
    Stress("liquidity_80", "liquidity −80 %", _liquidity),
    Stress("stale_oracle", "stale oracle: two months late while the price halves", _oracle),
    Stress("halving", "halving of scheduled mints", _halving),
    Stress("top_customer", "loss of the top customer", _top_customer),
    Stress("vendor_exit", "vendor exit: no more of its hardware", _vendor),
    *(Stress(f"sybil_{share}", f"Sybil supply: {share} % fake devices that pass", _fakes(share / 100)) for share in (10, 50)),
    Stress("region_ban", "the largest region bans the devices", _region),
    Stress(
        "all_at_once",
        "all at once: demand −50 %, price −80 %, costs +50 %",
        lambda s, m: (
            Shock(target="demand", value=0.5, from_month=m),
            Shock(target="price", value=0.2, from_month=m),
            *_costs(s, m),
        ),
    ),
)  # fmt: skip

HEAT_DEMAND = (1.0, 0.8, 0.6, 0.4, 0.2)
HEAT_PRICE = (1.0, 0.6, 0.4, 0.2, 0.05)


def heat_scenario(scenario: Scenario, demand: float, price: float) -> Scenario:
    """Return the scenario with both shocks; a factor of 1 is none."""
    month = shock_month(scenario)
    shocks = tuple(
        Shock(target=target, value=factor, from_month=month)
        for target, factor in (("demand", demand), ("price", price))
        if factor != 1
    )
    return replace(scenario, shocks=scenario.shocks + shocks)


def utility_only(scenario: Scenario) -> Scenario:
    """Return the scenario without speculation: the token is worth what its use makes it worth."""
    return replace(scenario, price=replace(scenario.price, speculation=0.0))


def median_month(first_step: NDArray[np.int64], step_months: float) -> float | None:
    """Return the median month in which something began, over the runs where it did; None: in none."""
    began = first_step[first_step >= 0]
    return float(np.quantile(began, 0.5, method="inverted_cdf")) * step_months if began.size else None
