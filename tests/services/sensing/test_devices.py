"""Stage 1 as a whole: odd epochs, any gap pattern, any values, any partition."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.services.conformance import check_verdicts, run, table_bytes
from fieldstone.services.sensing import service
from fieldstone.services.sensing.schema import KIND, VARIABLE_NAMES
from fieldstone.services.sensing.series import RESAMPLED, series
from tests.services.sensing.stations import (
    DAY_MS,
    HOUR_MS,
    LEAP_DAY_MS,
    epoch,
    every,
    no_readings,
    readings,
    registry,
    weather,
)

odd_values = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 99.0, 360.0]),
    st.floats(-50, 50),
)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_gap_pattern_or_value_crashes_a_verdict(data: st.DataObject) -> None:
    frames = []
    for device in ("a", "b", "c")[: data.draw(st.integers(1, 3))]:
        offsets = data.draw(st.lists(st.integers(-HOUR_MS, DAY_MS + HOUR_MS), max_size=25))
        count = len(offsets)
        names = data.draw(st.lists(st.sampled_from(VARIABLE_NAMES), unique=True, max_size=5))
        columns = {name: data.draw(st.lists(odd_values, min_size=count, max_size=count)) for name in names}
        delay = data.draw(st.integers(-DAY_MS, 30 * DAY_MS))
        frames.append(readings(device, LEAP_DAY_MS + np.array(offsets, dtype=np.int64), delay, **columns))
    model = data.draw(
        st.sampled_from(["generic", "hourly", "WS1000", "WS2000", "air", "noise", "traffic", "", "unheard-of"])
    )
    enrolled = data.draw(st.sampled_from([0, LEAP_DAY_MS + HOUR_MS, LEAP_DAY_MS + 2 * DAY_MS]))
    length = data.draw(st.sampled_from([60_000, 600_000, HOUR_MS, DAY_MS]))
    whole = epoch(pl.concat(frames), registry("a", "b", model=model, enrolled_ms=enrolled), length_ms=length)
    check_verdicts(service, whole, run(service, whole))


@pytest.mark.parametrize("length_ms", [1, 60_000, 600_000, HOUR_MS, DAY_MS, 31 * DAY_MS, 366 * DAY_MS])
def test_epochs_of_any_length(length_ms: int) -> None:
    times = every(max(180, length_ms / 1000 / 500), length_ms)
    whole = epoch(weather("a", times), registry("a"), length_ms=length_ms)
    table = service.check_devices(whole)
    assert dict(table.schema) == RESAMPLED
    assert 0 < table["available_ms"][0] <= length_ms
    assert len(table["series_temperature_c"][0]) <= 9_000
    check_verdicts(service, whole, run(service, whole))


def test_a_full_day_of_a_good_station_is_accepted_whole() -> None:
    result = run(service, epoch(weather("a", every(180)), registry("a")))
    row = result.verdicts.row(0, named=True)
    assert (row["quantity"], row["quality_ppm"], row["verdict"], row["reasons"]) == (86_400, 1_000_000, "accepted", [])
    assert result.sellable[KIND].height == 480
    assert result.sellable[KIND]["quality_ppm"].unique().to_list() == [1_000_000]


def test_a_silent_station_is_rejected_with_no_data() -> None:
    row = run(service, epoch(no_readings(), registry("a"))).verdicts.row(0, named=True)
    assert (row["quantity"], row["quality_ppm"], row["verdict"], row["reasons"]) == (0, 0, "rejected", ["NO_DATA"])


def test_readings_of_a_stranger_are_named() -> None:
    whole = epoch(pl.concat([weather("a", every(180)), weather("zz", every(180))]), registry("a"))
    rows = {row["device"]: row for row in run(service, whole).verdicts.iter_rows(named=True)}
    assert rows["zz"]["reasons"] == ["NOT_ENROLLED"] and rows["zz"]["quantity"] == 0
    assert json.loads(rows["zz"]["detail"])["causes"][0]["rows"] == 480
    assert set(run(service, whole).sellable[KIND]["device"].unique()) == {"a"}


def test_unsorted_evidence_gives_the_same_bytes() -> None:
    evidence = pl.concat([weather("a", every(180)), weather("b", every(180), seed=1)])
    whole = epoch(evidence, registry("a", "b"))
    mixed = with_evidence(whole, evidence.sample(fraction=1.0, shuffle=True, seed=3))
    assert table_bytes(run(service, whole).verdicts) == table_bytes(run(service, mixed).verdicts)


def with_evidence(whole, evidence: pl.DataFrame):
    return dataclasses.replace(whole, evidence={KIND: evidence})


def test_a_flood_of_good_readings_cannot_dilute_a_bad_hour() -> None:
    """Twelve bad hours cost half, however many readings the good half is cut into."""
    sparse, dense = every(180, DAY_MS // 2), every(10, DAY_MS // 2, LEAP_DAY_MS + DAY_MS // 2)
    evidence = weather("a", np.concatenate((sparse, dense)))
    hot = evidence.with_columns(
        temperature_c=pl.when(pl.col("t_ms") < LEAP_DAY_MS + DAY_MS // 2).then(300.0).otherwise(pl.col("temperature_c"))
    )
    table = service.check_devices(epoch(hot, registry("a")))
    assert table["passed_ms_temperature_c"][0] == pytest.approx(DAY_MS // 2, abs=1)


def test_more_readings_do_not_make_more_time() -> None:
    few = service.check_devices(epoch(weather("a", every(180)), registry("a")))["available_ms"][0]
    many = service.check_devices(epoch(weather("a", every(5)), registry("a")))["available_ms"][0]
    assert few == many == DAY_MS


def test_unlisted_models_are_judged_by_their_rhythm() -> None:
    hourly = service.check_devices(epoch(weather("a", every(3600)), registry("a", model="acme")))
    quick = service.check_devices(epoch(weather("a", every(60)), registry("a", model="acme")))
    assert (hourly["model"][0], quick["model"][0]) == ("hourly", "generic")
    assert hourly["available_ms"][0] == quick["available_ms"][0] == DAY_MS


def test_missing_wind_direction_in_calm_is_normal() -> None:
    times = every(180)
    calm = np.where(np.arange(len(times)) % 2, 0.0, 0.3)
    direction = [None] * len(times)
    found = service.check_devices(
        epoch(weather("a", times, wind_speed_ms=calm, wind_direction_deg=direction), registry("a"))
    )
    assert found["passed_ms_wind_direction_deg"][0] == 0  # a channel that never came is missing …
    direction[0] = 90.0
    found = service.check_devices(
        epoch(weather("a", times, wind_speed_ms=calm, wind_direction_deg=direction), registry("a"))
    )
    assert found["passed_ms_wind_direction_deg"][0] == DAY_MS  # … one that came and is undefined in calm is not


def test_series_hold_means_sums_and_mean_directions() -> None:
    times = every(60, 600_000)
    whole = epoch(
        readings("a", times, temperature_c=[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], rain_mm=0.2, wind_direction_deg=[350.0, 10] * 5,
                 noise_dba=[60.0, 70.0] * 5),
        registry("a", model="generic"),
        params=service.with_overrides(service.default_params(1), {"fleet_min_slots": 1}),
        length_ms=1_200_000,
    )  # fmt: skip
    table = service.check_devices(whole)
    assert series(table, "temperature_c")[0].tolist()[:2] == [3.0, 8.0]
    assert series(table, "rain_mm")[0][0] == pytest.approx(1.0)
    assert (
        min(series(table, "wind_direction_deg")[0][0] % 360, 360 - series(table, "wind_direction_deg")[0][0] % 360) < 10
    )
    assert series(table, "noise_dba")[0][0] == pytest.approx(10 * np.log10((3 * 1e6 + 2 * 1e7) / 5), abs=1e-3)
    assert np.isnan(series(table, "temperature_c")[0][2:]).all()
    assert np.isnan(series(table, "pm10_ugm3")).all()


def test_noise_levels_average_by_energy() -> None:
    """60 and 70 dB for equal times are 67.40 dB, not 65 (reference: sensing §7.9)."""
    whole = epoch(
        readings("a", every(30, 60_000), noise_dba=[60.0, 70.0]), registry("a", model="noise"), length_ms=60_000
    )
    assert series(service.check_devices(whole), "noise_dba")[0][0] == pytest.approx(67.40, abs=0.005)
