"""Two scenarios under the same random numbers: run n of A and run n of B share price shocks, jumps, demand noise and the
quantile of every uncertain input, so their difference is the effect of what was changed (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldstone import metrics
from fieldstone.economy.experiments.outcomes import OUTCOMES, Array, quantiles
from fieldstone.economy.experiments.studies import Study
from fieldstone.economy.flywheel import Scenario
from fieldstone.errors import UsageError


@dataclass(frozen=True, slots=True)
class Difference:
    """B − A of one outcome, paired by run. Numbers are None where a run's value is unknown or infinite on both sides.

    `better`: share of runs in which B is better (None: no direction is). `noise`: variance of the difference over that of
    two independent sets of runs; below 1 is what the common random numbers saved.
    """

    name: str
    a: float | None
    b: float | None
    low: float | None
    middle: float | None
    high: float | None
    better: metrics.Interval | None
    noise: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B. `fewer`, `more`: runs that collapse in A only, and in B only."""

    a: Study
    b: Study
    rows: tuple[Difference, ...]
    collapse_a_only: int
    collapse_b_only: int


def check_comparable(a: Scenario, b: Scenario) -> None:
    """Raise UsageError unless both look equally far in equal steps."""
    if (a.months, a.steps_per_year) != (b.months, b.steps_per_year):
        raise UsageError(
            f"{a.name} has {a.months} months of {a.steps_per_year} steps a year and {b.name} {b.months} of "
            f"{b.steps_per_year}: give both the same months and steps_per_year"
        )


def compare(a: Study, b: Study) -> Comparison:
    """Return B against A, run by run. Raises UsageError when runs or seeds differ."""
    check_comparable(a.scenario, b.scenario)
    if (a.runs, a.seed) != (b.runs, b.seed):
        raise UsageError("a comparison needs the same runs and seed on both sides")
    down_a, down_b = a.main.outcomes["collapsed"] > 0, b.main.outcomes["collapsed"] > 0
    rows = tuple(_difference(name, a.main.outcomes[name], b.main.outcomes[name]) for name in OUTCOMES)
    return Comparison(a, b, rows, int((down_a & ~down_b).sum()), int((down_b & ~down_a).sum()))


def _difference(name: str, a: Array, b: Array) -> Difference:
    both = np.isfinite(a) & np.isfinite(b)
    change = (b - a)[both]
    low, middle, high = quantiles(change, (0.05, 0.5, 0.95)) if change.size else (None, None, None)
    good = OUTCOMES[name].good
    comparable = ~np.isnan(a) & ~np.isnan(b)  # "never" against a number has a winner, too
    better = (
        metrics.wilson(int((good * b[comparable] > good * a[comparable]).sum()), int(comparable.sum()))
        if good
        else None
    )
    apart = float(np.var(a[both]) + np.var(b[both])) if change.size else 0.0
    return Difference(
        name,
        quantiles(a, (0.5,))[0],
        quantiles(b, (0.5,))[0],
        low,
        middle,
        high,
        better,
        float(np.var(change)) / apart if apart > 0 else None,
    )
