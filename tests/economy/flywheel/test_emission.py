"""Schedules of real networks, summed per step, against the exact policies they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fieldstone.economy.flywheel import Burn, Emission, Scenario, Segment, simulate
from fieldstone.economy.flywheel.emission import PLANS, scheduled
from fieldstone.economy.flywheel.reference import run
from fieldstone.economy.policies import POLICIES
from fieldstone.economy.policies.arweave import base_inflation
from fieldstone.economy.policies.filecoin import EPOCHS_PER_YEAR, simple_q128
from fieldstone.errors import UsageError


def schedule(policy: str, months: int = 24, **keys: float) -> np.ndarray:
    return scheduled(Scenario(months=months, emission=Emission(policy=policy, **keys)))[0]


def test_filecoin_months_are_sums_of_exact_epoch_rewards() -> None:
    epochs = EPOCHS_PER_YEAR // 12
    step = 400  # every 400th epoch: the sum of a smooth curve
    exact = sum(simple_q128(epoch) >> 128 for epoch in range(step // 2, epochs, step)) * step / 10**18
    assert schedule("filecoin.simple")[0] == pytest.approx(exact, rel=1e-6)
    assert schedule("filecoin.simple", months=72).sum() == pytest.approx(165e6, rel=2e-7)


def test_helium_years() -> None:
    assert schedule("helium.hip20", months=48)[:12].sum() == pytest.approx(60e6)
    assert schedule("helium.hip20", months=48)[24:36].sum() == pytest.approx(30e6)
    # HIP-20, year 9: 3.75 M
    assert schedule("helium.hip20", months=12, start_month=96).sum() == pytest.approx(3_750_000)


def test_helium_schedule_by_day_then_halving() -> None:
    daily = float(POLICIES["helium.schedule"](date="2025-08-01")["hnt"])
    late = schedule("helium.schedule", months=60, start_month=24.5)
    assert late[0] == pytest.approx(daily * 30.4375)
    assert late[40] == pytest.approx(daily * 30.4375 / 2, rel=1e-6)


def test_render_months() -> None:
    months = schedule("render", months=36)
    assert months[:12].sum() == pytest.approx(9_126_804, abs=12)
    assert months[0] == float(POLICIES["render.emission"](month=1)["render"])
    assert months[13] == float(POLICIES["render.emission"](month=14)["render"])


def test_arweave_first_year() -> None:
    assert schedule("arweave", months=12).sum() == pytest.approx(5_500_000, rel=1e-5)
    assert schedule("arweave", months=12)[0] > base_inflation(21_900) * 21_900 / 10**12


def test_constant_decays_and_halving_halves() -> None:
    assert schedule("constant", tokens_month=100.0, decay_year=0.5)[12:].sum() == pytest.approx(
        schedule("constant", tokens_month=100.0, decay_year=0.5)[:12].sum() / 2
    )
    assert schedule("halving", tokens_month=100.0, halving_months=12.0).tolist() == pytest.approx(
        [100.0] * 12 + [50.0] * 12
    )


def test_baseline_pays_half_in_six_years_when_capacity_meets_the_target() -> None:
    """R ≥ b always ⇒ θ = t ⇒ half of the pool after six years (with the schedule of simple minting beside it)."""
    emission = Emission(
        policy="filecoin",
        baseline_units_month=1e-9,
        baseline_growth_year=1e-4,
        baseline_pool_tokens=770e6,
        operator_share=1.0,
    )
    series = run(Scenario(months=72, emission=emission)).series
    assert sum(series["emission"]) == pytest.approx((330e6 + 770e6) / 2, rel=1e-3)


def test_baseline_waits_for_storage() -> None:
    emission = Emission(policy="filecoin", baseline_units_month=1e9, baseline_pool_tokens=770e6)
    assert sum(run(Scenario(months=72, emission=emission)).series["emission"]) == pytest.approx(165e6, rel=1e-2)


def test_livepeer_inflation_moves_with_the_bonded_share() -> None:
    """The exact Minter, round by round, against the monthly step."""
    emission = Emission(policy="livepeer", bonded_share=0.4, rounds_month=30.0, inflation_round=137e-6)
    series = run(Scenario(months=12, emission=emission, burn=Burn(mode="none"))).series
    supply, inflation = 10**8 * 10**6, 137
    for _ in range(360):
        step = POLICIES["livepeer.inflation"](
            bonded=supply * 4 // 10, supply=supply, inflation=inflation, change=3, target=500_000
        )
        inflation, supply = int(step["inflation"]), supply + int(step["mintable"])
    minted = supply / 10**6 - 10**8
    assert sum(series["emission"]) == pytest.approx(minted, rel=0.01)


def test_backstop_tops_up_only_from_what_was_burned() -> None:
    """HIP-149: re-emission and top-up together never exceed the smoothed burn."""
    emission = Emission(policy="helium.backstop", recycle_cap_tokens_month=10.0, operator_share=0.7, floor_share=3.0)
    scenario = Scenario(months=12, emission=emission, segments=(Segment(name="all", units_month=1e5),))
    series, plain = run(scenario).series, scheduled(scenario)[0]
    extra = np.array(series["emission"]) - plain
    assert extra.max() > 10
    assert extra.sum() <= sum(series["burn"]) * (1 + 1e-9)


def test_supplement_is_minted_beside_the_schedule() -> None:
    quiet = Scenario(months=24, emission=Emission(tokens_month=1_000.0))
    loud = replace(quiet, emission=replace(quiet.emission, supplement_tokens_month=9_500.0, supplement_months=12.0))
    assert sum(run(loud).series["emission"]) - sum(run(quiet).series["emission"]) == pytest.approx(12 * 9_500)


@pytest.mark.parametrize("policy", sorted(PLANS))
def test_every_plan_mints_without_a_negative_step(policy: str) -> None:
    made, _ = scheduled(Scenario(emission=Emission(policy=policy), months=240))
    assert made.min() >= 0 and np.isfinite(made).all()
    assert simulate(Scenario(emission=Emission(policy=policy), months=12), runs=2)["emission"].min() >= 0


def test_unknown_policy_is_named() -> None:
    with pytest.raises(UsageError, match="bitcoin"):
        simulate(Scenario(emission=Emission(policy="bitcoin")), runs=1)
