"""Durability: the published table, a simulation that knows groups, and a repair plan that reaches its target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.durability import (
    Placement,
    Rates,
    group_cap,
    independent_loss,
    independent_loss_over,
    loss_order,
    plan_repair,
    repair_cost,
    simulate,
)

TABLE = {
    (4, 6): (2.0e-5, 2.2e-3, 1.6e-2, 9.9e-2),
    (16, 20): (1.4e-6, 2.6e-3, 4.3e-2, 0.37),
    (10, 30): (1.3e-35, 4.4e-21, 5.8e-15, 4.5e-9),
    (20, 40): (1.1e-31, 2.5e-17, 2.0e-11, 5.0e-6),
    (29, 80): (2.2e-83, 1.6e-47, 1.6e-32, 2.9e-18),
    (29, 35): (5.3e-8, 1.5e-3, 5.5e-2, 0.57),
}
QUIET = Rates(disk=0.0, operator=0.0, prefix=0.0, region=0.0, maker=0.0, source="test")


@pytest.mark.parametrize(("k", "n"), TABLE)
def test_the_reference_table(k: int, n: int) -> None:
    for p, expected in zip((0.01, 0.05, 0.10, 0.20), TABLE[k, n], strict=True):
        assert independent_loss(k, n, p) == pytest.approx(expected, rel=0.05)


@given(st.integers(1, 30), st.integers(0, 60), st.floats(0, 1))
def test_loss_is_a_probability_and_more_shares_never_hurt(k: int, alive: int, p: float) -> None:
    loss = independent_loss(k, alive, p)
    assert 0 <= loss <= 1 + 1e-9
    assert independent_loss(k, alive + 1, p) <= loss + 1e-9


@pytest.mark.parametrize(("k", "n", "cap"), [(20, 40, 5), (4, 6, 1), (29, 80, 12), (1, 1, 1)])
def test_group_caps(k: int, n: int, cap: int) -> None:
    assert group_cap(k, n) == cap


def test_the_simulation_agrees_with_the_formula_when_failures_are_independent() -> None:
    """One step, no groups: the binomial figure must lie in the simulation's interval."""
    p = 0.2
    rates = Rates(disk=-365 * __import__("math").log1p(-p), operator=0, prefix=0, region=0, maker=0, source="test")
    found = simulate(4, [Placement("")] * 6, years=1 / 365, repair_days=1.0, rates=rates, trials=40_000, seed=3)
    assert found.low <= independent_loss(4, 6, p) <= found.high


def test_standing_in_one_region_is_what_kills() -> None:
    rates = Rates(disk=0.02, operator=0.0, prefix=0.0, region=0.05, maker=0.0, source="test")
    spread = simulate(4, [Placement(f"o{i}", "", f"r{i}") for i in range(6)], rates=rates, trials=4_000)
    heaped = simulate(4, [Placement(f"o{i}", "", "same") for i in range(6)], rates=rates, trials=4_000)
    assert heaped.low > spread.high
    assert heaped.probability == pytest.approx(0.049, abs=0.012)  # one region event a year is a loss


def test_one_operator_with_too_many_shares_is_seen() -> None:
    rates = Rates(disk=0.0, operator=0.10, prefix=0.0, region=0.0, maker=0.0, source="test")
    alone = simulate(20, [Placement(f"o{i}") for i in range(40)], rates=rates, trials=2_000)
    owned = simulate(20, [Placement("big")] * 21 + [Placement(f"o{i}") for i in range(19)], rates=rates, trials=2_000)
    assert alone.hits == 0
    assert owned.probability == pytest.approx(0.095, abs=0.03)


def test_the_seed_is_the_answer_and_quiet_places_lose_nothing() -> None:
    shares = [Placement(f"o{i}") for i in range(6)]
    assert simulate(4, shares, trials=500, seed=9) == simulate(4, shares, trials=500, seed=9)
    quiet = simulate(4, shares, rates=QUIET, trials=500)
    assert (quiet.probability, quiet.low) == (0.0, 0.0) and 0 < quiet.high < 0.01
    assert simulate(4, shares[:3], n=6, rates=QUIET, trials=50).probability == 1.0


def test_missing_shares_are_repaired_at_the_threshold() -> None:
    shares = [Placement(f"o{i}") for i in range(7)]
    assert simulate(4, shares, n=10, repair_at=7, rates=QUIET, trials=10).repaired_shares_per_year == 3.0
    assert simulate(4, shares, n=10, repair_at=6, rates=QUIET, trials=10).repaired_shares_per_year == 0.0


def test_a_repair_plan_reaches_its_target_with_the_fewest_repairs() -> None:
    plan = plan_repair(20, 40, share_bytes=3_200_000, yearly_loss=0.10, target_per_year=1e-11)
    assert plan.loss_per_year <= 1e-11
    p = 1 - 0.9 ** (3 / 365)
    assert independent_loss(20, plan.threshold, p) * 365 / 3 > 1e-11  # one lower would not do
    eager = plan_repair(20, 40, share_bytes=3_200_000, yearly_loss=0.10, target_per_year=1e-30)
    assert eager.threshold > plan.threshold and eager.repairs_per_year > plan.repairs_per_year
    hopeless = plan_repair(4, 6, share_bytes=1, yearly_loss=0.9, target_per_year=1e-30)
    assert hopeless.threshold == 5 and hopeless.loss_per_year > 1e-30


def test_what_a_repair_costs() -> None:
    """20 shares of 64 MiB read at $0.006 a GiB: 1.25 GiB, $0.0075."""
    assert repair_cost(20, 40, 25, share_bytes=2**26, egress_micro_usd_per_gib=6_000) == 7_500
    with pytest.raises(UsageError, match="nothing to repair"):
        repair_cost(20, 40, 40, share_bytes=1, egress_micro_usd_per_gib=1)
    with pytest.raises(UsageError, match="nothing to repair"):
        repair_cost(20, 40, 19, share_bytes=1, egress_micro_usd_per_gib=1)


def test_the_queue_is_by_danger_not_by_missing_shares() -> None:
    """One share missing of 4/6 is worse than ten of 20/40."""
    assert loss_order({"big": (20, 30), "small": (4, 5), "whole": (20, 40)}, 0.01) == ["small", "big", "whole"]


@pytest.mark.parametrize(("k", "alive", "n"), [(4, 6, 6), (4, 5, 6), (3, 10, 10)])
def test_the_independent_figure_over_a_year_is_the_simulation_without_groups(k: int, alive: int, n: int) -> None:
    """Rates high enough to be seen in 20,000 trials; then both models must give one figure."""
    rates = Rates(disk=3.0, operator=4.0, prefix=0.0, region=0.0, maker=0.0, source="test")
    exact = independent_loss_over(k, alive, n, rates=rates)
    shares = [Placement(f"operator {number}") for number in range(alive)]
    found = simulate(k, shares, n=n, rates=rates, trials=20_000)
    assert found.low <= exact <= found.high and 0.0001 < exact < 0.9


def test_repairs_count_in_the_independent_figure() -> None:
    assert independent_loss_over(4, 3, 6) == 1.0
    assert independent_loss_over(4, 5, 6) < independent_loss(4, 5, 0.07) / 1_000  # 4 % a year without any repair
    assert independent_loss_over(20, 40, 40) < 1e-30
    with pytest.raises(UsageError):
        independent_loss_over(5, 5, 4)
