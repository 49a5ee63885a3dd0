"""Units of claims: every number is turned into one base unit of its kind before it is compared or combined.

Base units: shares as fractions, money in dollars, rates per day, bytes decimal or binary as written, time in months.
Decimal and binary prefixes are different units (1 EiB is 1,024 PiB, 1 EB is 1,000 PB).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DAYS_PER_YEAR = 365.25
_PER_DAY = {
    "day": 1.0,
    "week": 1 / 7,
    "month": 12 / DAYS_PER_YEAR,
    "quarter": 4 / DAYS_PER_YEAR,
    "year": 1 / DAYS_PER_YEAR,
}
_MONTHS = {"days": 12 / DAYS_PER_YEAR, "weeks": 84 / DAYS_PER_YEAR, "months": 1.0, "years": 12.0}
_DECIMAL = {name: 1000.0**power for power, name in enumerate(("B", "kB", "MB", "GB", "TB", "PB", "EB"))}
_BINARY = {name: 1024.0**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), start=1)}
BYTES = _DECIMAL | _BINARY
CURRENCIES = ("USD", "EUR", "USDC", "USDFC")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9 ()₂.-]{0,39}")

KINDS = (
    "share", "money", "money_rate", "tokens", "token_rate", "count", "points", "ratio", "months", "flag", "price", "rate",
    "bytes", "any",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit's `factor` to the base unit of its kind, and the `base` that must match when two numbers meet."""

    factor: float
    base: str


def unit_of(kind: str, text: str, token: str) -> Unit:
    """Return the unit that `text` names for a metric of this kind. Raises ValueError saying what is expected."""
    head, slash, per = text.partition("/")
    rate = _PER_DAY.get(per.strip(), 0.0) if slash else 0.0
    match kind:
        case "share" if text in ("%", "1", "share"):
            return Unit(0.01 if text == "%" else 1.0, "1")
        case "ratio" if text in ("1", "x", "%"):
            return Unit(0.01 if text == "%" else 1.0, "1")
        case "points" if text == "points":
            return Unit(1.0, "points")
        case "flag" if text in ("", "yes/no"):
            return Unit(1.0, "yes/no")
        case "months" if text in _MONTHS:
            return Unit(_MONTHS[text], "months")
        case "money" if text in CURRENCIES:
            return Unit(1.0, text)
        case "money_rate" if head in CURRENCIES and rate:
            return Unit(rate, f"{head}/day")
        case "tokens" if token and text == token:
            return Unit(1.0, token)
        case "token_rate" if token and head == token and rate:
            return Unit(rate, f"{token}/day")
        case "count" if _WORD.fullmatch(text):
            return Unit(1.0, text)
        case "price" if head in CURRENCIES and _WORD.fullmatch(per.replace("/", " ").strip() or "-"):
            return _price(head, per)
        case "bytes" if text in BYTES:
            return Unit(BYTES[text], "B")
        case "rate" if rate and head in BYTES:
            return Unit(BYTES[head] * rate, "B/day")
        case "rate" if rate and _WORD.fullmatch(head):
            return Unit(rate, f"{head}/day")
        case "any" if text in BYTES:
            return Unit(BYTES[text], "B")
        case "any" if _WORD.fullmatch(text):
            return Unit(1.0, text)
    raise ValueError(f"{text!r} is not a unit of this metric; write {expected(kind, token)}")


def expected(kind: str, token: str) -> str:
    """Return the units that a kind of metric takes, for an error message or a question."""
    token = token or "TOKEN"
    return {
        "share": '"%" or "1"',
        "ratio": '"x" or "%"',
        "points": '"points" (0 to 10000)',
        "flag": '"yes/no" (value true or false)',
        "months": '"months", "days" or "years"',
        "money": '"USD"',
        "money_rate": '"USD/day", "USD/month", "USD/quarter" or "USD/year"',
        "tokens": f'"{token}"',
        "token_rate": f'"{token}/day", "{token}/week", "{token}/month" or "{token}/year"',
        "count": 'what is counted, such as "devices"',
        "price": '"USD/" and the unit sold, such as "USD/GB" or "USD/TiB/month"',
        "bytes": '"GB", "TB", "PB", "EB" or "GiB", "TiB", "PiB", "EiB"',
        "rate": 'units per time, such as "GB/day"',
        "any": 'a size ("PiB") or what is counted ("GPUs")',
    }[kind]


def _price(currency: str, per: str) -> Unit:
    """Return a price's unit per byte or per thing; a price per byte and time is per byte and day."""
    thing, slash, time = per.partition("/")
    time_factor = _PER_DAY.get(time, 0.0) if slash else 1.0
    if slash and not time_factor:
        raise ValueError(f"{time!r} is not a time; write day, week, month, quarter or year")
    base = f"{currency}/{'B' if thing in BYTES else thing}{'/day' if slash else ''}"
    return Unit(time_factor / BYTES.get(thing, 1.0), base)
