"""What is back-tested: forecasts of the flywheel on held-out tails, and exact schedules against published figures.

Numbers that a source states are in the series; the rest of a scenario is stated here, and what nobody knows is a range.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.backtest.calibrate import Case
from fieldstone.economy.flywheel import (
    Behaviour,
    Burn,
    Cohort,
    Emission,
    Price,
    Region,
    Result,
    Scenario,
    Segment,
    Service,
    Supply,
)
from fieldstone.metrics import utilisation

Numbers = NDArray[np.float64]
DAYS_PER_MONTH = 30.4375

_EVERYWHERE = (Region(coverage_devices=1e-3),)  # coverage does not limit these networks
_ALWAYS = Service(uptime=1.0, usable_capacity=1.0)


def _render() -> Scenario:
    """Return Render from its first weekly epoch: 162 nodes at first, priced in dollars, 95 % burned (RNP-001)."""
    return Scenario(
        name="Render",
        months=24,
        steps_per_year=52,
        regions=_EVERYWHERE,
        cohorts=(
            Cohort(
                name="nodes", initial_devices=162.0, capacity_units_month=1e7, capex_usd=1_500.0, opex_usd_month=20.0,
                power_w=300.0, failure_year=0.0, potential_devices=400.0,
            ),
        ),
        segments=(Segment(name="jobs", units_month=150_000.0),),
        service=_ALWAYS,
        supply=Supply(initial_tokens=5.2e8),
        emission=Emission(policy="render", operator_share=0.25, data_share=1.0),
        burn=Burn(share=0.95, take=0.05),
        price=Price(initial_usd=5.03),  # the first epoch's dollars per burned token
    )  # fmt: skip


def _helium_first_network() -> Scenario:
    return Scenario(
        name="Helium, first network",
        months=48,
        regions=_EVERYWHERE,
        cohorts=(
            Cohort(
                name="hotspots", initial_devices=14_000.0, potential_devices=1_500_000.0, capex_usd=500.0,
                opex_usd_month=3.0, lead_months=5.0, hurdle=0.5,
            ),
        ),
        segments=(Segment(name="packets", units_month=2_000.0),),
        service=_ALWAYS,
        supply=Supply(initial_tokens=70e6, max_tokens=223e6),
        emission=Emission(policy="helium.hip20", start_month=17.0, operator_share=0.65),
        behaviour=Behaviour(expectation="adaptive"),
    )  # fmt: skip


def _fixed_fleet(name: str, months: int, units_month: float, devices: float = 1_000.0) -> Scenario:
    """Return a network whose fleet does not matter: demand alone is asked for."""
    return Scenario(
        name=name,
        months=months,
        regions=_EVERYWHERE,
        cohorts=(Cohort(name="all", initial_devices=devices, potential_devices=devices, capacity_units_month=1e9, opex_usd_month=0.0, power_w=0.0),),
        segments=(Segment(name="all", units_month=units_month, noise_year=0.3),),
        service=_ALWAYS,
        emission=Emission(tokens_month=0.0),
        burn=Burn(mode="none"),
        behaviour=Behaviour(leave_year=0.0),
    )  # fmt: skip


def _revenue(result: Result) -> Numbers:
    return result["revenue_usd"]


def _devices(result: Result) -> Numbers:
    return result["devices"]


def _used(result: Result) -> Numbers:
    return utilisation(result["served"], result["capacity"])


def _per_day(result: Result) -> Numbers:
    return result["served"] / DAYS_PER_MONTH


def _per_quarter(result: Result) -> Numbers:
    return result["served"] * 3


CASES: tuple[Case, ...] = (
    Case(
        name="Render: burn",
        series="render_burn_usd",
        scenario=_render(),
        begin=datetime.date(2023, 12, 20),
        observe=_revenue,
        record=("revenue_usd",),
        ranges={
            "segments.jobs.units_month": (20_000.0, 400_000.0),
            "segments.jobs.growth_year": (0.05, 5.0),
            "segments.jobs.market_units_month": (50_000.0, 5_000_000.0),
            "segments.jobs.noise_year": (0.5, 5.0),
        },
        held_out=6,
        group=4,
        remark="sums of four weekly epochs; year-end peaks are not in the model",
    ),
    Case(
        name="Render: nodes",
        series="render_nodes",
        scenario=_render(),
        begin=datetime.date(2023, 12, 27),
        observe=_devices,
        record=("devices",),
        ranges={
            "cohorts.nodes.potential_devices": (200.0, 800.0),
            "behaviour.join_month": (0.002, 0.3),
            "behaviour.leave_year": (0.02, 1.5),
            "cohorts.nodes.hurdle": (-0.5, 3.0),
        },
        held_out=24,
        has_residual=True,
        remark="the source's count steps from 174 to 255 inside the held-out tail",
    ),
    Case(
        name="Filecoin: utilisation",
        series="filecoin_utilisation",
        scenario=Scenario(
            name="Filecoin",
            months=36,
            regions=_EVERYWHERE,
            cohorts=(
                Cohort(
                    name="storage",
                    initial_devices=100.0,
                    potential_devices=100.0,
                    capacity_units_month=1.0,
                    opex_usd_month=0.0,
                    power_w=0.0,
                    failure_year=0.0,
                ),
            ),
            segments=(Segment(name="deals", units_month=3.5),),
            service=_ALWAYS,
            emission=Emission(tokens_month=0.0),
            burn=Burn(mode="none"),
            behaviour=Behaviour(join_month=0.0),
        ),
        begin=datetime.date(2023, 2, 28),
        observe=_used,
        record=("served", "capacity"),
        ranges={
            "segments.deals.units_month": (1.0, 8.0),
            "segments.deals.growth_year": (0.2, 10.0),
            "segments.deals.market_units_month": (10.0, 200.0),
            "behaviour.leave_year": (0.05, 1.0),
        },
        held_out=2,
        has_residual=True,
        remark="the first quarter's 4 % is a rounded figure",
    ),
    Case(
        name="Helium: hotspots",
        series="helium_hotspots",
        scenario=_helium_first_network(),
        begin=datetime.date(2020, 12, 31),
        observe=_devices,
        record=("devices",),
        ranges={
            "price.initial_usd": (0.5, 5.0),
            "price.fade_year": (-3.0, 2.0),
            "behaviour.join_month": (0.02, 2.0),
            "behaviour.leave_month": (0.02, 0.8),
            "cohorts.hotspots.potential_devices": (6e5, 3e6),
        },
        held_out=2,
        remark="grade D; three known points, price path unknown to the model",
    ),
    Case(
        name="Helium: mobile offload",
        series="helium_offload",
        scenario=_fixed_fleet("Helium Mobile", 24, 190_000.0),
        begin=datetime.date(2024, 11, 30),
        observe=_per_day,
        record=("served",),
        ranges={
            "segments.all.units_month": (50_000.0, 600_000.0),
            "segments.all.growth_year": (0.2, 10.0),
            "segments.all.market_units_month": (500_000.0, 50_000_000.0),
        },
        held_out=2,
        has_residual=True,
        remark="three known points",
    ),
    Case(
        name="Akash: leases",
        series="akash_leases",
        scenario=_fixed_fleet("Akash", 14, 20_000.0),
        begin=datetime.date(2024, 11, 30),
        observe=_per_quarter,
        record=("served",),
        ranges={"segments.all.units_month": (5_000.0, 60_000.0), "segments.all.growth_year": (-3.0, 1.0)},
        held_out=1,
        has_residual=True,
        remark="two known points: nothing more than a trend",
    ),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A published figure and what an exact policy of ours says; nothing is fitted."""

    name: str
    series: str
    computed: Callable[[], list[float]]
    remark: str = ""


