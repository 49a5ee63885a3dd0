"""Calibration finds parameters it can know, its bands cover what the model itself makes, and it never sees the tail."""

from __future__ import annotations

import datetime

import numpy as np

from fieldstone.economy.backtest.calibrate import Case, forecast
from fieldstone.economy.backtest.cases import CASES, _devices, _fixed_fleet
from fieldstone.economy.backtest.scores import score
from fieldstone.economy.backtest.series import PublicSeries, load
from fieldstone.economy.flywheel import Result, simulate

BEGIN = datetime.date(2024, 1, 1)


def served(result: Result) -> np.ndarray:
    return result["served"]


def made_up(growth: float, noise: float, months: int = 30, run: int = 5) -> PublicSeries:
    """Return a series that the model itself made."""
    import dataclasses

    scenario = _fixed_fleet("x", months, 10_000.0)
    segment = dataclasses.replace(scenario.segments[0], growth_year=growth, noise_year=noise)
    values = simulate(dataclasses.replace(scenario, segments=(segment,)), runs=1, seed=99, first_run=run)["served"][0]
    days = [BEGIN + datetime.timedelta(days=round(30.4375 * (t + 1))) for t in range(months)]
    return PublicSeries("x", "", "units", "", "", "D", "", tuple(days), values)


def case(held_out: int = 6) -> Case:
    return Case(
        name="x", series="x", scenario=_fixed_fleet("x", 30, 10_000.0), begin=BEGIN, observe=served, record=("served",),
        ranges={"segments.all.growth_year": (-1.0, 3.0), "segments.all.noise_year": (0.05, 2.0)}, held_out=held_out,
    )  # fmt: skip


def test_known_growth_is_found() -> None:
    found = forecast(case(), made_up(1.2, 0.2), draws=3_000).kept["segments.all.growth_year"]
    assert abs(found[1] - 1.2) < 0.2
    assert found[2] - found[0] < 1.0


def test_bands_cover_what_the_model_makes() -> None:
    """Over many made-up series the 10–90 % band holds about 80 % of the tail."""
    inside = []
    for run in range(12):
        series = made_up(0.6, 0.5, run=run)
        ahead = forecast(case(), series, draws=1_500, kept=100).ahead
        low, high = np.percentile(ahead, [10, 90], axis=0)
        inside.append((low <= series.values[-6:]) & (series.values[-6:] <= high))
    assert 0.65 < np.mean(inside) < 0.95


def test_the_tail_is_not_looked_at() -> None:
    series = made_up(0.6, 0.3)
    changed = PublicSeries("x", "", "units", "", "", "D", "", series.dates, series.values.copy())
    changed.values[-6:] *= 100
    first, second = forecast(case(), series, draws=500, kept=50), forecast(case(), changed, draws=500, kept=50)
    assert np.array_equal(first.ahead, second.ahead)


def test_the_same_seed_gives_the_same_forecast() -> None:
    series = made_up(0.6, 0.3)
    assert np.array_equal(
        forecast(case(), series, draws=300, kept=30).ahead, forecast(case(), series, draws=300, kept=30).ahead
    )


def test_a_fleet_that_is_known_is_fitted() -> None:
    """Render's nodes: the median of the kept runs is within 10 % of the known part."""
    nodes = next(one for one in CASES if one.name == "Render: nodes")
    series = load("render_nodes")
    fitted = np.median(forecast(nodes, series, draws=2_000, kept=60).fitted, axis=0)
    assert nodes.observe is _devices
    assert np.abs(fitted / series.values[: len(fitted)] - 1).mean() < 0.10


def test_scores_have_their_parts() -> None:
    akash = next(one for one in CASES if one.name == "Akash: leases")
    found = score(akash)
    assert found.held_out == len(found.actual) == len(found.median) == 1
    assert found.low[0] <= found.median[0] <= found.high[0]
    assert found.mape == abs(found.median[0] - found.actual[0]) / found.actual[0]
    assert found.persistence_mape is not None and round(found.persistence_mape, 3) == round(19_000 / 27_000, 3)
    assert set(found.meets) == {"mape", "direction", "coverage"}
