"""Neighbour check: the same flags as titanlib, the batch as the single step, votes by owner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.services.sensing.neighbours import (
    FLAGGED,
    MISSING,
    NOT_CHECKED,
    PASSED,
    BuddyRule,
    buddy_batch,
    buddy_flags,
    buddy_flags_batch,
    neighbour_lists,
)

RULE = BuddyRule(min_neighbours=5, threshold=2.0, lapse_per_m=-0.0065, min_sd=1.0, iterations=2)


def town(stations: int, seed: int) -> tuple[np.ndarray, ...]:
    """One station per 4 km² in hills, 3 % faults; single precision so that the oracle sees the same numbers."""
    random = np.random.default_rng(seed)
    side = np.sqrt(stations * 4.0) / 111.32
    lat, lon = 45 + side * random.random(stations), 10 + side * random.random(stations) / np.cos(np.deg2rad(46))
    elevation = 200 + 150 * np.sin(lat * 30) + 60 * np.cos(lon * 25)
    value = 15 + 3 * np.sin(lat * 3) - 0.0065 * elevation + 0.5 * random.standard_normal(stations)
    faulty = random.random(stations) < 0.03
    value = value + faulty * random.choice([-1, 1], stations) * random.uniform(4, 10, stations)
    return tuple(part.astype(np.float32).astype(np.float64) for part in (lat, lon, elevation, value))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("threshold", "iterations"), [(2.0, 2), (3.0, 1), (1.5, 4)])
def test_flags_agree_with_titanlib(seed: int, threshold: float, iterations: int) -> None:
    titanlib = pytest.importorskip("titanlib")
    titanlib.set_omp_threads(1)
    lat, lon, elevation, value = town(2_000, seed)
    rule = BuddyRule(min_neighbours=5, threshold=threshold, lapse_per_m=-0.0065, min_sd=0.5, iterations=iterations)
    lists = neighbour_lists(lat, lon, 5_000, elevation_m=elevation, max_elevation_diff_m=100)
    ours = buddy_flags(value, lists, rule, elevation_m=elevation)
    theirs = titanlib.buddy_check(
        titanlib.Points(lat, lon, elevation), value, [5_000.0], [5], threshold, 100.0, -0.0065, 0.5, iterations
    )
    theirs = np.asarray(theirs)
    assert theirs.sum() > 40
    assert np.mean((ours == FLAGGED) == (theirs == 1)) >= 0.999


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0, 0.5), st.booleans())
def test_batch_is_the_single_step_repeated(seed: int, iterations: int, missing: float, owners: bool) -> None:
    random = np.random.default_rng(seed)
    lat, lon = 45 + 0.2 * random.random(80), 10 + 0.2 * random.random(80)
    elevation = 300 * random.random(80)
    groups = random.integers(0, 30, 80) if owners else None
    table = 10 + random.standard_normal((80, 6)) + 8 * (random.random((80, 6)) < 0.1)
    table[random.random((80, 6)) < missing] = np.nan
    lists = neighbour_lists(lat, lon, 8_000, elevation_m=elevation, max_elevation_diff_m=200, groups=groups)
    rule = BuddyRule(min_neighbours=4, threshold=2.5, lapse_per_m=-0.0065, min_sd=0.3, iterations=iterations)
    single = np.column_stack([buddy_flags(table[:, k], lists, rule, elevation_m=elevation) for k in range(6)])
    np.testing.assert_array_equal(buddy_flags_batch(table, lists, rule, elevation_m=elevation), single)


def test_lists_match_brute_force_great_circles() -> None:
    random = np.random.default_rng(5)
    lat, lon = random.uniform(-90, 90, 300), random.uniform(-180, 180, 300)
    lists = neighbour_lists(lat, lon, 2_000_000)
    phi, lam = np.deg2rad(lat), np.deg2rad(lon)
    half = (
        np.sin((phi[:, None] - phi) / 2) ** 2
        + np.cos(phi[:, None]) * np.cos(phi) * np.sin((lam[:, None] - lam) / 2) ** 2
    )
    near = 2 * 6_378_137 * np.arcsin(np.sqrt(half)) <= 2_000_000
    np.fill_diagonal(near, False)
    for station in range(300):
        mine = lists.indices[lists.offsets[station] : lists.offsets[station + 1]]
        np.testing.assert_array_equal(mine, np.flatnonzero(near[station]))


def test_no_neighbour_is_not_a_pass() -> None:
    lists = neighbour_lists([10.0, 10.0, -40.0], [10.0, 10.01, 100.0], 5_000)
    assert buddy_flags([1.0, 50.0, 3.0], lists, RULE).tolist() == [NOT_CHECKED] * 3
    assert buddy_flags([1.0, np.nan, 3.0], lists, RULE).tolist() == [NOT_CHECKED, MISSING, NOT_CHECKED]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_fleets_and_unknown_places(count: int) -> None:
    lists = neighbour_lists(np.full(count, np.nan), np.full(count, 5.0), 5_000)
    assert buddy_flags(np.ones(count), lists, RULE).tolist() == [NOT_CHECKED] * count
    assert buddy_batch(np.ones((count, 3)), lists, RULE)[0].shape == (count, 3)


def test_across_the_date_line() -> None:
    lists = neighbour_lists([0.0, 0.0], [179.99, -179.99], 5_000)
    assert lists.indices.tolist() == [1, 0]


def test_elevation_limit_is_inclusive_and_lapse_is_removed() -> None:
    lat, lon = 45 + 0.001 * np.arange(7), np.full(7, 10.0)
    elevation = np.array([100.0, 0, 0, 0, 0, 0, 300.5])
    lists = neighbour_lists(lat, lon, 5_000, elevation_m=elevation, max_elevation_diff_m=100)
    value = np.array([9.35, 10, 10, 10, 10, 10, 99])  # 0.65 °C colder 100 m higher is no departure
    tight = BuddyRule(min_neighbours=5, threshold=2.0, lapse_per_m=-0.0065, min_sd=0.1)
    assert buddy_flags(value, lists, tight, elevation_m=elevation)[0] == PASSED
    assert buddy_flags(value, lists, BuddyRule(min_sd=0.1), elevation_m=elevation)[0] == FLAGGED
    assert buddy_flags(value, lists, tight, elevation_m=elevation)[6] == NOT_CHECKED


def test_one_owner_cannot_outvote_an_honest_station() -> None:
    """Nine stations of one hand and five of five hands: by heads the honest lose, by owners they win."""
    lat, lon = 45 + 0.001 * np.arange(15), np.full(15, 10.0)
    value = np.array([10.0, 10.2, 9.9, 10.1, 10.0, 9.8] + [25.0] * 9)
    owners = np.array([0, 1, 2, 3, 4, 5] + [9] * 9)
    rule = BuddyRule(min_neighbours=5, threshold=2.0, min_sd=1.0, iterations=2)
    heads = buddy_flags(value, neighbour_lists(lat, lon, 5_000), rule)
    hands = buddy_flags(value, neighbour_lists(lat, lon, 5_000, groups=owners), rule)
    assert heads[6:].tolist() == [PASSED] * 9
    assert hands[6:].tolist() == [FLAGGED] * 9
    assert (hands[:6] == PASSED).all()


def test_own_stations_do_not_vouch_for_each_other() -> None:
    lat, lon = 45 + 0.001 * np.arange(9), np.full(9, 10.0)
    lists = neighbour_lists(lat, lon, 5_000, groups=np.zeros(9, dtype=int))
    assert buddy_flags(np.full(9, 10.0), lists, RULE).tolist() == [NOT_CHECKED] * 9


def test_scores_are_signed_and_missing_where_unchecked() -> None:
    lat, lon = 45 + 0.001 * np.arange(7), np.full(7, 10.0)
    table = np.full((7, 2), 10.0)
    table[0] = (15.0, 5.0)
    table[1, 1] = np.nan
    lists = neighbour_lists(lat, lon, 5_000)
    flags, score = buddy_batch(table, lists, BuddyRule(min_sd=1.0))
    assert score[0, 0] == pytest.approx(5.0) and score[0, 1] == pytest.approx(-5.0)
    assert flags[1, 1] == MISSING and np.isnan(score[1, 1])
