"""Constant runs, and the weather that excuses them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fieldstone.services.sensing import service
from tests.services.sensing.stations import DAY_MS, HOUR_MS, LEAP_DAY_MS, epoch, every, losses, registry, weather

TIMES = every(180)
ROWS_PER_HOUR = 20


def reasons(**channels: object) -> dict:
    found = losses(epoch(weather("a", TIMES, **channels), registry("a")))
    return {key: row["rows"] for key, row in found.items()}


def held(values: np.ndarray, begin_h: float, hours: float, value: float) -> np.ndarray:
    values = np.array(values, dtype=float)
    values[int(begin_h * ROWS_PER_HOUR) : int((begin_h + hours) * ROWS_PER_HOUR)] = value
    return values


def moving(low: float, step: float = 0.1) -> np.ndarray:
    return low + step * (np.arange(len(TIMES)) % 7)


@pytest.mark.parametrize(("hours", "rows"), [(3.9, 0), (4.2, 84)])
def test_a_stuck_thermometer_after_its_window(hours: float, rows: int) -> None:
    found = reasons(temperature_c=held(moving(12), 6, hours, 12.3), humidity_pct=moving(60, 1))
    assert found.get(("temperature_c", "STUCK"), 0) in ((rows, rows + 1) if rows else (0,))


def test_a_spike_does_not_end_a_stuck_run() -> None:
    values = held(moving(12), 4, 12, 12.3)
    values[10 * ROWS_PER_HOUR] = 60.0
    assert reasons(temperature_c=values)[("temperature_c", "STUCK")] >= 12 * ROWS_PER_HOUR - 1


def test_a_wiggle_below_the_resolution_does_not_help() -> None:
    values = held(moving(12), 4, 12, 12.3)
    values += 1e-4 * (np.arange(len(TIMES)) % 2)
    assert ("temperature_c", "STUCK") in reasons(temperature_c=values)


def test_fog_excuses_temperature_and_humidity() -> None:
    assert reasons(temperature_c=held(moving(8), 2, 10, 8.2), humidity_pct=np.full(len(TIMES), 99.0)) == {}
    assert ("humidity_pct", "STUCK") in reasons(humidity_pct=np.full(len(TIMES), 60.0))


def test_frost_freezes_the_wind() -> None:
    found = reasons(temperature_c=moving(-5), wind_speed_ms=held(moving(3), 2, 12, 4.0), humidity_pct=moving(60, 1))
    assert set(found) == {("wind_speed_ms", "FROZEN")}
    found = reasons(temperature_c=moving(5), wind_speed_ms=held(moving(3), 2, 12, 4.0), humidity_pct=moving(60, 1))
    assert set(found) == {("wind_speed_ms", "STUCK")}


def test_calm_is_a_fault_only_in_dry_air_and_with_a_still_vane() -> None:
    still = held(np.arange(len(TIMES)) % 360, 2, 12, 90.0)
    calm = held(moving(3), 2, 12, 0.0)
    assert set(reasons(wind_speed_ms=calm, wind_direction_deg=still, humidity_pct=moving(50, 1))) == {
        ("wind_speed_ms", "STUCK")
    }
    assert reasons(wind_speed_ms=calm, wind_direction_deg=still, humidity_pct=moving(88, 1)) == {}
    assert reasons(wind_speed_ms=calm, humidity_pct=moving(50, 1)) == {}


def test_a_vane_that_stands_in_wind_is_stuck() -> None:
    still = held(np.arange(len(TIMES)) % 360, 2, 12, 90.0)
    assert set(reasons(wind_direction_deg=still, wind_speed_ms=moving(3))) == {("wind_direction_deg", "STUCK")}


def test_night_and_dry_days_are_not_stuck() -> None:
    assert reasons(rain_mm=np.zeros(len(TIMES)), solar_wm2=np.zeros(len(TIMES))) == {}


def test_a_coarse_instrument_gets_a_longer_window() -> None:
    """A barometer that sends inHg with two decimals moves in steps of 0.34 hPa and stands for hours."""
    step = 33.8638866667 * 0.01
    slow = 1000 + step * (np.arange(len(TIMES)) // (2.5 * ROWS_PER_HOUR))
    assert reasons(pressure_hpa=slow) == {}
    fine = slow + 0.1 * (np.arange(len(TIMES)) % 2) * (np.arange(len(TIMES)) < 3 * ROWS_PER_HOUR)
    assert ("pressure_hpa", "STUCK") in reasons(pressure_hpa=fine)


def test_a_hole_ends_the_run() -> None:
    times = np.concatenate((TIMES[:70], TIMES[110:180]))  # 3.5 h, a hole of 2 h, 3.5 h
    found = losses(epoch(weather("a", times, temperature_c=12.3), registry("a")))
    assert ("temperature_c", "STUCK") not in found


def test_short_epochs_see_a_stuck_sensor_through_the_carry() -> None:
    carry: dict = {}
    seen = []
    for hour in range(6):
        start = LEAP_DAY_MS + hour * HOUR_MS
        whole = epoch(
            weather("a", every(180, HOUR_MS, start), seed=hour, temperature_c=12.3),
            registry("a"),
            start_ms=start,
            length_ms=HOUR_MS,
        )
        result = service.check_fleet(whole, service.check_devices(dataclasses.replace(whole, carry=carry)))
        carry = dict(result.carry)
        seen.append("STUCK" in result.verdicts["reasons"][0])
    assert seen == [False] * 4 + [True] * 2


def test_the_carry_fits_only_the_same_value() -> None:
    start = LEAP_DAY_MS
    first = epoch(
        weather("a", every(180, DAY_MS // 8, start), temperature_c=12.3), registry("a"), length_ms=DAY_MS // 8
    )
    carry = service.check_fleet(first, service.check_devices(first)).carry
    later = start + DAY_MS // 8
    second = epoch(
        weather("a", every(180, DAY_MS // 8, later), temperature_c=12.9),
        registry("a"),
        start_ms=later,
        length_ms=DAY_MS // 8,
    )
    assert ("temperature_c", "STUCK") not in losses(dataclasses.replace(second, carry=carry))
