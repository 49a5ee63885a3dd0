"""Filecoin's minting against the network's own test vectors, and what must hold everywhere."""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.economy.policies import evaluate, filecoin, filecoin_fees
from fieldstone.economy.policies.filecoin_smoothing import Estimate

GOLDEN = json.loads((Path(__file__).parent.parent / "vectors" / "economy" / "filecoin_golden.json").read_text())
POOLS = GOLDEN["simple_total_fil"] * filecoin.ATTO, GOLDEN["baseline_total_fil"] * filecoin.ATTO
ONE = filecoin.ONE


@pytest.mark.parametrize(("epoch", "reward"), GOLDEN["simple"])
def test_golden_simple_rewards(epoch: int, reward: int) -> None:
    assert filecoin.simple_q128(epoch, POOLS[0]) >> 128 == reward


@pytest.mark.parametrize(("theta0", "theta1", "reward"), GOLDEN["baseline"])
def test_golden_baseline_rewards(theta0: int, theta1: int, reward: int) -> None:
    simple = filecoin.simple_q128(0, POOLS[0]) >> 128
    assert filecoin.epoch_reward(0, theta0, theta1, *POOLS) - simple == reward


def test_the_baseline_policy_is_the_golden_difference() -> None:
    theta = 7 * ONE + 12345
    total = evaluate("filecoin.epoch_reward", {"epoch": 9, "theta0": theta, "theta1": theta + ONE})
    simple = evaluate("filecoin.simple_reward", {"epoch": 9})["reward_atto"]
    baseline = evaluate("filecoin.baseline_reward", {"epoch": 9, "theta0": theta, "theta1": theta + ONE})
    assert total["reward_atto"] == simple + baseline["reward_atto"]
    assert total["simple_atto"] == simple


@given(st.integers(0, (5 * ONE - 1)))
@settings(max_examples=200, deadline=None)
def test_expneg_is_the_exponential(x: int) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = (-(Decimal(x) / ONE)).exp()
        error = abs(Decimal(filecoin.expneg(x)) / ONE - exact)
    assert error < (Decimal("3.6e-30") if x < 1725 * ONE // 1000 else Decimal("5e-15"))


@given(st.integers(0, filecoin.LAST_EPOCH - 1), st.integers(0, 2 * ONE), st.integers(0, 2**80))
@settings(max_examples=200, deadline=None)
def test_rewards_are_never_negative(epoch: int, step: int, fraction: int) -> None:
    theta0 = min(epoch * ONE + fraction, (filecoin.LAST_EPOCH - 3) * ONE)
    assert filecoin.epoch_reward(epoch, theta0, theta0 + step) >= 0


def test_half_of_the_simple_pool_in_six_years() -> None:
    epochs = 6 * filecoin.EPOCHS_PER_YEAR
    # the sum of a geometric series, from its exact first and last members
    first, last = filecoin.simple_q128(0), filecoin.simple_q128(epochs)
    paid = (first - last) / (1 - math.exp(-filecoin.LAMBDA / ONE)) / ONE / filecoin.ATTO
    assert paid == pytest.approx(165e6, rel=1e-6)


@given(st.integers(0, 5_000_000))
@settings(max_examples=50, deadline=None)
def test_float_and_integer_forms_agree(epoch: int) -> None:
    rate = math.log(2) / (6 * filecoin.EPOCHS_PER_YEAR)
    wanted = 330e6 * math.expm1(rate) * math.exp(-rate * epoch)
    assert (filecoin.simple_q128(epoch) >> 128) / 1e18 == pytest.approx(wanted, rel=1e-9)


@given(st.integers(1, 5_000_000))
@settings(max_examples=50, deadline=None)
def test_float_and_integer_forms_of_the_baseline_agree(theta: int) -> None:
    rate = math.log(2) / (6 * filecoin.EPOCHS_PER_YEAR)
    wanted = -770e6 * math.expm1(-rate * theta)
    assert (filecoin.baseline_supply_q128(theta << 128) >> 128) / 1e18 == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("start_bytes", "error"), [(1 << 60, 1e-8), (1 << 40, 1e-6), (1 << 30, 1e-3)])
def test_the_baseline_doubles_in_a_year(start_bytes: int, error: float) -> None:
    power = start_bytes
    for _ in range(filecoin.EPOCHS_PER_YEAR):
        power = (power * filecoin.BASELINE_EXPONENT) >> 128
    assert power == pytest.approx(2 * start_bytes, rel=error)


def test_the_first_baseline_is_one_byte_short() -> None:
    state = filecoin.RewardState.start().advance(0)
    assert state.epoch == 0
    assert state.baseline_bytes == filecoin.BASELINE_INITIAL_BYTES - 1
    assert filecoin.RewardState.start() == filecoin.RewardState()


def test_with_power_above_the_baseline_effective_time_is_time() -> None:
    state = filecoin.RewardState.start()
    for _ in range(50):
        state, reward = state.reward_round(1 << 70)
        assert 120 * 10**18 < reward < 121 * 10**18
    # the effective baseline starts one step of growth above the baseline: 6.6e-7 epochs a round
    assert state.theta / ONE == pytest.approx(state.epoch + 1, abs=1e-4)


def test_with_half_the_power_effective_time_runs_at_half_speed() -> None:
    state = filecoin.RewardState.start()
    for _ in range(100):
        state = state.advance(filecoin.BASELINE_INITIAL_BYTES // 2)
    assert state.theta / ONE == pytest.approx(50, rel=1e-3)


def test_a_null_round_moves_time_and_pays_nothing() -> None:
    state = filecoin.RewardState.start().advance(1 << 70)
    after, reward = state.reward_round(1 << 70)
    assert after == state.advance(1 << 70)
    assert reward > 0


@given(st.integers(0, 10**30), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_vested_plus_locked_is_the_reward(reward: int, days: int) -> None:
    result = evaluate("filecoin.vesting", {"reward_atto": reward, "days": days})
    assert result["immediate_atto"] + result["vested_atto"] + result["locked_atto"] == reward
    assert result["available_atto"] + result["locked_atto"] == reward
    assert (result["locked_atto"] == 0) >= (days >= 180)


@given(
    st.integers(1, 2**50),
    st.integers(0, 2**65),
    st.integers(0, 2**65),
    st.integers(0, 2 * 10**27),
    st.integers(700, 1000),
)
@settings(max_examples=100, deadline=None)
def test_pledge_never_above_one_fil_per_32_gib(qap: int, network: int, baseline: int, supply: int, gamma: int) -> None:
    pledge = filecoin_fees.initial_pledge(qap, Estimate.of(network), baseline, supply, Estimate.of(36 * 10**18), gamma)
    assert 0 < pledge <= filecoin.ATTO * qap / (32 << 30)


def test_gamma_ramps_from_1000_to_700() -> None:
    ramp = [filecoin_fees.gamma_permille(epochs, 1000) for epochs in (-1, 0, 3, 4, 500, 1000, 5000)]
    assert ramp == [1000, 1000, 1000, 999, 850, 700, 700]
    assert filecoin_fees.gamma_permille(0, 0) == 700
