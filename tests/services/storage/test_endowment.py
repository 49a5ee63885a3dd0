"""Pay once: Arweave's integers exactly, our own price and what it rests on, and the end of the money."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.endowment import (
    DEFAULT_ASSUMPTIONS,
    Fund,
    Latch,
    arweave_fee,
    first_year_micro_usd,
    multiplier,
    permanent_price,
    stress,
    years_covered,
)
from fieldstone.services.storage.schema import GIB, PERMANENT, PRODUCTS


@pytest.mark.parametrize(("size", "fee"), [(2**30, 2_201_996_589_465), (2**18, 537_596_823), (1, 2_050)])
def test_arweave_fees(size: int, fee: int) -> None:
    """Reference 7: p = 1,000 Winston per GiB-minute, 20 replicas, K = 1."""
    assert arweave_fee(size, 1_000) == fee


@given(st.integers(0, 2**40), st.integers(0, 10**9), st.integers(1, 45), st.integers(1, 16))
def test_the_fee_grows_with_everything(size: int, price: int, replicas: int, factor: int) -> None:
    fee = arweave_fee(size, price, replicas=replicas, k_factor=factor)
    assert fee <= arweave_fee(size + 1, price, replicas=replicas, k_factor=factor)
    assert fee <= arweave_fee(size, price, replicas=replicas, k_factor=factor * 2) <= 2 * fee + 1


@pytest.mark.parametrize(
    ("decline", "years"),
    [(0.005, 199.5), (0.01, 99.5), (0.02, 49.5), (0.05, 19.5), (0.10, 9.49), (0.2, 4.48), (0.3, 2.8)],
)
def test_multipliers(decline: float, years: float) -> None:
    assert multiplier(decline) == pytest.approx(years, abs=0.05)


@pytest.mark.parametrize(("term", "years"), [(5, 4.94), (10, 9.75), (20, 19.0), (50, 44.2)])
def test_finite_terms(term: int, years: float) -> None:
    assert multiplier(0.005, term) == pytest.approx(years, abs=0.05)


@pytest.mark.parametrize(
    ("power", "decline", "years"),
    [(1, 0, 199), (1, 0.005, math.inf), (0.5, 0, 100), (0.5, 0.005, 138), (0.1, 0, 20), (0.1, 0.005, 21)],
)
def test_years_until_the_fund_is_empty(power: float, decline: float, years: float) -> None:
    assert years_covered(power * multiplier(0.005), 1.0, decline) == pytest.approx(years, abs=0.6)


def test_the_product_costs_what_the_assumptions_give() -> None:
    price = next(product.price_micro_usd for product in PRODUCTS if product.name == PERMANENT)
    assert price == permanent_price(GIB, DEFAULT_ASSUMPTIONS)
    # 2 GiB · $0.002 · 365/30, and half a read of 1 GiB at $0.006
    assert first_year_micro_usd(GIB, DEFAULT_ASSUMPTIONS) == 51_667


def test_the_price_follows_each_assumption() -> None:
    base = permanent_price(GIB)
    assert permanent_price(GIB, replace(DEFAULT_ASSUMPTIONS, cost_decline_ppm=10_000)) > 2 * base * 0.99
    assert permanent_price(GIB, replace(DEFAULT_ASSUMPTIONS, fund_return_ppm=20_000)) < 0.52 * base
    assert permanent_price(GIB, replace(DEFAULT_ASSUMPTIONS, purchasing_power_ppm=500_000)) == pytest.approx(
        2 * base, abs=1
    )
    assert permanent_price(GIB, replace(DEFAULT_ASSUMPTIONS, years=10)) < 0.2 * base
    assert permanent_price(0) == 0


def test_no_decline_and_no_return_has_no_price_for_ever() -> None:
    flat = replace(DEFAULT_ASSUMPTIONS, cost_decline_ppm=0)
    with pytest.raises(UsageError, match="no finite price"):
        permanent_price(GIB, flat)
    assert permanent_price(GIB, replace(flat, years=10)) > 0


@given(st.integers(0, 10**9), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_a_fund_pays_for_proven_time_only_and_never_below_zero(balance: int, periods: list[tuple[int, int]]) -> None:
    fund = Fund(balance)
    for due, proven_ppm in periods:
        paid, fund = fund.pay(due, proven_ppm)
        assert 0 <= paid <= due * proven_ppm // 1_000_000
    assert fund.balance + fund.paid == balance
    assert fund.is_exhausted == (fund.balance == 0)


def test_arweaves_latch_doubles_once_and_resets_when_full() -> None:
    reward, state = Latch(1_000).block(expected=500, inflation=100, fees=210)
    assert (reward, state) == (500, Latch(1_200 - 390))
    reward, broke = Latch(10).block(expected=500, inflation=100, fees=0)
    assert reward == 500 and broke == Latch(0, 390, 2, True)
    _, again = broke.block(expected=500, inflation=100, fees=0)
    assert (again.k_factor, again.is_set) == (2, True)
    _, full = Latch(10**16 + 1, 0, 2, True).block(expected=0, inflation=0, fees=0)
    assert not full.is_set


def test_stress_is_repeatable_and_token_risk_is_the_large_one() -> None:
    assert stress(trials=500) == stress(trials=500)
    calm, wild = stress(mean_decline=0.05), stress(mean_decline=0.05, purchasing_power_volatility=0.8)
    assert calm.exhausted_by[100] < 0.02
    assert wild.exhausted_by[20] > 0.3
    assert stress(mean_decline=0.0).exhausted_by[200] > 0.9  # what does not fall cannot be paid for ever


def _simulated_years(fund: float, decline: float, fund_return: float) -> float:
    """Pay small steps out of a fund until it is empty: the formula's own definition, without the formula."""
    step, cost, years = 1 / 512, 1.0, 0.0
    while fund > 0 and years < 300:
        fund = fund * (1 + fund_return) ** step - cost * step
        cost *= (1 - decline) ** step
        years += step
    return years


