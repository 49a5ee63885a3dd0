"""Durability: the published table, and a simulation that knows groups, held against slower and plainer ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.durability import (
    Placement,
    Rates,
    independent_loss,
    independent_loss_over,
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


def test_the_simulation_agrees_with_the_formula_when_failures_are_independent() -> None:
    """One step, no groups: the binomial figure must lie in the simulation's interval."""
    p = 0.2
    rates = Rates(disk=-365 * math.log1p(-p), operator=0, prefix=0, region=0, maker=0, source="test")
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


def test_both_models_lose_a_share_equally_often() -> None:
    """Shares that share nothing fail alike in both, whatever takes them: regions and makers count in the exact one too."""
    rates = Rates(disk=0.5, operator=1.0, prefix=1.5, region=2.0, maker=2.0, source="test")
    apart = [Placement(f"o{i}", f"p{i}", f"r{i}", f"m{i}") for i in range(6)]
    # repaired shares stay in their regions, so one step: nothing is repaired in it
    once = {"years": 30 / 365, "repair_days": 30.0, "rates": rates}
    found = simulate(4, apart, trials=20_000, seed=5, **once)
    assert found.low <= independent_loss_over(4, 6, 6, **once) <= found.high


def _lived(shares: list[Placement], k: int, rates: Rates, years: int, dice: np.random.Generator) -> bool:
    """Play one object's life event by event, on exponential clocks, with a repair every third day: no steps, no tables."""
    place = [[one.operator, one.prefix, one.region, one.maker] for one in shares]
    alive = [True] * len(shares)
    clocks = [dice.exponential(1 / rates.disk) for _ in shares]
    groups = {}
    for column, name in enumerate(("operator", "prefix", "region", "maker")):
        rate = getattr(rates, name)
        for text in {one[column] for one in place}:
            groups[column, text] = dice.exponential(1 / rate) if rate else math.inf
    fresh = 0
    for look in range(1, round(years * 365 / 3) + 1):
        now = look * 3 / 365
        if min(clocks) > now and min(groups.values()) > now:
            continue
        for index, at in enumerate(clocks):
            if at <= now:
                alive[index] = False
        for (column, text), at in list(groups.items()):
            while at <= now:  # a group may be struck again: what was rebuilt there fails with it
                alive = [old and one[column] != text for old, one in zip(alive, place, strict=True)]
                at += dice.exponential(1 / getattr(rates, ("operator", "prefix", "region", "maker")[column]))
            groups[column, text] = at
        clocks = [now + dice.exponential(1 / rates.disk) if at <= now else at for at in clocks]
        if sum(alive) < k:
            return False
        if sum(alive) <= (k + len(shares)) // 2:
            for index, old in enumerate(alive):
                if not old:
                    fresh += 1
                    alive[index], clocks[index] = True, now + dice.exponential(1 / rates.disk)
                    place[index][:2] = f"new operator {fresh}", f"new prefix {fresh}"
                    groups[0, f"new operator {fresh}"] = now + dice.exponential(1 / rates.operator)
                    groups[1, f"new prefix {fresh}"] = now + dice.exponential(1 / rates.prefix)
    return True


def test_ten_years_with_groups_end_as_they_do_event_by_event() -> None:
    """A 5-of-8 object, two shares an operator, three regions, two makers: one maker's end is the object's."""
    rates = Rates(disk=0.2, operator=0.2, prefix=0.1, region=0.01, maker=0.01, source="test")
    shares = [Placement(f"o{i // 2}", f"p{i // 2}", f"r{i % 3}", f"m{i % 2}") for i in range(8)]
    dice = np.random.default_rng(11)
    lives = 200
    lost = sum(not _lived(shares, 5, rates, 10, dice) for _ in range(lives))
    found = simulate(5, shares, years=10.0, rates=rates, trials=1_000, seed=12)
    sigma = math.sqrt(found.probability * (1 - found.probability) * (1 / lives + 1 / found.trials))
    assert abs(lost / lives - found.probability) < 4 * sigma and 0.05 < found.probability < 0.5
    # and the figure without correlation is far from it: that is why a report shows both
    assert independent_loss_over(5, 8, 8, years=10.0, rates=rates) < found.low / 2


@pytest.mark.parametrize("wrong", [{"years": 0.0}, {"years": -1.0}, {"years": math.nan}, {"repair_days": 0.0}])
def test_times_and_rates_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        simulate(4, [Placement("")] * 6, trials=1, **wrong)
    with pytest.raises(UsageError):
        independent_loss_over(4, 6, 6, **wrong)
    with pytest.raises(UsageError):
        simulate(4, [Placement("")] * 6, trials=1, rates=replace(QUIET, disk=-0.1))
