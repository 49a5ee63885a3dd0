from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.economy.experiments.quantities import BadQuantity, quantity

USD = {"unit": "USD", "low": 0.0, "high": 1e15}
KWH = {"unit": "USD/kWh", "low": 0.0, "high": 100}
SHARE = {"unit": "fraction", "low": 0.0, "high": 1}
GROWTH = {"unit": "1/year", "low": -5, "high": 20}


def test_a_bare_number_is_a_guess() -> None:
    found = quantity(3, USD)
    assert (found.value, found.unit, found.grade, found.source, found.low) == (3.0, "USD", "D", "", None)


def test_a_sourced_number_keeps_its_source() -> None:
    raw = {"value": 5, "unit": "USD", "source": "report", "date": datetime.date(2026, 1, 31), "grade": "B"}
    found = quantity(raw, USD)
    assert (found.source, found.date, found.grade) == ("report", "2026-01-31", "B")


@pytest.mark.parametrize(
    ("raw", "rules", "value"),
    [
        ({"value": 200, "unit": "USD/MWh"}, KWH, 0.2),
        ({"value": 15, "unit": "%"}, SHARE, 0.15),
        ({"value": 2, "unit": "years"}, {"unit": "months", "low": 0.0, "high": 1200}, 24),
        ({"value": 12, "unit": "tokens/year"}, {"unit": "tokens/month", "low": 0.0, "high": 1e9}, 1),
        ({"value": 1, "unit": "1"}, {"unit": "", "low": 0.0, "high": 9}, 1),
    ],
)
def test_other_units_are_converted(raw: dict[str, Any], rules: dict[str, Any], value: float) -> None:
    assert quantity(raw, rules).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("raw", "rules", "part", "words"),
    [
        ("5", USD, "", "must be a number"),
        (True, USD, "", "must be a number"),
        (-3, USD, "", "must not be negative"),
        (float("nan"), USD, "", "finite"),
        (10**400, USD, "", "finite"),
        (2, SHARE, "", "between 0 and 1"),
        ({"value": 1}, USD, "", "has no unit"),
        ({"unit": "USD"}, USD, "", "has no value"),
        ({"value": 1, "unit": "EUR"}, USD, "unit", "contradicts"),
        ({"value": 1, "unit": 3}, USD, "unit", "must be a text"),
        ({"value": 1, "unit": "tokens"}, KWH, "unit", "contradicts"),
        ({"value": 150, "unit": "%"}, SHARE, "value", "between"),
        ({"value": 1, "unit": "USD", "sauce": "x"}, USD, "sauce", "unknown key"),
        ({"value": 1, "unit": "USD", "grade": "E"}, USD, "grade", "one of A, B, C, D"),
        ({"value": 1, "unit": "USD", "grade": "A", "date": "2026"}, USD, "", "has no source"),
        ({"value": 1, "unit": "USD", "grade": "C", "source": "x"}, USD, "", "has no date"),
        ({"value": 1, "unit": "USD", "grade": "C", "source": "x", "date": "soon"}, USD, "date", "must be a date"),
        ({"value": 1, "unit": "USD", "low": 0.5}, USD, "", "both low and high"),
        ({"value": 3, "unit": "USD", "low": 1, "high": 2}, USD, "", "between low"),
        ({"value": 1, "unit": "USD", "low": 1, "high": 1}, USD, "", "must differ"),
        ({"value": 1, "unit": "USD", "low": -1, "high": 2}, USD, "low", "negative"),
    ],
)
def test_bad_numbers_are_named(raw: Any, rules: dict[str, Any], part: str, words: str) -> None:
    with pytest.raises(BadQuantity, match=words) as caught:
        quantity(raw, rules)
    assert caught.value.part == part


def test_a_strict_file_takes_no_guess_without_a_source() -> None:
    with pytest.raises(BadQuantity, match="neither unit nor source"):
        quantity(3, USD, sources_required=True)
    with pytest.raises(BadQuantity, match="has no source"):
        quantity({"value": 3, "unit": "USD"}, USD, sources_required=True)


@given(st.floats(-5, 20))
def test_limits_that_allow_negative_numbers_are_kept(value: float) -> None:
    assert quantity(value, GROWTH).value == value
