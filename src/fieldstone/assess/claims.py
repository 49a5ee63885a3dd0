"""One number, what it says, when, where it is from, and how much it can be trusted."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Literal

Method = Literal["measured", "metered", "stated", "estimated", "derived"]


class Grade(StrEnum):
    """A: recomputed by us from what others can obtain. B: signed by a third party. C: stated. D: estimated, press, undated."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"

    def lowered(self, steps: int = 1) -> Grade:
        """Return the grade so many steps worse, never below D."""
        order = list(Grade)
        return order[min(order.index(self) + steps, len(order) - 1)]


def worst(grades: Iterable[Grade]) -> Grade:
    """Return the worst of some grades: a derived value is no better than its worst input. D for none."""
    return max(grades, default=Grade.D, key=lambda grade: list(Grade).index(grade))


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `start` to `end`, both included."""

    start: date
    end: date

    @property
    def days(self) -> int:
        """Length in days."""
        return (self.end - self.start).days + 1

    def overlaps(self, other: Period) -> bool:
        """Return whether the periods share a day."""
        return self.start <= other.end and other.start <= self.end

    def gap_days(self, other: Period) -> int:
        """Return the days between the periods, 0 when they touch or overlap."""
        return max(0, (max(self.start, other.start) - min(self.end, other.end)).days)

    def __str__(self) -> str:
        return f"{self.start}" if self.start == self.end else f"{self.start}/{self.end}"


def parse_period(text: str) -> Period:
    """Read "2025", "2025-Q4", "2025-12", "2025-12-31" or "FROM/TO" of any of these. Raises ValueError."""
    first, slash, last = text.partition("/")
    if slash:
        period = Period(parse_period(first).start, parse_period(last).end)
        if period.end < period.start:
            raise ValueError(f"the period {text!r} ends before it starts")
        return period
    match = re.fullmatch(r"(\d{4})(?:-(?:Q([1-4])|(\d{2})(?:-(\d{2}))?))?", text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a period; write 2025, 2025-Q4, 2025-12, 2025-12-31 or FROM/TO")
    year, quarter, month, day = match.groups()
    try:
        if day:
            return Period(date(int(year), int(month), int(day)), date(int(year), int(month), int(day)))
        if month:
            return Period(date(int(year), int(month), 1), _month_end(int(year), int(month)))
        if quarter:
            return Period(date(int(year), 3 * int(quarter) - 2, 1), _month_end(int(year), 3 * int(quarter)))
        return Period(date(int(year), 1, 1), date(int(year), 12, 31))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a period: {error}") from None


def hull(periods: Iterable[Period]) -> Period:
    """Return the shortest period that holds all of them."""
    found = list(periods)
    return Period(min(p.start for p in found), max(p.end for p in found))


def _month_end(year: int, month: int) -> date:
    return date(year, month, calendar.monthrange(year, month)[1])


@dataclass(frozen=True, slots=True)
class Source:
    """Where claims come from. `date`: when it was published; `via`: through which copy it was read, if not the original."""

    id: str
    title: str
    locator: str = ""
    date: date | None = None
    via: str = ""
    related: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim. `value`, `low`, `high` and `values` are in the base unit of the metric; `shown` is as it was stated.

    `values` is a list claim's numbers (one per holder), None for all others. `error` is the stated relative error.
    `counts` False: kept for comparison (another scope, another year) and never the number of its metric.
    `part_of`: the claim of the whole that this one is a part of.
    """

    id: str
    metric: str
    value: float
    values: tuple[float, ...] | None
    low: float | None
    high: float | None
    unit: str
    base: str
    shown: str
    period: Period
    as_of: date
    source: Source
    retrieved: date | None
    grade: Grade
    method: str
    scope: str
    derived_from: tuple[str, ...]
    contradicts: tuple[str, ...]
    error: float | None
    counts: bool
    part_of: str | None
    note: str

    def age_days(self, on: date) -> int:
        """Return how old the claim is on a day; negative for a claim about the future."""
        return (on - self.as_of).days

    def grade_on(self, on: date, oldest_days: int) -> Grade:
        """Return the grade on a day: one lower when the claim is older than `oldest_days`."""
        return self.grade.lowered() if self.age_days(on) > oldest_days else self.grade

    def expires(self, oldest_days: int) -> date:
        """Return the last day on which the claim keeps its grade."""
        return self.as_of + timedelta(days=oldest_days)
