"""Mints without end, credits nobody can pay, prices that are late."""

from __future__ import annotations

import math

import pytest

from fieldstone.errors import UsageError
from fieldstone.rewards.lint_money import CreditSystem, MintRule, lint_credits, lint_mint, safe_price_age_s
from fieldstone.units import TOKEN_BASE


def checks(rule: MintRule) -> dict[str, str]:
    return {finding.check: finding.severity for finding in lint_mint(rule)}


def test_a_mint_that_ends_is_sound() -> None:
    assert checks(lambda epoch, burned, revenue, price: 10**24 >> (epoch // 100)) == {}
    assert checks(lambda epoch, burned, revenue, price: 0) == {}


def test_a_mint_that_never_ends_is_a_warning_and_one_that_grows_an_error() -> None:
    assert checks(lambda epoch, burned, revenue, price: 10**18) == {"unbounded-mint": "warning"}
    assert checks(lambda epoch, burned, revenue, price: 10**18 * epoch) == {"unbounded-mint": "error"}


def test_a_circular_mint_is_found_wherever_its_slope_is() -> None:
    assert checks(lambda epoch, burned, revenue, price: burned) == {"unbounded-mint": "error"}
    assert checks(lambda epoch, burned, revenue, price: max(0, burned - 10**24) * 2) == {"unbounded-mint": "error"}
    assert checks(lambda epoch, burned, revenue, price: burned * 99 // 100) == {}


def test_a_mint_above_demand_is_found() -> None:
    assert checks(lambda epoch, burned, revenue, price: revenue * TOKEN_BASE // price) == {"above-demand": "error"}
    assert checks(lambda epoch, burned, revenue, price: revenue * TOKEN_BASE * 9 // (price * 10)) == {}
    (found,) = lint_mint(
        lambda epoch, burned, revenue, price: 2 * revenue * TOKEN_BASE // price, price_micro_usd=50_000
    )
    assert found.gain_ppm == 2_000_000
    low, high = found.example["minted"]
    assert (high - low) * 50_000 // TOKEN_BASE == 2 * (found.example["to"] - found.example["from"])


def test_half_price_uncovers_a_vault_that_just_covers() -> None:
    just = CreditSystem(vault_tokens=100, price_usd=1, outstanding_usd=100)
    (found,) = lint_credits(just)
    assert (found.check, found.severity, found.gain_ppm) == ("insolvent-credit", "error", 500_000)
    twice = CreditSystem(vault_tokens=200, price_usd=1, outstanding_usd=100)
    assert lint_credits(twice) == []
    budget = CreditSystem(vault_tokens=100, price_usd=1, outstanding_usd=100, budget_usd=50)
    assert lint_credits(budget) == []
    breaker = CreditSystem(vault_tokens=100, price_usd=1, outstanding_usd=100, halt_ppm=900_000)
    assert [finding.severity for finding in lint_credits(breaker)] == ["warning"]


def test_late_prices_pay_until_spread_and_take_exceed_the_fall() -> None:
    def found(spread_ppm: int, take_ppm: int = 0) -> set[str]:
        system = CreditSystem(
            vault_tokens=10, price_usd=1, outstanding_usd=1, price_age_s=3_600, spread_ppm=spread_ppm, take_ppm=take_ppm
        )
        return {finding.check for finding in lint_credits(system)}

    # an hour at 100 % a year: 2.326 · √(1/8766) = 2.5 %
    assert found(20_000) == {"oracle-lag"}
    assert found(30_000) == set()
    assert found(0, 30_000) == set()


def test_safe_age_is_where_the_fall_meets_the_take() -> None:
    age = safe_price_age_s(100_000)
    assert -math.expm1(-2.326 * math.sqrt(age / 31_557_600)) == pytest.approx(0.1, abs=1e-4)
    assert safe_price_age_s(0) == 0


@pytest.mark.parametrize("bad", [{"price_usd": -1.0}, {"vault_tokens": math.nan}, {"outstanding_usd": math.inf}])
def test_impossible_systems_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        CreditSystem(**{"vault_tokens": 1.0, "outstanding_usd": 1.0, "price_usd": 1.0, **bad})  # type: ignore[arg-type]
