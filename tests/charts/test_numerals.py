"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.charts.numerals import log_ticks, number_text, span, ticks


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12345.6, "", "12.3 K"),
        (0.2563, "%", "25.6 %"),
        (1.1e6, "$", "$1.1 M"),
        (-2500, "$/month", "−$2.5 K/month"),
        (999_950, "", "1 M"),
        (0.00000123, "", "1.23e-6"),
        (0, "GB", "0 GB"),
        (-0.0, "", "0"),
        (None, "$", "unknown"),
        (math.nan, "", "unknown"),
        (math.inf, "months", "never"),
        (-math.inf, "$", "−∞"),
        (18, "months", "18 months"),
        (3, "", "3"),
    ],
)
def test_number_text(value: float | None, unit: str, text: str) -> None:
    assert number_text(value, unit) == text


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_cover_and_are_few(low: float, width: float) -> None:
    if width < abs(low) * 1e-6:  # beyond what a float axis can tell apart
        return
    found = ticks(low, low + width)
    assert found == sorted(set(found))
    assert 2 <= len(found) <= 9
    step = found[1] - found[0]
    assert found[0] <= low + step * 1e-6 and found[-1] >= low + width - step * 1e-6


def test_log_ticks() -> None:
    assert log_ticks(1, 1000) == [1, 10, 100, 1000]
    assert log_ticks(3, 40) == [1, 2, 5, 10, 20, 50, 100]


def test_span() -> None:
    assert span([None, 3.0], include_zero=True) == (0, 3)
    assert span([], include_zero=False) == (0, 1)
    assert span([5.0], include_zero=False) == (4.5, 5.5)
    assert span([math.inf, 2.0, 1.0], include_zero=False) == (1, 2)
