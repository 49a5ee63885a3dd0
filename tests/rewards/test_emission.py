from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.rewards.emission import fade, schedule, smooth
from fieldstone.units import PPM, TOKEN_BASE

BASE = st.integers(0, 10**30)
USD = st.integers(0, 10**15)
SHARE = st.integers(0, PPM)


@given(BASE, st.integers(1, 10**12), USD, USD)
def test_fade_never_rises_with_revenue(scheduled: int, r_half: int, low: int, high: int) -> None:
    low, high = sorted((low, high))
    assert fade(scheduled, r_half, high) <= fade(scheduled, r_half, low) <= scheduled


@given(BASE, st.integers(1, 300), SHARE)
def test_schedule_never_rises(base: int, epoch: int, decay: int) -> None:
    now, then = schedule(epoch, base, decay), schedule(epoch + 1, base, decay)
    assert 0 <= then <= now
    assert then == now * (PPM - decay) // PPM  # each epoch is the one before, decayed: what the operator recomputes


@given(USD, USD, SHARE)
def test_smoothed_stays_between(before: int, revenue: int, weight: int) -> None:
    assert min(before, revenue) <= smooth(before, revenue, weight) <= max(before, revenue)


def test_the_bootstrap_has_halved_at_r_half() -> None:
    assert fade(1000 * TOKEN_BASE, 100_000_000, 100_000_000) == 500 * TOKEN_BASE
    assert fade(1000 * TOKEN_BASE, 100_000_000, 0) == 1000 * TOKEN_BASE


def test_no_half_point_means_no_bootstrap() -> None:
    assert fade(1000, 0, 0) == 0


def test_schedule_worked_example() -> None:
    assert [schedule(n, 1000, 100_000) for n in (1, 2, 3, 4)] == [1000, 900, 810, 729]


def test_a_far_epoch_is_cheap_and_empty() -> None:
    assert schedule(10**12, 10**24, 500_000) == 0


def test_more_refunds_than_sales_count_as_no_revenue() -> None:
    assert smooth(100, -50, 500_000) == 50


def test_there_is_no_epoch_zero() -> None:
    with pytest.raises(ValueError, match="first epoch is 1"):
        schedule(0, 1, 0)
