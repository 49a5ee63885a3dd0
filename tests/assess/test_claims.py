"""Periods and grades."""

from __future__ import annotations

from datetime import date

import pytest

from fieldstone.assess.claims import Grade, hull, parse_period, worst
from tests.assess.conftest import case, claim


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2025", "2025-01-01", "2025-12-31"),
        ("2025-Q4", "2025-10-01", "2025-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2025-12-31", "2025-12-31", "2025-12-31"),
        ("2025-Q1/2025-07", "2025-01-01", "2025-07-31"),
    ],
)
def test_periods(text: str, start: str, end: str) -> None:
    period = parse_period(text)
    assert (str(period.start), str(period.end)) == (start, end)


@pytest.mark.parametrize("text", ["", "last year", "2025-13", "2025-Q5", "2025-02-30", "2026/2025", "2025-1"])
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(ValueError, match="period"):
        parse_period(text)


def test_gaps_and_hulls() -> None:
    a, b = parse_period("2025-01"), parse_period("2025-03")
    assert a.gap_days(b) == b.gap_days(a) == 29
    assert a.gap_days(parse_period("2025")) == 0
    assert str(hull([b, a])) == "2025-01-01/2025-03-31"


def test_the_worst_grade_wins() -> None:
    assert worst([Grade.A, Grade.C, Grade.B]) is Grade.C
    assert Grade.D.lowered() is Grade.D
    assert Grade.A.lowered(2) is Grade.C


def test_a_claim_older_than_a_year_loses_one_grade() -> None:
    (one,) = case(claim("revenue.total", 1, "USD/day", "2025-11-22", grade="B")).claims
    assert one.grade_on(date(2026, 11, 22), 365) is Grade.B
    assert one.grade_on(date(2026, 11, 23), 365) is Grade.C
    assert one.expires(365) == date(2026, 11, 22)