def _hip20_days() -> list[float]:
    from fieldstone.economy.policies import POLICIES

    year = POLICIES["helium.hip20"]
    # network years 4, 5, 6 and 7; the fifth has 366 days
    return [float(year(year=number)["hnt"]) / days for number, days in ((4, 365), (5, 366), (6, 365), (7, 365))]


def _render_years() -> list[float]:
    from fieldstone.economy.policies.render import month_emission

    return [float(sum(month_emission(12 * year + month) for month in range(1, 13))) for year in range(3)]


def _helium_supply() -> list[float]:
    from fieldstone.economy.policies import POLICIES

    year = POLICIES["helium.hip20"]
    whole = sum(float(year(year=number)["hnt"]) for number in range(1, 7))
    return [whole + float(year(year=7)["hnt"]) * 305 / 365]  # 2025-08-01 to 2026-06-02


SCHEDULES: tuple[Schedule, ...] = (
    Schedule("Helium: HNT per day", "helium_schedule", _hip20_days, "HIP-20 by division against the chain's table"),
    Schedule("Render: emission of years 1 to 3", "render_emission", _render_years, "5.5 % against a rounded 5.9 M"),
    Schedule(
        "Helium: supply by the schedule alone",
        "helium_supply",
        _helium_supply,
        "wrong by design: year 1 minted 17 M less, some 20 M were burned for good, HIP-138 minted 2.9 M more",
    ),
)
