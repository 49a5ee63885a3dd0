"""Ratios of flows, by the worked examples of public cases (sources beside each)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone import metrics

AMOUNT = st.floats(0, 1e12, allow_nan=False)


def test_helium_2026_by_the_schedule_alone_looks_deflationary() -> None:
    """HIP-149 (2026-06): 20,548 HNT/day at $0.27 against 97,000 GB at $0.10."""
    emission, revenue = 20_548 * 0.27, 97_000 * 0.10
    assert metrics.burn_to_emission(revenue / 0.27, 20_548) == pytest.approx(1.748, abs=5e-4)
    assert metrics.subsidy_ratio(emission, revenue) == pytest.approx(0.364, abs=5e-4)


def test_helium_2026_with_every_mint_does_not() -> None:
    """The supplement of HIP-149, 196,000 HNT/day, is a mint like any other."""
    emission, revenue = (20_548 + 196_000) * 0.27, 97_000 * 0.10
    assert metrics.subsidy_ratio(emission, revenue) == pytest.approx(0.858, abs=5e-4)
    assert metrics.issuance_coverage(emission, revenue) == pytest.approx(0.166, abs=5e-4)
    assert metrics.demand_backed_share(emission, revenue) == pytest.approx(0.166, abs=5e-4)


def test_service_share_of_helium_and_filecoin() -> None:
    """Q4'25: offload 24,883 of 56,760 dollars a day; Filecoin Q3'25: 0.5 % of $793 K."""
    assert metrics.service_share(24_883, 56_760) == pytest.approx(0.438, abs=5e-4)
    assert metrics.service_share(793_000 * 0.005, 793_000) == pytest.approx(0.005)


def test_render_december_2025() -> None:
    assert metrics.issuance_coverage(5.9e6 / 12 * 2, 170_000) == pytest.approx(0.17, abs=5e-3)
    assert metrics.subsidy_ratio(5.9e6 / 12 * 2, 170_000) == pytest.approx(0.85, abs=5e-3)


def test_akash_utilisation_q3_2025() -> None:
    assert metrics.utilisation(367, 702) == pytest.approx(0.523, abs=5e-4)


def test_net_inflation_is_positive_when_the_supply_grows() -> None:
    """1 % a month is +12.68 % a year, not −12.68 % as a published formula says."""
    assert metrics.net_inflation_year(1, 0, 100) == pytest.approx(0.1268, abs=5e-5)
    shrinking = metrics.net_inflation_year(0, 1, 100)
    assert shrinking is not None and shrinking < 0
    assert metrics.net_inflation_year(0, 200, 100) == -1.0


def test_multiples_recomputed() -> None:
    """Helium year-end 2025: $290 M over $11 M a year."""
    assert metrics.multiple(290e6, 11e6 / 12) == pytest.approx(26.4, abs=0.05)


def test_break_even_price_is_zero_when_customers_pay_everything() -> None:
    assert metrics.break_even_price(100, 40, 30) == pytest.approx(2.0)
    assert metrics.break_even_price(100, 100, 0) == 0.0
    assert metrics.break_even_price(100, 0, 0) == math.inf


def test_gap_and_unmet_have_the_sign_they_say() -> None:
    assert metrics.demand_gap(80, 100) == pytest.approx(-0.2)
    assert metrics.demand_gap(150, 100) == pytest.approx(0.5)
    assert metrics.unmet_share(80, 100) == pytest.approx(0.2)


def test_collateral_ratio_of_the_akash_vault() -> None:
    assert metrics.collateral_ratio(877.192982, 1.14, 1000) == pytest.approx(1.0)
    assert metrics.collateral_ratio(877.192982, 0.57, 1000) == pytest.approx(0.5)


def test_nothing_over_nothing_is_unknown_and_something_over_nothing_infinite() -> None:
    assert metrics.subsidy_ratio(0, 0) is None
    assert metrics.burn_to_emission(0, 0) is None
    assert metrics.burn_to_emission(1, 0) == math.inf
    assert np.isnan(metrics.subsidy_ratio(np.zeros(1), np.zeros(1)))[0]


@given(AMOUNT, AMOUNT)
def test_an_array_gives_what_its_numbers_give(first: float, second: float) -> None:
    for function in (
        metrics.subsidy_ratio,
        metrics.issuance_coverage,
        metrics.burn_to_emission,
        metrics.demand_backed_share,
        metrics.utilisation,
        metrics.demand_gap,
        metrics.unmet_share,
        metrics.revenue_per_device,
        metrics.velocity,
        metrics.multiple,
        metrics.service_share,
    ):
        alone = function(first, second)  # type: ignore[operator]
        inside = function(np.array([first]), np.array([second]))[0]  # type: ignore[operator]
        assert np.isnan(inside) if alone is None else inside == alone


@given(AMOUNT, AMOUNT, AMOUNT)
def test_three_part_figures_agree_on_numbers_and_arrays(first: float, second: float, third: float) -> None:
    for function in (metrics.net_inflation_year, metrics.break_even_price, metrics.collateral_ratio):
        alone = function(first, second, third)
        inside = function(np.array([first]), np.array([second]), np.array([third]))[0]
        assert np.isnan(inside) if alone is None else inside == pytest.approx(alone, rel=1e-12)


@given(st.floats(1e-3, 1e9), st.floats(1e-3, 1e9))
def test_subsidy_ratio_lies_between_0_and_1(emission: float, revenue: float) -> None:
    value = metrics.subsidy_ratio(emission, revenue)
    assert value is not None and 0 <= value <= 1
