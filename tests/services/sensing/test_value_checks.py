"""Numbers, clock, repeated times, ranges, amounts, contradictions."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from fieldstone.services.sensing import service
from fieldstone.services.sensing.schema import KIND
from tests.services.sensing.stations import (
    LEAP_DAY_MS,
    epoch,
    every,
    losses,
    readings,
    registry,
    weather,
)

TIMES = every(180)


def one(evidence: pl.DataFrame, **words: object) -> dict:
    return losses(epoch(evidence, registry("a", **words)))


def test_a_clean_day_loses_nothing() -> None:
    assert one(weather("a", TIMES)) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_a_number_is_a_failed_value_not_a_missing_one(value: float) -> None:
    temperature = np.full(len(TIMES), 10.0) + 0.1 * (np.arange(len(TIMES)) % 7)
    temperature[100] = value
    found = one(weather("a", TIMES, temperature_c=temperature))
    assert found[("temperature_c", "NOT_A_NUMBER")]["rows"] == 1
    assert found[("temperature_c", "NOT_A_NUMBER")]["lost_ms"] == 180_000
    assert set(found) == {("temperature_c", "NOT_A_NUMBER")}


@pytest.mark.parametrize("value", [1e308, -1e308, 80.1, -40.1])
def test_range_names_value_and_limit(value: float) -> None:
    temperature = 10.0 + 0.1 * (np.arange(len(TIMES)) % 7)
    temperature[50] = value
    found = one(weather("a", TIMES, temperature_c=temperature))
    row = found[("temperature_c", "OUT_OF_RANGE")]
    assert (row["measured"], row["threshold"]) == (value, 80.0 if value > 0 else -40.0)
    assert set(found) == {("temperature_c", "OUT_OF_RANGE")}


def test_limits_themselves_are_inside() -> None:
    humidity = np.where(np.arange(len(TIMES)) % 2, 99.0, 98.0)
    direction = np.where(np.arange(len(TIMES)) % 2, 0.0, 360.0)
    assert one(weather("a", TIMES, humidity_pct=humidity, wind_direction_deg=direction)) == {}


def test_a_running_total_of_rain_is_too_fast() -> None:
    found = one(weather("a", TIMES, rain_mm=np.linspace(0, 49, len(TIMES))))
    assert found[("rain_mm", "TOO_FAST")]["threshold"] == pytest.approx(0.254 * 180)
    assert found[("rain_mm", "TOO_FAST")]["measured"] > 0.254 * 180


def test_heavy_rain_after_an_outage_is_believed() -> None:
    rain = np.zeros(len(TIMES))
    rain[200] = 40.0
    assert one(weather("a", TIMES, rain_mm=rain)) == {}


def test_pm2_5_above_pm10_fails_both() -> None:
    times = every(150)
    pm10 = 20.0 + (np.arange(len(times)) % 5)
    pm2_5 = pm10 * 0.6
    pm2_5[10] = 50.0
    found = one(readings("a", times, pm2_5_ugm3=pm2_5, pm10_ugm3=pm10), model="air")
    assert {key: row["rows"] for key, row in found.items()} == {
        ("pm2_5_ugm3", "CROSS_CHANNEL"): 1,
        ("pm10_ugm3", "CROSS_CHANNEL"): 1,
    }


def test_more_vapour_than_air_ever_held() -> None:
    hot = 45.0 + 0.1 * (np.arange(len(TIMES)) % 5)
    humid = 90.0 + (np.arange(len(TIMES)) % 5)
    found = one(weather("a", TIMES, temperature_c=hot, humidity_pct=humid))
    assert ("temperature_c", "CROSS_CHANNEL") in found and ("humidity_pct", "CROSS_CHANNEL") in found
    dry = 10.0 + (np.arange(len(TIMES)) % 5)
    assert one(weather("a", TIMES, temperature_c=hot, humidity_pct=dry)) == {}


def test_future_readings_are_charged_once_to_the_device() -> None:
    found = one(weather("a", TIMES).with_columns(received_ms=pl.col("t_ms") - 120_001))
    assert set(found) == {("", "FUTURE_TIME")}
    assert found[("", "FUTURE_TIME")]["measured"] == pytest.approx(120.001)
    assert one(weather("a", TIMES).with_columns(received_ms=pl.col("t_ms") - 120_000)) == {}


@pytest.mark.parametrize(("late_s", "caught"), [(30, False), (3_600, True), (50_000, True), (400_000, False)])
def test_a_clock_in_the_wrong_zone(late_s: int, caught: bool) -> None:
    found = one(weather("a", TIMES).with_columns(received_ms=pl.col("t_ms") + late_s * 1000))
    assert (("", "CLOCK_OFFSET") in found) == caught


def test_a_batch_upload_is_not_a_wrong_clock() -> None:
    evidence = weather("a", TIMES).with_columns(received_ms=pl.lit(int(TIMES[-1]) + 5_000))
    assert one(evidence) == {}


def test_a_retry_costs_nothing_and_a_contradiction_costs_the_channel() -> None:
    evidence = weather("a", TIMES)
    assert one(pl.concat([evidence, evidence.with_columns(received_ms=pl.col("received_ms") + 9_000)])) == {}
    other = evidence.with_columns(temperature_c=pl.col("temperature_c") + 0.5)
    found = one(pl.concat([evidence, other]))
    assert set(found) == {("temperature_c", "REPEATED_TIME")}
    assert found[("temperature_c", "REPEATED_TIME")]["rows"] == len(TIMES)


def test_one_upload_per_sensor_is_joined() -> None:
    """A station that sends each sensor in a message of its own, with one time stamp, is one station."""
    evidence = weather("a", TIMES)
    first = evidence.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("wind_speed_ms", "rain_mm"))
    keep = ("device", "t_ms", "received_ms", "wind_speed_ms", "rain_mm")
    second = evidence.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in evidence.schema.items() if name not in keep
    )
    whole = epoch(pl.concat([first, second]), registry("a"))
    assert losses(whole) == {}
    sold = service.check_fleet(whole, service.check_devices(whole)).sellable[KIND]
    assert sold.height == 2 * len(TIMES)
    assert sold["wind_speed_ms"].null_count() == len(TIMES) == sold["temperature_c"].null_count()


def test_readings_outside_the_epoch_and_before_enrolment_do_not_count() -> None:
    early = every(180, start_ms=LEAP_DAY_MS - 7_200_000)
    found = losses(epoch(weather("a", early), registry("a", enrolled_ms=LEAP_DAY_MS + 3_600_000)))
    assert found[("", "OUTSIDE_EPOCH")]["rows"] == 40
    assert found[("", "BEFORE_ENROLMENT")]["rows"] == 20
    assert found[("", "GAPS")]["lost_ms"] > 0


def test_a_row_without_a_value_vouches_for_nothing() -> None:
    found = one(readings("a", TIMES))
    assert set(found) == {("", "NO_DATA")}


def test_received_may_be_missing() -> None:
    table = service.check_devices(epoch(weather("a", TIMES).drop("received_ms"), registry("a")))
    assert table["delay_median_ms"].to_list() == [0]
