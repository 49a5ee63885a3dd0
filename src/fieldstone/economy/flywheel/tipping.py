"""Below which fleet a network shrinks on its own, and at which it stops growing: N_low, N_peak, N_high.

`equilibria(scenario)`: what customers pay per device, at a fleet of N in the scenario's mix, against its running costs
and wear. A small fleet covers little, so little is sold; a large one shares the same demand: the margin is a hump in N,
and it crosses 0 at N_low (tipping point, unstable) and at N_high (stable). Emission moves the outcome for as long as it
is paid; these two do not depend on it.
`critical_mass(...)`: the same hump in the model of Soria Ruiz-Ogarrio et al., FRL 90 (2026) 109115: u = v(φ + ηN^α) − p,
values v uniform on [0, 1], so the price at which N of N want it is p(N, N) = (1 − N)(φ + ηN^α), N a fraction of all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.flywheel.inputs import by_step, tables
from fieldstone.economy.flywheel.limits import HOURS_PER_MONTH
from fieldstone.economy.flywheel.parameters import Scenario
from fieldstone.economy.flywheel.sales import sell
from fieldstone.economy.flywheel.state import start
from fieldstone.errors import UsageError

GRID = 240


@dataclass(frozen=True, slots=True)
class Equilibria:
    """Where the margin of a fleet turns. None: it never does (`low`, `high`: no fleet pays for itself).

    `devices` and `margin_usd` (dollars per device and month) are the curve itself, for a phase plot.
    """

    low: float | None
    peak: float
    high: float | None
    devices: NDArray[np.float64]
    margin_usd: NDArray[np.float64]


def equilibria(scenario: Scenario) -> Equilibria:
    """Return the turning points of a scenario at its start: noise and shocks off, emission out.

    The mix of cohorts is that of the start, or of the potential if nobody is there yet.
    """
    still = replace(
        scenario,
        months=1,
        steps_per_year=12,
        shocks=(),
        segments=tuple(
            replace(segment, growth_year=0.0, churn_year=0.0, noise_year=0.0, season_amplitude=0.0)
            for segment in scenario.segments
        ),
        service=replace(scenario.service, uptime_noise=0.0),
    )
    (now,), state = by_step(tables(still)), start(still)
    mix = np.array([cohort.initial_devices for cohort in still.cohorts])
    if not mix.any():
        mix = np.array([cohort.potential_devices for cohort in still.cohorts])
    if not mix.any():
        raise UsageError("no cohort has devices or potential, so there is no fleet to look for a tipping point of")
    mix = mix / mix.sum()
    power = {region.name: region.power_usd_kwh for region in still.regions}
    costs = np.array(
        [
            cohort.opex_usd_month
            + cohort.power_w / 1000 * HOURS_PER_MONTH * power[cohort.region]
            + cohort.capex_usd / cohort.life_months
            for cohort in still.cohorts
        ]
    )
    cost = float(mix @ costs)
    keep = 1 - still.burn.take

    def margin(devices: float) -> float:
        state.demand = [segment.units_month for segment in still.segments]
        state.credits = 0.0
        sales = sell(still, now, state, [float(part * devices) for part in mix], 0, 0, 0)
        return keep * sales.unit_usd * sales.served / devices - cost

    potential = sum(cohort.potential_devices for cohort in still.cohorts)
    scale = sum(region.coverage_devices for region in still.regions)
    grid = np.geomspace(1.0, 100 * max(potential, scale, 10.0), GRID)
    curve = np.array([margin(float(devices)) for devices in grid])
    peak = int(curve.argmax())
    if curve[peak] <= 0:
        return Equilibria(None, float(grid[peak]), None, grid, curve)
    good = np.flatnonzero(curve > 0)
    first, last = int(good[0]), int(good[-1])
    low = _root(margin, grid[first - 1], grid[first]) if first else float(grid[0])
    high = _root(margin, grid[last], grid[last + 1]) if last + 1 < GRID else float(grid[-1])
    return Equilibria(low, float(grid[peak]), high, grid, curve)


def critical_mass(
    cost: float, investment: float, *, phi: float = 0.1, eta: float = 1.0, alpha: float = 1.0
) -> tuple[float | None, float, float | None, float | None]:
    """Return N_low, N_peak, N_high and N_min = inf{N ≥ N_peak : N (p − c) ≥ I}, as fractions of all; None: none exists.

    `cost` c per unit and `investment` I in the unit of values v.
    """
    n = np.linspace(0.0, 1.0, 20_001)
    price = (1 - n) * (phi + eta * n**alpha)
    peak = int(price.argmax())
    rising, falling = np.flatnonzero(price[: peak + 1] >= cost), np.flatnonzero(price[peak:] < cost)
    paid = np.flatnonzero(n[peak:] * (price[peak:] - cost) >= investment)
    has_hump = price[peak] > cost
    return (
        float(n[rising[0]]) if has_hump else None,
        float(n[peak]),
        float(n[peak + falling[0]]) if has_hump and falling.size else None,
        float(n[peak + paid[0]]) if paid.size else None,
    )


def _root(margin: Callable[[float], float], low: float, high: float) -> float:
    """Return where the margin is 0 between two fleets, by halving."""
    rising = margin(float(high)) > margin(float(low))
    for _ in range(40):
        middle = (low + high) / 2
        if (margin(float(middle)) > 0) == rising:
            high = middle
        else:
            low = middle
    return float((low + high) / 2)
