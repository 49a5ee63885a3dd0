"""Smoothed estimates against the network's own tests and against plain summation."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fieldstone.economy.policies import evaluate
from fieldstone.economy.policies.filecoin import EPOCHS_PER_DAY, simple_q128
from fieldstone.economy.policies.filecoin_smoothing import (
    FIRST_REWARD_ATTO,
    FIRST_VELOCITY_ATTO,
    Estimate,
    ln,
    sum_of_ratio,
)
from fieldstone.errors import UsageError

# builtin-actors, alpha_beta_filter.rs, test_natural_log: compared in whole units there
LOGARITHMS = [
    (340282366920938463463374607431768211456, 0),
    (924990000000000000000000000000000000000, 340282366920938463463374607431768211456),
    (34028236692093846346337460743176821145600000000000000000000, 15670582109617661336106769654068947397831),
    (6805647338418769269267492148635364229120000000000000000000000, 17473506083804940763855390762239996622013),
    (204169000000000000000000000000000000, -2524410000000000000000000000000000000000),
    (34028236692093846346337460743, -7835291054808830668053384827034473698915),
]


@pytest.mark.parametrize(("x", "wanted"), LOGARITHMS)
def test_natural_log(x: int, wanted: int) -> None:
    assert ln(x) >> 128 == wanted >> 128
    assert abs(ln(x) - wanted) < 1 << 118


def test_the_first_estimate_is_the_simple_reward_of_epoch_1() -> None:
    assert simple_q128(1) >> 128 == FIRST_REWARD_ATTO
    # the comment beside the constant upstream says "change between epochs 0 and 1"; that change is far larger
    assert (simple_q128(1) - simple_q128(0)) >> 128 < 30 * FIRST_VELOCITY_ATTO


def summed(reward: Estimate, power: Estimate, epochs: int) -> Fraction:
    """Return the sum that the closed form stands for, by the trapezium rule."""
    one = 1 << 128
    terms = [
        Fraction(reward.position + reward.velocity * t, power.position + power.velocity * t) for t in range(epochs)
    ]
    return (sum(terms) - (terms[0] + terms[-1]) / 2) * one


@pytest.mark.parametrize(
    ("reward", "power", "epochs"),
    [
        ((111, 12), (3456, 8), 2_000),
        ((1_000_000, -100), (70_000, 1000), 2_000),
        ((50 * 10**18, 25), (10**19, 1), EPOCHS_PER_DAY),
        ((50 * 10**18, 100), (2 * 10**22, 2**60 // EPOCHS_PER_DAY), EPOCHS_PER_DAY),
    ],
)
def test_the_closed_form_is_the_sum(reward: tuple[int, int], power: tuple[int, int], epochs: int) -> None:
    one, two = Estimate.of(*reward), Estimate.of(*power)
    step = max(1, epochs // 500)  # a coarse sum is enough: the lines are smooth
    coarse = step * summed(
        Estimate(one.position, one.velocity * step), Estimate(two.position, two.velocity * step), epochs // step + 1
    )
    assert float(sum_of_ratio(one, two, epochs) / coarse) == pytest.approx(1, abs=2e-3)


def test_a_constant_reward_is_projected_exactly() -> None:
    reward, power = Estimate.of(10**12), Estimate.of(200 * 10**12)
    assert sum_of_ratio(reward, power, 100) == (1 << 128) // 2
    assert sum_of_ratio(reward, power, 100, start=10**15) == (1 << 128) // 2


def test_falling_power_is_refused_before_it_reaches_zero() -> None:
    with pytest.raises(UsageError, match="fall to 0"):
        sum_of_ratio(Estimate.of(1), Estimate.of(100, -1), 100)


def test_growing_power_lowers_the_pledge() -> None:
    keys = {
        "qap_bytes": 32 << 30,
        "network_qap_bytes": 2 * 10**19,
        "baseline_bytes": 6 * 10**19,
        "circulating_atto": 680 * 10**24,
        "reward_atto": 60 * 10**18,
    }
    level = evaluate("filecoin.pledge", keys)
    growing = evaluate("filecoin.pledge", {**keys, "network_qap_velocity": 10**13})
    assert growing["deposit_atto"] < level["deposit_atto"]
    assert level["pledge_atto"] - growing["pledge_atto"] == level["deposit_atto"] - growing["deposit_atto"]
