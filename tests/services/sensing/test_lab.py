"""The lab's world and its inhabitants."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fieldstone.services.contract import REGISTRY_SCHEMA
from fieldstone.services.sensing.lab import (
    ATTACKS,
    MODELS,
    TROUBLES,
    TRUTH_SCHEMA,
    World,
    build_fleet,
    grid_ms,
    honest_station,
    readings_table,
)
from fieldstone.services.sensing.lab_noise import smooth, stream, uniform, white
from fieldstone.services.sensing.rules.models import MODELS as RULE_MODELS
from fieldstone.services.sensing.schema import EVIDENCE_SCHEMA, VARIABLES
from fieldstone.units import DAY_MS, HOUR_MS

START_MS = 1_740_787_200_000  # 2025-03-01, the day after 28 February
WORLD = World(7, START_MS)


def test_noise_is_a_function_of_stream_and_index() -> None:
    index = np.arange(20_000)
    one = white(stream("a"), index)
    np.testing.assert_array_equal(one[5:9], white(stream("a"), index[5:9]))
    assert abs(one.mean()) < 0.03 and abs(one.std() - 1) < 0.03
    assert abs(np.corrcoef(one, white(stream("b"), index))[0, 1]) < 0.03
    assert uniform(1, index).min() > 0 and uniform(1, index).max() < 1
    assert abs(smooth(3, index * 10.0, 300.0).std() - 1) < 0.1


def test_the_world_is_the_same_asked_in_steps_in_bulk_and_in_another_order() -> None:
    times = START_MS + 300_000 * np.arange(50)
    bulk = WORLD.observe([48.0, 48.1], [16.0, 16.1], [100, 300], times)
    one = WORLD.observe(48.1, 16.1, 300, times[::-1])
    for name, values in bulk.items():
        np.testing.assert_allclose(values[1], one[name][::-1], atol=1e-6)
        np.testing.assert_allclose(values[1, 30], WORLD.observe(48.1, 16.1, 300, times[30])[name][0], atol=1e-6)


def test_other_seeds_are_other_worlds() -> None:
    times = START_MS + HOUR_MS * np.arange(24)
    other = World(8, START_MS).observe(48.0, 16.0, 100, times)["temperature_c"]
    assert np.abs(WORLD.observe(48.0, 16.0, 100, times)["temperature_c"] - other).max() > 1


def test_the_world_stays_within_what_is_physically_possible() -> None:
    times = START_MS + HOUR_MS * np.arange(24 * 60)
    seen = WORLD.observe([0.0, 48.0, -55.0], [0.0, 16.0, -70.0], [0, 500, 20], times)
    for column in VARIABLES:
        low, high = column.possible
        assert seen[column.name].min() >= low and seen[column.name].max() <= high, column.name
    assert (seen["pm2_5_ugm3"] <= seen["pm10_ugm3"]).all()


@pytest.mark.parametrize(
    ("variable", "low", "high"),
    [
        ("temperature_c", 0.3, 0.75),
        ("humidity_pct", 0.25, 0.7),
        ("pressure_hpa", 0.85, 1.0),
        ("wind_speed_ms", -0.1, 0.3),
    ],
)
def test_neighbours_agree_about_as_much_as_real_ones(variable: str, low: float, high: float) -> None:
    # hourly differences of stations 17–33 km apart; reference: airport data, .51–.59, .29–.46, .93–.95, .14–.17
    times = START_MS + HOUR_MS * np.arange(24 * 30)
    r = []
    for seed in range(3):
        seen = World(seed, START_MS).observe([40.7, 40.64, 40.69], [-73.87, -73.68, -74.17], [5, 5, 5], times)[variable]
        step = np.corrcoef(np.diff(seen, axis=1))
        r += [step[0, 1], step[0, 2], step[1, 2]]
    assert low < np.mean(r) < high


def test_higher_is_colder_and_thinner() -> None:
    times = START_MS + HOUR_MS * np.arange(48)
    seen = WORLD.observe([48.0, 48.0], [16.0, 16.0], [0, 1000], times)
    assert (seen["temperature_c"][0] - seen["temperature_c"][1]).mean() == pytest.approx(6.5, abs=0.5)
    assert (seen["pressure_hpa"][0] - seen["pressure_hpa"][1]).mean() == pytest.approx(115, abs=6)


def test_a_station_driven_live_sends_what_it_sends_in_bulk() -> None:
    station = honest_station("did:key:z1", 48.0, 16.0, 150, seed=3)
    times = grid_ms(station, START_MS, START_MS + DAY_MS)
    bulk = station.readings(WORLD, times)
    for k in (0, 100, 479):
        live = station.readings(WORLD, times[k : k + 1])
        for name in bulk:
            np.testing.assert_array_equal(live[name], bulk[name][k : k + 1])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_changes_what_is_sent_and_keeps_the_schema(trouble: str) -> None:
    well = honest_station("d", 48.0, 16.0, 150, seed=3)
    ill = honest_station("d", 48.0, 16.0, 150, seed=3, trouble=trouble)
    times = grid_ms(well, START_MS, START_MS + DAY_MS)
    one, other = readings_table(well, WORLD, times), readings_table(ill, WORLD, times)
    assert dict(other.schema) == EVIDENCE_SCHEMA
    assert not one.equals(other)
    assert other["t_ms"].is_sorted()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown trouble"):
        honest_station("d", 0, 0, 0, seed=1, trouble="gremlins")
    with pytest.raises(ValueError, match="unknown attacks"):
        build_fleet(WORLD, attacks=["magic"])
    with pytest.raises(ValueError, match="ask for more stations"):
        build_fleet(WORLD, honest=3)


def test_every_attack_builds_sends_and_is_described() -> None:
    fleet = build_fleet(WORLD, honest=20, attacks=list(ATTACKS), troubles=(), interval_s=900)
    table = fleet.readings(START_MS, START_MS + DAY_MS // 4)
    assert dict(table.schema) == EVIDENCE_SCHEMA and dict(fleet.truth.schema) == TRUTH_SCHEMA
    assert dict(fleet.registry.schema) == REGISTRY_SCHEMA
    assert set(fleet.truth["label"]) >= {"honest", "original", *ATTACKS}
    assert set(table["device"]) == set(fleet.registry["device"])
    assert table.sort("device", "t_ms", maintain_order=True).equals(table)
    assert all(attack.summary and attack.days >= 1 for attack in ATTACKS.values())
    assert (fleet.registry["enrolled_ms"] < START_MS).all()


def test_a_copier_sends_only_what_was_already_public() -> None:
    fleet = build_fleet(WORLD, honest=20, attacks=["copied_neighbour"], troubles=())
    copy = next(source for source in fleet.sources if source.label == "copied_neighbour")
    times = grid_ms(copy, START_MS, START_MS + DAY_MS // 4)
    sent = copy.readings(WORLD, times)["temperature_c"]
    public = {
        round(float(value), 3): int(moment)
        for source in fleet.sources
        if source is not copy
        for moment, value in zip(
            grid_ms(source, START_MS - HOUR_MS, START_MS + DAY_MS // 4),
            source.readings(WORLD, grid_ms(source, START_MS - HOUR_MS, START_MS + DAY_MS // 4))["temperature_c"],
            strict=True,
        )
        if np.isfinite(value)
    }
    assert {round(float(v), 3) for v in sent if np.isfinite(v)} <= set(public)


def test_fleets_follow_from_the_seed_and_ids_tell_nothing() -> None:
    one, two = (build_fleet(World(3, START_MS), honest=20, attacks=["indoors"], troubles=()) for _ in range(2))
    assert one.registry.equals(two.registry) and one.truth.equals(two.truth)
    assert one.truth.sort("device")["label"].to_list() != sorted(one.truth["label"].to_list()) or one.truth.height == 1


def test_models_of_the_lab_are_those_of_the_rules() -> None:
    assert set(MODELS) <= set(RULE_MODELS)
    for name, (variables, interval_s) in MODELS.items():
        assert interval_s <= RULE_MODELS[name].hold_s
        assert set(RULE_MODELS[name].required) <= set(variables)


def test_the_mix_of_models_is_used() -> None:
    fleet = build_fleet(WORLD, honest=40, troubles=(), mix={"air": 0.5, "noise": 0.5})
    assert set(fleet.registry["model"]) == {"air", "noise"}
    table = fleet.readings(START_MS, START_MS + HOUR_MS)
    assert table["pm2_5_ugm3"].null_count() < table.height and table["wind_speed_ms"].null_count() == table.height
    assert table.filter(pl.col("traffic_count").is_not_null())["traffic_count"].min() >= 0
