"""Numbers of a scenario file with where they come from: bare, or `{ value, unit, source, date, grade, low, high }`.

Grades are those of `assess`: A recomputed from what anyone can obtain, B signed by a third party, C stated by the
network, D a guess; a bare number is a D. A, B and C need a source and a date. `low` and `high` say how far the number
may be off: each run draws its own value between them (triangular, the value being the peak).
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GRADES = ("A", "B", "C", "D")
KEYS = ("value", "unit", "source", "date", "grade", "low", "high", "note")

# how far a number may be off when nobody says: the spread of the sensitivity analysis
SPREAD = {"A": 0.10, "B": 0.20, "C": 0.35, "D": 0.50}

_DAYS = 30.4375  # of a month
# unit of the field → other units that may be written, and the factor to the field's
_CONVERSIONS: dict[str, dict[str, float]] = {
    "fraction": {"%": 0.01, "ppm": 1e-6},
    "1/year": {"%/year": 0.01, "1/month": 12.0, "%/month": 0.12},
    "1/month": {"%/month": 0.01, "1/year": 1 / 12, "%/year": 0.01 / 12},
    "1/√year": {"%/√year": 0.01},
    "months": {"years": 12.0, "days": 1 / _DAYS, "weeks": 7 / _DAYS},
    "W": {"kW": 1000.0},
    "USD": {"kUSD": 1e3, "MUSD": 1e6},
    "USD/month": {"USD/year": 1 / 12, "USD/day": _DAYS},
    "USD/kWh": {"USD/MWh": 0.001, "ct/kWh": 0.01},
    "tokens/month": {"tokens/year": 1 / 12, "tokens/day": _DAYS, "tokens/week": _DAYS / 7},
    "units/month": {"units/year": 1 / 12, "units/day": _DAYS},
    "devices": {"1": 1.0},
}


class BadQuantity(ValueError):
    """What is wrong with a number; `part` is the key inside its table, "" for the number itself."""

    def __init__(self, message: str, part: str = "") -> None:
        self.part = part
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in its field's unit. `low`, `high`: None unless the file gives a range."""

    value: float
    unit: str
    source: str = ""
    date: str = ""
    grade: str = "D"
    low: float | None = None
    high: float | None = None
    note: str = ""


def quantity(raw: Any, rules: Mapping[str, Any], *, sources_required: bool = False) -> Quantity:
    """Return a number of a scenario file. `rules`: the field's unit and limits (`flywheel.parameters`). Raises BadQuantity."""
    unit = str(rules["unit"])
    if not isinstance(raw, dict):
        if sources_required:
            raise BadQuantity(
                f"has neither unit nor source, and this file requires them: write {{ value = {raw}, "
                f'unit = "{unit}", source = "…", date = "…", grade = "…" }}'
            )
        return Quantity(_number(raw, "", rules), unit)
    for key in raw:
        if key not in KEYS:
            raise BadQuantity(f"unknown key; a number may have {', '.join(KEYS)}", key)
    if "value" not in raw:
        raise BadQuantity("has no value")
    if "unit" not in raw:
        raise BadQuantity(f'has no unit; it is counted in {unit or "1"}, so write unit = "{unit or "1"}"')
    factor = _factor(raw["unit"], unit)
    value = _number(raw["value"], "value", rules, factor)
    grade, source, date = raw.get("grade", "D"), _text(raw, "source"), _date(raw.get("date", ""))
    if grade not in GRADES:
        raise BadQuantity(f"is {grade!r}; a grade is one of {', '.join(GRADES)}", "grade")
    if grade != "D" or sources_required:
        for name, given in (("source", source), ("date", date)):
            if not given:
                raise BadQuantity(f"of grade {grade} has no {name}; only a guess (grade D) needs none")
    low = _number(raw["low"], "low", rules, factor) if "low" in raw else None
    high = _number(raw["high"], "high", rules, factor) if "high" in raw else None
    if (low is None) != (high is None):
        raise BadQuantity("a range needs both low and high")
    if low is not None and high is not None and not (low <= value <= high and low < high):
        raise BadQuantity(f"the value {value:g} must lie between low {low:g} and high {high:g}, which must differ")
    return Quantity(value, unit, source, date, grade, low, high, _text(raw, "note"))


def _factor(given: Any, unit: str) -> float:
    if not isinstance(given, str):
        raise BadQuantity(f"must be a text, not {given!r}", "unit")
    if given == unit or (unit == "" and given in ("1", "")):
        return 1.0
    known = _CONVERSIONS.get(unit, {})
    if given not in known:
        other = f" or {', '.join(known)}" if known else ""
        raise BadQuantity(f'"{given}" contradicts the key, which is counted in "{unit or "1"}"{other}', "unit")
    return known[given]


def _number(raw: Any, part: str, rules: Mapping[str, Any], factor: float = 1.0) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise BadQuantity(f"must be a number, not {raw!r}", part)
    try:
        value = float(raw) * factor
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise BadQuantity(f"must be a finite number, not {raw}", part)
    if value < 0 <= rules["low"]:
        raise BadQuantity(f"must not be negative, and is {raw}", part)
    if not rules["low"] <= value <= rules["high"]:
        raise BadQuantity(
            f"must lie between {rules['low']:g} and {rules['high']:g} {rules['unit']}, not {value:g}".replace(
                "  ", " "
            ),
            part,
        )
    return value


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        raise BadQuantity(f"must be a text, not {value!r}", key)
    return value.strip()


def _date(raw: Any) -> str:
    if isinstance(raw, datetime.date):
        return raw.isoformat()[:10]
    if not isinstance(raw, str) or (raw and not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", raw)):
        raise BadQuantity(f"must be a date such as 2026-01-31, 2026-01 or 2026, not {raw!r}", "date")
    return raw
