"""Fit a scenario to the beginning of a series and forecast its end, with intervals.

Rejection sampling (approximate Bayesian computation): parameters are drawn from stated ranges, each set is run once with
its own random numbers, and the runs whose summaries come closest to the known part are kept; ranges shrink to what was
kept, twice; what the runs kept last do next is the forecast. Summaries are the logarithms of the known values; for more
than eight of them, the means over quarters of the known part and, where the model has noise of its own for the series,
the standard deviation of its changes. (Comparing noisy paths point by point would prefer runs that happen to be calm,
and give bands that are too narrow.) Where it has none, the residual around the median of the kept runs is added.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.backtest.series import PublicSeries
from fieldstone.economy.flywheel import Result, Scenario, prepare, simulate

Numbers = NDArray[np.float64]

DRAWS, KEPT, ROUNDS = 6_000, 150, 3
FEW = 8
QUARTERS = 4
_LEAST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A series, the scenario that should explain it, and which of its numbers are not known.

    `begin`: date of the scenario's start. `observe`: result → runs × steps in the series' unit; a flow is summed over
    `group` steps (and points of the series). `ranges`: key → (low, high), log-uniform where low > 0. `held_out`: points
    at the end that the fit does not see. `has_residual`: add the residual of the fit to the forecast.
    """

    name: str
    series: str
    scenario: Scenario
    begin: datetime.date
    observe: Callable[[Result], Numbers]
    record: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    held_out: int
    group: int = 1
    has_residual: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of the held-out points: one row per kept run. `fitted`: the same for the known points."""

    fitted: Numbers
    ahead: Numbers
    kept: Mapping[str, tuple[float, float, float]]  # key → p10, p50, p90 of the kept draws


def forecast(case: Case, series: PublicSeries, *, seed: int = 0, draws: int = DRAWS, kept: int = KEPT) -> Forecast:
    """Return the forecast of a case. The same seed gives the same forecast."""
    known = len(series.values) - case.held_out
    rng = np.random.Generator(np.random.Philox(key=[seed, 7]))
    target = np.log(np.maximum(series.values, _LEAST))
    prepared, ranges = prepare(case.scenario), dict(case.ranges)
    for number in range(ROUNDS):
        drawn = {key: _draw(rng, low, high, draws) for key, (low, high) in ranges.items()}
        result = simulate(prepared.vary(drawn), runs=draws, seed=seed, first_run=number * draws, record=case.record)
        at = _at(case, series, case.observe(result))
        logs = np.log(np.maximum(at, _LEAST))
        best = _closest(case, logs[:, :known], target[:known])[:kept]
        ranges = {key: (float(values[best].min()), float(values[best].max())) for key, values in drawn.items()}
    fitted, ahead = at[best, :known], at[best, known:]
    if case.has_residual:
        residual = target[:known] - np.median(logs[best, :known], axis=0)
        noise = float(residual.std()) * rng.standard_normal(ahead.shape)
        ahead = ahead * np.exp(noise)
    percentiles = {
        key: tuple(float(p) for p in np.percentile(values[best], [10, 50, 90])) for key, values in drawn.items()
    }
    return Forecast(fitted, ahead, percentiles)  # type: ignore[arg-type]


def _draw(rng: np.random.Generator, low: float, high: float, count: int) -> Numbers:
    if low > 0:
        spread: Numbers = np.exp(rng.uniform(np.log(low), np.log(high), count))
        # rounding must not leave the key's limits
        held: Numbers = np.minimum(np.maximum(spread, low), high)
        return held
    even: Numbers = rng.uniform(low, high, count)
    return even


def _at(case: Case, series: PublicSeries, values: Numbers) -> Numbers:
    """Return what each run shows at the series' dates: runs × points."""
    if case.group > 1:
        count = len(series.values)
        sums: Numbers = values[:, : count * case.group].reshape(len(values), count, case.group).sum(axis=2)
        return sums
    step_days = 365.25 / case.scenario.steps_per_year
    steps = [round((date - case.begin).days / step_days) - 1 for date in series.dates]
    there: Numbers = values[:, np.clip(steps, 0, values.shape[1] - 1)]
    return there


def _closest(case: Case, logs: Numbers, target: Numbers) -> NDArray[np.intp]:
    """Return the runs in the order of their distance from the known part."""
    theirs, ours = _summaries(case, target[None, :])[0], _summaries(case, logs)
    spread = np.median(np.abs(ours - np.median(ours, axis=0)), axis=0)
    distance = (((ours - theirs) / np.where(spread > 0, spread, 1.0)) ** 2).sum(axis=1)
    return np.argsort(distance, kind="stable")


def _summaries(case: Case, logs: Numbers) -> Numbers:
    if logs.shape[1] <= FEW:
        return logs
    summaries = [part.mean(axis=1) for part in np.array_split(logs, QUARTERS, axis=1)]
    if not case.has_residual:
        summaries.append(np.diff(logs, axis=1).std(axis=1))
    return np.stack(summaries, axis=1)
