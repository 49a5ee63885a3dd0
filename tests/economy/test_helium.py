"""Helium: what must hold for any burn, price and crowd."""

from __future__ import annotations

import random

import h3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.policies import evaluate
from fieldstone.economy.policies.helium import DAILY_BONES, smooth_burn
from fieldstone.economy.policies.helium_density import LIMITS, density_scales

BONES = st.integers(0, 10**16)


def test_hip20_halves_every_two_years() -> None:
    years = [evaluate("helium.hip20", {"year": year})["hnt"] for year in range(1, 41)]
    assert years[::2] == years[1::2]
    assert all(later * 2 == earlier for earlier, later in zip(years[::2], years[2::2], strict=False))
    assert sum(years) < 240e6


def test_the_stored_schedule_is_the_division_of_its_year() -> None:
    table = dict(DAILY_BONES)
    for date, hnt, days in (("2023-08-02", 30e6, 365), ("2023-08-03", 15e6, 366), ("2024-08-01", 15e6, 365)):
        assert table[date] == round(hnt / days * 10**8)


def test_a_steady_burn_is_learned_in_weeks() -> None:
    smoothed = 0
    for _ in range(60):
        smoothed = smooth_burn(smoothed, 7_000_000)
    assert 6_990_000 < smoothed <= 7_000_000


@given(BONES, BONES, BONES)
@settings(max_examples=100, deadline=None)
def test_re_emission_never_exceeds_what_was_burned(before: int, burned: int, cap: int) -> None:
    keys = {"smoothed_before_bones": before, "supply_before_bones": burned, "supply_bones": 0, "cap_bones": cap}
    result = evaluate("helium.net_emissions", keys)
    assert result["re_emit_bones"] <= cap
    assert 7 * result["smoothed_bones"] <= 6 * max(before, 300) + burned


def test_a_forgotten_mint_reads_as_no_burn() -> None:
    kept = {
        "smoothed_before_bones": 10**12,
        "supply_before_bones": 10**16 + 10**13,
        "supply_bones": 10**16 + 9 * 10**12,
    }
    forgotten = kept | {"supply_before_bones": 10**16}
    assert evaluate("helium.net_emissions", kept)["burned_bones"] == 10**12
    assert evaluate("helium.net_emissions", forgotten)["burned_bones"] == 0


@given(BONES, BONES, st.integers(0, 2**32 - 1), BONES, st.integers(-10, 10**9), st.integers(0, 10**8), BONES)
@settings(max_examples=200, deadline=None)
def test_re_emission_and_top_up_never_exceed_the_smoothed_burn(
    schedule: int, smoothed: int, share: int, dc: int, price: int, confidence: int, cap: int
) -> None:
    keys = {"schedule_bones": schedule, "smoothed_bones": smoothed, "share": share, "dc": dc, "price": price}
    result = evaluate("helium.backstop", {**keys, "confidence": confidence, "cap_bones": cap})
    assert result["re_emit_bones"] + result["top_up_bones"] <= smoothed
    assert result["total_bones"] == schedule + result["re_emit_bones"] + result["top_up_bones"]
    assert result["overflow_bones"] <= result["total_bones"]


def test_a_demand_beyond_64_bits_pays_no_top_up() -> None:
    keys = {"schedule_bones": 0, "smoothed_bones": 2**63, "share": 1, "dc": 10**15, "price": 1, "cap_bones": 0}
    assert evaluate("helium.backstop", keys)["top_up_bones"] == 0


def test_the_floor_lags_after_a_crash() -> None:
    """The price falls to a third: for days the burn average is too small to pay the whole floor."""
    smoothed, delivered = 3 * 10**12, []
    for _ in range(21):
        smoothed = smooth_burn(smoothed, 9 * 10**12)
        keys = {"schedule_bones": 2 * 10**12, "smoothed_bones": smoothed, "share": 2**32 - 1}
        result = evaluate("helium.backstop", {**keys, "dc": 2 * 10**9, "price": 10**7})
        delivered.append(result["total_bones"] * 70 // 100)
    target = 10**9 * 10**11 // 10**7
    assert delivered[0] < target * 0.5
    assert delivered == sorted(delivered)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_hip10_never_pays_more_than_was_burned(dc: list[int], pool: int) -> None:
    result = evaluate("helium.hip10", {"dc": ",".join(map(str, dc)), "hnt_price": 2, "pool_hnt": pool})
    assert sum(result["paid_bones"]) + result["surplus_bones"] == pool * 10**8
    for paid, carried in zip(result["paid_bones"], dc, strict=True):
        assert 2 * paid * 10**5 <= carried * 10**8


def test_the_fixed_pool_paid_for_self_dealing_and_hip10_does_not() -> None:
    alone = {"dc": 14_500_000, "hnt_price": 1, "pool_hnt": 21_000}
    assert evaluate("helium.hip10", {**alone, "rule": "fixed_pool"})["paid_usd"] == [21_000]
    assert evaluate("helium.hip10", alone)["paid_usd"] == [145]


def test_the_supplement_adds_up_to_141_million() -> None:
    days = sum(evaluate("helium.supplement", {"day": day})["bones"] for day in range(1, 1200))
    assert days / 10**8 == pytest.approx(141.12e6, rel=1e-9)


def crowd(seed: int, size: int) -> dict[str, int]:
    """Return devices in cells of resolution 10 around one place."""
    rng = random.Random(seed)
    cells = list(h3.grid_disk(h3.latlng_to_cell(40.7, -74.0, 10), 12))
    return {cell: rng.randrange(1, 30) for cell in rng.sample(cells, size)}


@pytest.mark.parametrize("rule", LIMITS)
def test_order_does_not_matter(rule: str) -> None:
    devices = crowd(1, 80)
    shuffled = dict(random.Random(2).sample(list(devices.items()), len(devices)))
    assert density_scales(devices, rule) == density_scales(shuffled, rule)


@pytest.mark.parametrize("rule", LIMITS)
def test_a_cell_never_counts_above_its_maximum(rule: str) -> None:
    devices = crowd(3, 120)
    scales = density_scales(devices, rule)
    assert all(0 < scale <= 1 for scale in scales.values())
    for resolution in range(4, 11):
        units: dict[str, float] = {}
        for cell, count in devices.items():
            parent = h3.cell_to_parent(cell, resolution)
            units[parent] = units.get(parent, 0) + float(scales[cell] * count)
        assert max(units.values()) <= LIMITS[rule][resolution][2] + 1e-9


def test_clones_in_a_cell_dilute_each_other() -> None:
    cell = h3.latlng_to_cell(47.0, 8.0, 12)
    for count in (1, 2, 50):
        assert float(density_scales({cell: count})[cell] * count) == 1


def test_a_served_neighbourhood_may_be_denser() -> None:
    centre = h3.latlng_to_cell(47.0, 8.0, 8)
    alone = density_scales({centre: 4}, "hip17")[centre]
    near = density_scales(dict.fromkeys(h3.grid_disk(centre, 1), 4), "hip17")[centre]
    assert alone < near
