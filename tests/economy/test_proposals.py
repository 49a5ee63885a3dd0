"""Mints beside the schedule and proposed rules: the figures their authors print."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.economy.policies import evaluate

AMOUNT = st.integers(0, 10**12)


def test_supplement_of_hip138_is_2_9_million() -> None:
    last = evaluate("helium.hip138", {"day": 237})
    assert (last["minted_before_bones"] + last["bones"]) / 1e8 == pytest.approx(2_900_000, abs=1e-5)
    assert evaluate("helium.hip138", {"day": 1})["hnt"] == 12_236.28691983
    assert evaluate("helium.hip138", {"day": 238})["bones"] == 0


def test_hip150_floor_binds_below_thirty_cents() -> None:
    """ "At ~91K GB/day the pool of 15,215 HNT falls below $0.05/GB when HNT drops below ~$0.30.\""""
    keys = {"gb": 91_000, "smoothed_hnt": 45_000, "share": "0.89"}
    above, below = (
        evaluate("helium.hip150_backstop", {**keys, "hnt_price": "0.31"}),
        evaluate("helium.hip150_backstop", {**keys, "hnt_price": "0.29"}),
    )
    assert above["baseline_hnt"] == pytest.approx(15_215, rel=0.01)
    assert above["backstop_hnt"] == 0
    assert below["backstop_hnt"] > 0
    assert below["usd_per_gb"] == pytest.approx(0.05)


@given(AMOUNT, st.integers(1, 10**6), AMOUNT)
def test_hip150_backstop_never_exceeds_the_smoothed_burn(gb: int, cents: int, smoothed: int) -> None:
    keys = {"gb": gb, "hnt_price": str(Fraction(cents, 100).__float__()), "smoothed_hnt": smoothed}
    assert 0 <= evaluate("helium.hip150_backstop", keys)["backstop_hnt"] <= smoothed


def test_hip150_ramp_rises_to_its_ceiling_and_ends() -> None:
    months = [evaluate("helium.hip150_ramp", {"month": month}) for month in range(1, 40)]
    assert [month["hnt_per_day"] for month in months[:3]] == [50_000, 62_000, 74_000]
    assert max(month["hnt_per_day"] for month in months) == 196_000
    assert months[-1]["hnt_per_day"] == 0
    assert months[-1]["minted_before_hnt"] == 141_000_000


def test_hip146_is_a_minimum_or_the_uplinks() -> None:
    assert evaluate("helium.hip146", {"uplinks": 3, "seat_minimum_dc": 10})["dc"] == 10
    assert evaluate("helium.hip146", {"uplinks": 30, "seat_minimum_dc": 10, "seats": 5})["dc"] == 150
    roaming = {"uplinks": 3, "seat_minimum_dc": 10, "roaming_multiplier": 2, "is_roaming": 1}
    assert evaluate("helium.hip146", roaming)["dc"] == 20


def test_hip86_doubles_a_small_packet() -> None:
    assert evaluate("helium.hip86", {"packets": 1_000}) == {"dc": 2_000, "usd": 0.02}


def test_rnp020_walk_through() -> None:
    """12,482 × 0.9065 = 11,314; 15,497 against 15,000 is 3.3 % higher: no change."""
    target = evaluate("render.rnp020_target", {"burn": 12_482, "growth": "-0.0935"})
    assert target["projected_burn"] == pytest.approx(11_314, abs=1)
    assert target["target"] == target["projected_burn"], "no node changed"
    kept = evaluate("render.rnp020", {"pay": 15_000, "target": 15_497})
    assert kept["pay"] == 15_000 and not kept["is_changed"]


def test_rnp020_floor_example() -> None:
    """Burns below 5,000 = 15,000 / 3 trigger a rebalance 10 % lower, to 13,600."""
    assert evaluate("render.rnp020", {"pay": 15_000, "target": 4_999})["pay"] == 13_600
    assert evaluate("render.rnp020", {"pay": 15_000, "target": 5_001})["pay"] == 15_000


def test_rnp020_ceiling_example() -> None:
    """$737.6 k a day at $3.83 and Y = 1.3: 113 k RENDER."""
    ceiling = evaluate("render.rnp020_ceiling", {"volume_usd": 737_600, "price": "3.83"})["ceiling"]
    assert ceiling == pytest.approx(113_955.5, abs=1)
    capped = evaluate("render.rnp020", {"pay": 110_000, "target": 200_000, "ceiling": ceiling})
    assert capped["pay"] == pytest.approx(ceiling) and capped["is_at_ceiling"]


def test_rnp020_growth_of_nodes_raises_the_target() -> None:
    more = evaluate("render.rnp020_target", {"burn": 10_000, "nodes2": "0.3", "nodes3": "0.3"})
    assert more["node_factor"] == pytest.approx(1.3)
    assert more["pain_factor"] == pytest.approx(1.0)


@given(st.integers(1_000, 10**6), st.integers(0, 10**6), st.integers(0, 4))
def test_pay_moves_by_no_more_than_the_cap(pay: int, target: int, quarters: int) -> None:
    found = evaluate("render.rnp020", {"pay": pay, "target": target, "quarters_same_way": quarters})
    cap = 0.1 * (1 + quarters)
    assert pay / (1 + cap) - 51 <= found["pay"] <= pay * (1 + cap) + 51


def price(**keys: int) -> int:
    base = {"one_chunk": 20_000, "two_chunk": 44_800, "vdf_steps": 7_776_000, "reward_winston": 5 * 10**16}
    base |= {"interval_s": 8_294_400, "hashes": 7_776 * 10**7}
    return int(evaluate("arweave.price", {**base, **keys})["price_gib_minute"])


def test_arweave_price_by_hand() -> None:
    """All solutions with two chunks: s = 2 · 100 MiB / 256 KiB = 800."""
    expected = 800 * 10 * 10**15 * 2**30 * 60 // (10 * 10**6 * 3_600_000_000_000)
    assert price(one_chunk=0, vdf_steps=10, reward_winston=10**15, interval_s=10, hashes=10**6) == expected


@given(st.integers(1, 10**15), st.integers(1, 10**6), st.integers(0, 10**5), st.integers(0, 10**5))
def test_price_rises_with_reward_and_falls_with_hashes(reward: int, hashes: int, one: int, two: int) -> None:
    keys = {"one_chunk": one, "two_chunk": two, "reward_winston": reward, "hashes": hashes}
    assert price(**{**keys, "reward_winston": 2 * reward}) >= price(**keys)
    assert price(**{**keys, "hashes": 2 * hashes}) <= price(**keys)


@given(st.integers(0, 10**5), st.integers(0, 10**5))
def test_one_chunk_solutions_never_raise_the_estimate(one: int, two: int) -> None:
    assert price(one_chunk=one + 1, two_chunk=two) <= price(one_chunk=one, two_chunk=two)
