"""Slow drift by Theil–Sen on daily residuals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fieldstone.services.sensing.fleet.drift import CARRY_SCHEMA, join, report_drift, theil_sen
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.surroundings import Surroundings
from fieldstone.units import DAY_MS
from tests.services.sensing.fleet.fleets import RULES, START_MS, frame

TODAY = START_MS // DAY_MS


def history(slopes: dict[str, float], days: int, noise: float = 0.15, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {"device": d, "variable": "temperature_c", "day": TODAY - days + k, "slots": 96, "residual": s * k + e}
        for d, s in slopes.items()
        for k, e in enumerate(noise * rng.standard_normal(days))
    ]
    return pl.DataFrame(rows, schema=CARRY_SCHEMA)


def run(past: pl.DataFrame | None, today: float = 0.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    series = np.full((9, 96), 10.0)
    series[0] += today
    fleet = frame({"temperature_c": series}, slot_ms=900_000)
    ledger = Ledger(fleet.devices)
    nobody = np.zeros(9, dtype=bool)
    kept = report_drift(Surroundings(fleet, RULES, ~nobody), past, RULES, ledger, nobody)
    return ledger.findings, kept


@pytest.mark.parametrize("per_day", [0.05, -0.08])
def test_a_drift_of_a_twentieth_degree_a_day_is_found_within_a_month(per_day: float) -> None:
    findings, _ = run(history({"d000": per_day, "d001": 0.0}, 29), today=29 * per_day)
    assert findings.select("device", "reason", "variable").rows() == [("d000", "DRIFT", "temperature_c")]
    assert findings["measured"][0] == pytest.approx(30 * per_day, abs=0.4)
    assert findings["severity_ppm"][0] > 0


def test_a_fresh_drift_is_advice_only() -> None:
    findings, _ = run(history({"d000": 0.12}, 12), today=12 * 0.12)
    assert findings["severity_ppm"].to_list() == [0]


def test_steady_sensors_raise_few_alarms() -> None:
    table = history({f"d{k:03}": 0.0 for k in range(9)}, 29, noise=0.25, seed=3)
    assert run(table)[0].is_empty()


def test_a_constant_bias_is_no_drift() -> None:
    steady = history({"d000": 0.0}, 29, noise=0.05).with_columns(pl.col("residual") + 2.0)
    assert run(steady, today=2.0)[0].is_empty()


def test_days_are_kept_for_the_window_and_epochs_of_a_day_are_joined() -> None:
    past = history({"d000": 0.0}, 60)
    kept = join(past, past.with_columns(pl.col("residual") + 2.0), 30)
    assert kept.height == 30 and kept["slots"].to_list() == [192] * 30
    last = past.filter(pl.col("day") == past["day"].max())["residual"][0]
    assert kept["residual"][-1] == pytest.approx(last + 1.0, abs=1e-3)


def test_theil_sen_ignores_a_wild_day_and_needs_three() -> None:
    day = np.arange(10.0)
    value = 0.3 * day
    value[4] = 50.0
    assert theil_sen(day, value)[0] == pytest.approx(0.3, abs=0.02)
    assert np.isnan(theil_sen(day[:2], value[:2])[0])
