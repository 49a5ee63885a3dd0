"""Turning points of a fleet, in the scenario's own formulas and in the published model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fieldstone.economy.flywheel import Cohort, Region, Scenario, Segment, Service
from fieldstone.economy.flywheel.tipping import critical_mass, equilibria
from fieldstone.errors import UsageError

SCENARIO = Scenario(
    regions=(Region(coverage_devices=1_000.0),),
    cohorts=(
        Cohort(name="a", initial_devices=1, potential_devices=1e5, capex_usd=120, opex_usd_month=4.0, power_w=0.0, life_months=60, capacity_units_month=1e6),
    ),
    segments=(Segment(name="all", units_month=50_000.0),),
    service=Service(coverage_exponent=2.0, uptime=1.0),
)  # fmt: skip


def test_the_margin_is_a_hump_that_crosses_zero_twice() -> None:
    found = equilibria(SCENARIO)
    assert found.low is not None and found.high is not None
    assert 1 < found.low < found.peak < found.high
    # c² · 50,000 / N = 4 + 2 dollars at both ends, c = 1 − e^(−N/1000)
    from math import expm1

    for fleet in (found.low, found.high):
        assert expm1(-fleet / 1_000) ** 2 * 50_000 / fleet == pytest.approx(6, rel=1e-3)


def test_no_fleet_pays_where_demand_is_too_small() -> None:
    poor = replace(SCENARIO, segments=(Segment(name="all", units_month=100.0),))
    found = equilibria(poor)
    assert found.low is None and found.high is None
    assert found.margin_usd.max() < 0


def test_a_fleet_is_needed() -> None:
    with pytest.raises(UsageError):
        equilibria(replace(SCENARIO, cohorts=(Cohort(name="a", potential_devices=0.0),)))


def test_published_model_has_two_equilibria_around_its_peak() -> None:
    """p(N, N) = (1 − N)(0.1 + N): peak at 0.45, height 0.3025; at cost 0.2 the roots of N² − 0.9 N + 0.1."""
    low, peak, high, enough = critical_mass(0.2, 0.05)
    assert peak == pytest.approx(0.45)
    assert low == pytest.approx((0.9 - 0.41**0.5) / 2, abs=1e-3)
    assert high == pytest.approx((0.9 + 0.41**0.5) / 2, abs=1e-3)
    assert enough is None or peak <= enough <= high
    assert critical_mass(0.31, 0.0)[0] is None