@pytest.mark.parametrize(
    ("fund", "decline", "fund_return"),
    [(20, 0.0, 0.03), (20, 0.02, -0.05), (20, 0.0, -0.05), (20, 0.02, -0.02), (12, 0.01, 0.01), (3, 0.5, -0.4)],
)
def test_the_years_are_those_of_paying_step_by_step(fund: float, decline: float, fund_return: float) -> None:
    assert years_covered(fund, 1.0, decline, fund_return) == pytest.approx(
        _simulated_years(fund, decline, fund_return), rel=0.01
    )


@given(st.integers(0, 999_000), st.integers(-999_000, 1_000_000), st.integers(1, 60))
def test_a_fund_for_some_years_lasts_these_years_under_its_own_assumptions(
    decline: int, fund_return: int, years: int
) -> None:
    """Without a margin exactly them, whatever falls and earns; with it never fewer."""
    assumed = replace(
        DEFAULT_ASSUMPTIONS, cost_decline_ppm=decline, fund_return_ppm=fund_return, years=years, margin_ppm=0
    )
    try:
        price = permanent_price(2**40, assumed)
    except UsageError:
        assert -assumed.log_decline * years > 40
        return
    lasts = years_covered(price, first_year_micro_usd(2**40, assumed), decline / 1e6, fund_return / 1e6)
    # what falls fast costs next to nothing in the end: years say little there, money does
    assert lasts >= years - 0.01 or math.exp(-assumed.log_decline * lasts) < 1e-3


def test_a_fund_that_melts_away_has_no_price_instead_of_an_overflow() -> None:
    melting = replace(DEFAULT_ASSUMPTIONS, fund_return_ppm=-990_000, years=1_000)
    with pytest.raises(UsageError, match="no fund lasts 1000 years"):
        permanent_price(GIB, melting)


def test_who_assumes_a_worse_currency_does_not_look_safer() -> None:
    """The price doubles because half of it is expected to be lost: the futures must lose that half."""
    half = replace(DEFAULT_ASSUMPTIONS, purchasing_power_ppm=500_000)
    plain, haircut = stress(mean_decline=0.02, trials=500), stress(half, mean_decline=0.02, trials=500)
    assert haircut.exhausted_by == pytest.approx(plain.exhausted_by, abs=0.01)
    assert haircut.years_5th_percentile == pytest.approx(plain.years_5th_percentile, rel=0.02)


def test_futures_have_a_mark_at_the_end_of_what_was_bought_and_none_where_nothing_ended() -> None:
    thirty = stress(replace(DEFAULT_ASSUMPTIONS, years=30), mean_decline=0.02, trials=500)
    assert thirty.exhausted_by[20] < thirty.exhausted_by[30] < thirty.exhausted_by[50]
    long = stress(replace(DEFAULT_ASSUMPTIONS, years=300), mean_decline=0.02, trials=100)
    assert (long.horizon_years, 300 in long.exhausted_by) == (300, True)
    assert stress(mean_decline=0.10, decline_volatility=0.01, trials=100).years_5th_percentile is None
    rich = stress(replace(DEFAULT_ASSUMPTIONS, fund_return_ppm=1_000_000, years=1_000), trials=20)
    assert rich.years_5th_percentile is None or rich.years_5th_percentile > 0
