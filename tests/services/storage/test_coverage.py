"""Coverage is a plain division at no decline, longer with one, and never hides what was not paid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.coverage import Period, coverage
from fieldstone.units import DAY_MS


def test_ten_days_at_a_dollar_a_day_cover_a_year_with_365_dollars() -> None:
    """T at 2 %: −ln(1 − 0.0202)/0.0202 = 1.0102 years."""
    periods = [Period(day, day * DAY_MS, (day + 1) * DAY_MS, 1_000_000, 1_000_000) for day in range(10)]
    found = coverage(365_000_000, periods)
    assert (found["yearly_micro_usd"], found["epochs"], found["unpaid_micro_usd"]) == (365_000_000, 10, 0)
    years = {one["decline_ppm"]: one["years"] for one in found["years"]}
    assert years[0] == 1.0 and years[20_000] == pytest.approx(1.01, abs=0.001)
    assert coverage(365_000_000 * 60, periods)["years"][3]["years"] is None  # 60 years' costs at 2 % last for ever


def test_products_of_one_epoch_add_up_and_what_was_not_paid_is_told() -> None:
    found = coverage(0, [Period(1, 0, DAY_MS, 600, 600), Period(1, 0, DAY_MS, 400, 100)])
    assert (found["yearly_micro_usd"], found["epochs"], found["unpaid_micro_usd"]) == (365_000, 1, 300)
    assert found["years"][0]["years"] == 0.0


def test_without_charges_nothing_is_claimed() -> None:
    assert coverage(5, [])["years"] == []


@given(
    credits=st.integers(0, 10**15),
    dues=st.lists(st.integers(0, 10**12), min_size=1, max_size=20),
    length_ms=st.integers(1, 10**10),
)
def test_faster_falling_costs_never_shorten_the_time(credits: int, dues: list[int], length_ms: int) -> None:
    periods = [Period(i, i * length_ms, (i + 1) * length_ms, due, due) for i, due in enumerate(dues)]
    years = [one["years"] for one in coverage(credits, periods)["years"]]
    numbers = [float("inf") if one is None else one for one in years]
    assert numbers == sorted(numbers)
