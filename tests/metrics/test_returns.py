"""Payback, present value and runway."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.metrics import discounted_payback_months, net_present_value, payback_months, runway_months


def test_geodnet_2025_pays_back_in_nineteen_months() -> None:
    """$15 M for 21,000 stations, $444 per station and year (State of DePIN 2025, computed; grade D)."""
    assert payback_months(15e6 / 21_000, 444 / 12) == pytest.approx(19, abs=0.5)


def test_a_device_that_loses_money_never_pays_back() -> None:
    assert payback_months(100, 0) == math.inf
    assert payback_months(100, -1) == math.inf
    assert payback_months(0, -1) == 0


def test_the_wait_for_the_hardware_counts() -> None:
    assert payback_months(120, 10, delay_months=3) == 15


def test_discounting_delays_payback() -> None:
    assert discounted_payback_months(100, [10.0] * 12, 0.0) == 10
    assert discounted_payback_months(100, [10.0] * 24, 0.02) == 12
    assert discounted_payback_months(100, [10.0] * 9, 0.0) == math.inf
    assert discounted_payback_months(0, [], 0.01) == 0


def test_present_value_of_a_known_annuity() -> None:
    """12 payments of 10 at 1 % a month are worth 112.5508 (annuity formula)."""
    assert net_present_value(100, [10.0] * 12, 0.01) == pytest.approx(10 * (1 - 1.01**-12) / 0.01 - 100)


def test_runway() -> None:
    assert runway_months(1_200, 100) == 12
    assert runway_months(1_200, 0) == math.inf
    assert runway_months(1_200, -5) == math.inf
    assert runway_months(-3, 5) == 0


@given(st.floats(1, 1e6), st.lists(st.floats(0, 1e5), min_size=1, max_size=60), st.floats(0, 0.2))
def test_discounted_payback_is_where_the_present_value_turns(capex: float, margins: list[float], rate: float) -> None:
    month = discounted_payback_months(capex, margins, rate)
    if math.isinf(month):
        assert net_present_value(capex, margins, rate) < 1e-6 * capex
    else:
        assert net_present_value(capex, margins[: int(month)], rate) >= -1e-6 * capex
        assert net_present_value(capex, margins[: int(month) - 1], rate) < 1e-6 * capex
