"""Preparing, varying and simulating: what is varied is what a run sees, and bad words are named."""

from __future__ import annotations

import numpy as np
import pytest

from fieldstone.economy.flywheel import Cohort, Region, Scenario, Segment, prepare, simulate
from fieldstone.economy.flywheel.engine import scenario_of
from fieldstone.errors import UsageError

SCENARIO = Scenario(
    months=12,
    regions=(Region(name="north", demand_share=0.5), Region(name="south", demand_share=0.5)),
    cohorts=(
        Cohort(name="a", region="north", initial_devices=10),
        Cohort(name="b", region="south", initial_devices=10),
    ),
    segments=(Segment(name="x"), Segment(name="y")),
)


def test_vary_gives_each_run_its_own_number_in_both_engines() -> None:
    keys = {
        "price.volatility_year": [0.1, 0.5, 2.0],
        "cohorts.a.capex_usd": [10.0, 20.0, 30.0],
        "cohorts.*.failure_year": [0.0, 1.0, 2.0],
        "segments.y.units_month": [1e2, 1e3, 1e4],
        "regions.*.power_usd_kwh": [0.0, 1.0, 2.0],
    }
    varied = prepare(SCENARIO).vary(keys)
    seen = scenario_of(varied, 2)
    assert seen.price.volatility_year == 2.0
    assert [cohort.capex_usd for cohort in seen.cohorts] == [30.0, 500.0]
    assert [segment.units_month for segment in seen.segments] == [1_000.0, 1e4]
    fast, plain = simulate(varied, runs=3, engine="compiled"), simulate(varied, runs=3, engine="reference")
    np.testing.assert_allclose(fast.values, plain.values, rtol=1e-9)
    alone = simulate(seen, runs=1, first_run=2)
    np.testing.assert_allclose(fast.values[:, 2], alone.values[:, 0], rtol=1e-9)


def test_relative_variation_multiplies_and_keeps_limits() -> None:
    varied = prepare(SCENARIO).vary({"service.uptime": [0.5, 1.0, 2.0]}, relative=True)
    assert varied.parameters["service_uptime"].tolist() == [0.97 * 0.5, 0.97, 1.0]


def test_varying_twice_keeps_the_first() -> None:
    twice = prepare(SCENARIO).vary({"burn.share": [0.1, 0.2]}).vary({"burn.take": [0.3, 0.4]})
    assert twice.parameters["burn_share"].tolist() == [0.1, 0.2]
    assert twice.parameters["burn_take"].tolist() == [0.3, 0.4]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("price.nothing", 1.0, "nothing"),
        ("price", 1.0, "price"),
        ("cohorts.z.capex_usd", 1.0, "cohorts.z"),
        ("cohorts.a.region", 1.0, "region"),
        ("price.initial_usd", -1.0, "initial_usd"),
        ("price.initial_usd", float("nan"), "initial_usd"),
        ("emission.tokens_month", 1.0, "emission.scale"),
        ("price.model", 1.0, "price.model"),
        ("months", 3.0, "months"),
    ],
)
def test_bad_keys_are_named(key: str, value: float, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        prepare(SCENARIO).vary({key: [value]})


def test_columns_need_one_length_and_runs_must_match() -> None:
    with pytest.raises(UsageError):
        prepare(SCENARIO).vary({"burn.share": [0.1], "burn.take": [0.1, 0.2]})
    with pytest.raises(UsageError):
        simulate(prepare(SCENARIO).vary({"burn.share": [0.1, 0.2]}), runs=3)


@pytest.mark.parametrize(
    "bad", [{"runs": 0}, {"seed": -1}, {"first_run": -1}, {"record": ("nonsense",)}, {"record": ()}]
)
def test_bad_arguments_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        simulate(SCENARIO, **{"runs": 2, **bad})  # type: ignore[arg-type]


def test_series_that_were_not_recorded_are_named() -> None:
    with pytest.raises(UsageError, match="price_usd"):
        simulate(SCENARIO, runs=1, record=("devices",))["price_usd"]
