"""Light of another longitude, pressure of another height, weather of another quarter."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from fieldstone.services.sensing.fleet.frame import Frame
from fieldstone.services.sensing.fleet.indoors import report_indoors
from fieldstone.services.sensing.fleet.ledger import Ledger
from fieldstone.services.sensing.fleet.place import report_elevation, report_light
from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation
from fieldstone.services.sensing.fleet.surroundings import Surroundings
from tests.services.sensing.fleet.fleets import RULES, START_MS, frame

TIMES = START_MS + 450_000 + 900_000 * np.arange(96)


def light(lon: float, n: int = 1) -> np.ndarray:
    rng = np.random.default_rng(4)
    sun = clear_sky_wm2(sin_elevation(48.0, lon, TIMES))
    return np.tile(sun, (n, 1)) * (0.8 + 0.1 * rng.standard_normal((n, TIMES.size)).clip(-2, 2))


def around(fleet: Frame) -> tuple[Surroundings, Ledger, np.ndarray]:
    nobody = np.zeros(fleet.count, dtype=bool)
    return Surroundings(fleet, RULES, ~nobody), Ledger(fleet.devices), nobody


@pytest.mark.parametrize(("lon", "caught"), [(16.0, False), (26.0, False), (70.0, True), (-74.0, True)])
def test_a_lonely_station_far_east_or_west_is_found_by_its_noon(lon: float, caught: bool) -> None:
    seen, ledger, nobody = around(frame({"solar_wm2": light(lon)}, slot_ms=900_000))
    report_light(seen, RULES, ledger, nobody)
    assert (ledger.findings["reason"].to_list() == ["WRONG_PLACE"]) is caught
    if caught:
        assert json.loads(ledger.findings["detail"][0])["fits_longitude"] == pytest.approx(lon, abs=5)


def test_a_cloudy_morning_of_the_whole_region_accuses_nobody() -> None:
    sun = light(16.0, 9)
    sun[:, TIMES < START_MS + 12 * 3_600_000] *= 0.15
    seen, ledger, nobody = around(frame({"solar_wm2": sun}, slot_ms=900_000))
    report_light(seen, RULES, ledger, nobody)
    assert ledger.findings.is_empty()


def test_polar_night_and_missing_light_are_not_judged() -> None:
    dark = np.zeros((3, 96))
    dark[1] = np.nan
    seen, ledger, nobody = around(frame({"solar_wm2": dark, "wind_speed_ms": dark * 0}, slot_ms=900_000))
    report_light(seen, RULES, ledger, nobody)
    assert ledger.coverage["checked_ppm"].to_list() == [0, 0, 0]


def test_pressure_tells_the_true_elevation() -> None:
    pressure = np.full((9, 96), 1000.0)
    pressure[4] -= 12.0
    seen, ledger, nobody = around(frame({"pressure_hpa": pressure}, slot_ms=900_000))
    report_elevation(seen, RULES, ledger, nobody)
    assert ledger.findings["device"].to_list() == ["d004"]
    assert json.loads(ledger.findings["detail"][0])["fits_elevation_m"] == pytest.approx(100 + 12 * 8.3, abs=3)


def room(**outdoor: np.ndarray) -> Frame:
    hours = np.arange(96) / 4
    temperature = np.tile(12 + 6 * np.cos((hours - 15) * np.pi / 12), (9, 1))
    humidity = np.tile(60 - 20 * np.cos((hours - 15) * np.pi / 12), (9, 1))
    series = {"temperature_c": temperature, "humidity_pct": humidity, "wind_speed_ms": np.full((9, 96), 3.0)} | outdoor
    for name, inside in (("temperature_c", 21.0), ("humidity_pct", 45.0), ("wind_speed_ms", 0.0)):
        series[name][4] = inside
    return frame(series, slot_ms=900_000)


def test_a_living_room_is_found_with_and_without_a_light_sensor() -> None:
    sun = light(16.0, 9)
    sun[4] *= 0.03
    for fleet in (room(solar_wm2=sun), room()):
        seen, ledger, nobody = around(fleet)
        report_indoors(seen, RULES, ledger, nobody)
        assert ledger.findings.select("device", "reason").rows() == [("d004", "INDOORS")]


def test_a_dark_overcast_day_is_not_indoors() -> None:
    sun = light(16.0, 9) * 0.08
    seen, ledger, nobody = around(frame({"solar_wm2": sun, "wind_speed_ms": np.zeros((9, 96))}, slot_ms=900_000))
    report_indoors(seen, RULES, ledger, nobody)
    assert ledger.findings.is_empty()


def test_a_room_with_light_of_a_window_is_not_accused_by_light_alone() -> None:
    sun = light(16.0, 9)
    sun[4] *= 0.1  # a shaded sensor, but outdoors: wind and temperature are right
    hours = np.arange(96) / 4
    warm = np.tile(12 + 6 * np.cos((hours - 15) * np.pi / 12), (9, 1))
    fleet = frame({"solar_wm2": sun, "temperature_c": warm, "wind_speed_ms": np.full((9, 96), 3.0)}, slot_ms=900_000)
    seen, ledger, nobody = around(fleet)
    report_indoors(seen, RULES, ledger, nobody)
    assert ledger.findings.filter(pl.col("device") == "d004").is_empty()
