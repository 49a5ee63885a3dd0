"""All checks together: on a lab day, on odd input, in any order."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.findings import COVERAGE_SCHEMA, FINDINGS_SCHEMA
from fieldstone.services.sensing.fleet import check, find
from fieldstone.services.sensing.lab import build_fleet
from fieldstone.services.sensing.lab_trial import FRAUD, outcome, world_of
from fieldstone.services.sensing.rules.reasons import REASONS
from fieldstone.services.sensing.schema import EVIDENCE_SCHEMA, KIND, VARIABLE_NAMES
from fieldstone.services.sensing.verify import check_devices
from fieldstone.units import HOUR_MS
from tests.services.sensing.fleet.fleets import PARAMS, epoch_of, lab_day, labelled

CAUGHT = {
    "copied_neighbour": "COPY_OF",
    "copied_lag": "COPY_OF",
    "copied_scaled": "COPY_OF",
    "copied_noisy": "COPY_OF",
    "copied_disguised": "COPY_OF",
    "one_sensor_many": "SHARED_SENSOR",
    "fabricated_smooth": "FABRICATED",
    "fabricated_noisy": "FABRICATED",
    "threshold_gaming": "FABRICATED",
    "model_replay": "FABRICATED",
    "interpolated": "FABRICATED",
    "indoors": "INDOORS",
    "stuck": "STUCK",
    "wrong_elevation": "WRONG_ELEVATION",
    "colluding_cluster": "NEIGHBOURS_DISAGREE",
}


@pytest.mark.parametrize(("attack", "reason"), CAUGHT.items())
def test_an_attack_is_caught_for_the_right_reason(attack: str, reason: str) -> None:
    fleet, _, _, found = lab_day()
    rows = labelled(fleet, found.findings).filter(pl.col("label") == attack, pl.col("reason") == reason)
    assert set(rows["device"]) == set(fleet.truth.filter(pl.col("label") == attack)["device"])


def test_healthy_honest_stations_lose_nothing() -> None:
    fleet, _, _, found = lab_day()
    table = outcome(fleet, found.findings).filter(pl.col("label").is_in(["honest", "original"]))
    assert table.height > 80
    assert table.filter(pl.col("penalised")).height <= 1  # 1 % is what the scoreboard promises


def test_findings_carry_evidence_in_the_agreed_form() -> None:
    _, _, _, found = lab_day()
    rows = found.findings
    assert dict(rows.schema) == FINDINGS_SCHEMA and dict(found.coverage.schema) == COVERAGE_SCHEMA
    assert set(rows["reason"]) <= set(REASONS)
    assert set(rows["variable"]) <= {"", *VARIABLE_NAMES}
    assert rows["severity_ppm"].is_between(0, 1_000_000).all()
    assert rows["measured"].is_finite().all() and rows["threshold"].is_finite().all()
    assert all(isinstance(json.loads(text), dict) for text in rows["detail"])
    assert set(FRAUD) <= set(REASONS)


def test_the_result_is_the_same_in_any_order_of_rows() -> None:
    fleet = build_fleet(world_of(3), honest=30, attacks=["copied_lag", "indoors"], troubles=())
    whole = epoch_of(fleet)
    checks = check_devices(whole)
    one = check(whole, checks)
    shuffled = dataclasses.replace(whole, registry=whole.registry.sample(fraction=1.0, shuffle=True, seed=5))
    other = check(shuffled, checks.sample(fraction=1.0, shuffle=True, seed=6))
    assert one.findings.equals(other.findings) and one.coverage.equals(other.coverage)
    assert all(one.carry[name].equals(other.carry[name]) for name in one.carry)


def test_a_colluding_cluster_does_not_outvote_the_honest_station_in_its_middle() -> None:
    # seven identities, each under its own operator address: addresses cost nothing
    fleet = build_fleet(world_of(5), honest=60, attacks=["colluding_sybils"], troubles=())
    whole = epoch_of(fleet)
    rows = labelled(fleet, check(whole, check_devices(whole)).findings)
    assert rows.filter(pl.col("label") == "honest", pl.col("severity_ppm") > 0).is_empty()
    caught = rows.filter(pl.col("label") == "colluding_sybils", pl.col("reason") == "NEIGHBOURS_DISAGREE")
    assert caught["device"].n_unique() == 7


@pytest.mark.parametrize("stations", [0, 1, 2, 5])
def test_small_fleets_are_not_accused(stations: int) -> None:
    fleet = build_fleet(world_of(2), honest=stations, troubles=())
    whole = epoch_of(fleet)
    found = check(whole, check_devices(whole))
    assert found.findings.is_empty()
    if stations == 1:  # "no neighbour" is not "passed"
        assert found.coverage.filter(pl.col("check") == "neighbours")["checked_ppm"].to_list() == [0]


@pytest.mark.parametrize("hours", [1, 3, 6, 12])
def test_short_epochs_accuse_nobody_honest_and_still_find_the_living_room(hours: int) -> None:
    fleet = build_fleet(world_of(21), honest=30, attacks=["indoors"], troubles=(), interval_s=180 if hours > 3 else 60)
    start_ms = fleet.world.start_ms + (8 * HOUR_MS if hours < 12 else 0)
    end_ms = start_ms + hours * HOUR_MS
    evidence = {KIND: fleet.readings(start_ms, end_ms)}
    whole = EpochInput(1, start_ms, end_ms, fleet.registry, evidence, PARAMS)
    table = outcome(fleet, check(whole, check_devices(whole)).findings)
    assert table.filter(pl.col("penalised"))["label"].to_list() == ["indoors"]


def test_an_epoch_without_readings_has_no_findings() -> None:
    fleet = build_fleet(world_of(2), honest=5, troubles=())
    whole = dataclasses.replace(epoch_of(fleet), evidence={KIND: pl.DataFrame(schema=EVIDENCE_SCHEMA)})
    findings, carry = find(whole, check_devices(whole))
    assert findings.is_empty()
    again, _ = find(dataclasses.replace(whole, epoch=2, carry=carry), check_devices(whole))
    assert again.is_empty()


def test_hostile_numbers_do_not_crash() -> None:
    fleet = build_fleet(world_of(2), honest=6, troubles=())
    whole = epoch_of(fleet)
    registry = whole.registry.with_columns(lat=pl.lit(float("nan")), elevation_m=pl.lit(1e308))
    whole = dataclasses.replace(whole, registry=registry)
    checks = check_devices(whole)
    wild = np.full(len(checks["series_temperature_c"][0]), np.float32(3e38)).tolist()
    checks = checks.with_columns(series_temperature_c=pl.Series([wild] * checks.height, dtype=pl.List(pl.Float32)))
    assert set(check(whole, checks).findings["reason"]) <= set(REASONS)


def test_every_parameter_says_unit_meaning_and_source() -> None:
    from fieldstone.services.sensing.fleet.parameters import PARAMETERS

    assert set(PARAMS["fleet"]) == set(PARAMETERS)
    assert all(one.meaning and one.source for one in PARAMETERS.values())
