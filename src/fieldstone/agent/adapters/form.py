"""What the form-based station protocols share: numbers as text, imperial units, UTC times, running rain totals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from fieldstone.agent.buffer import Reading
from fieldstone.errors import UsageError

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?\Z")
_MISSING = frozenset({"", "--", "---", "-9999", "-9999.0", "nan", "null", "none", "n/a"})
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}\Z")
_SECRETS = re.compile(r"(?i)\b(password|passkey|apikey|api_key|key|token|id|mac)=[^&\s]*")
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Parsed:
    """One upload. `is_station_time` is False when the station sent no time and the agent's was taken. `ignored`:
    fields that no column exists for, by name; `unreadable`: known fields whose value was no number."""

    reading: Reading
    is_station_time: bool
    ignored: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Adapter(Protocol):
    """Reads one protocol. May keep state (rain totals), so make one per station."""

    success_body: str

    def parse(self, fields: Mapping[str, str], received_ms: int) -> Parsed:
        """Turn the decoded fields of one upload into a reading. Raises UsageError when its time cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the protocol: which column it fills and how its unit becomes the column's."""

    column: str
    convert: Callable[[float], float]


def same(value: float) -> float:
    """Keep the unit."""
    return value


def celsius(fahrenheit: float) -> float:
    """°F → °C, to 0.01."""
    return round((fahrenheit - 32.0) / 1.8, 2)


def metres_per_second(miles_per_hour: float) -> float:
    """mph → m/s (1 mile = 1609.344 m), to 0.01."""
    return round(miles_per_hour * 0.44704, 2)


def hectopascal(inches_of_mercury: float) -> float:
    """inHg at 0 °C → hPa, to 0.01."""
    return round(inches_of_mercury * 33.86389, 2)


def millimetres(inches: float) -> float:
    """Inches → mm, to 0.01."""
    return round(inches * 25.4, 2)


class RunningTotal:
    """Rain since the previous reading from a total that is set back to 0 once a day, a year or never.

    The first reading has no predecessor and gives None. After a set-back the new total is what fell since then.
    """

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def since_previous(self, counter: str, total: float) -> float | None:
        """Return the growth of one named counter."""
        before = self._before.get(counter)
        self._before[counter] = total
        if before is None:
            return None
        return round(total - before if total >= before else total, 2)


def read_number(text: str) -> float | None:
    """Read a station's number. Returns None when it is missing; raises ValueError when it is no finite decimal."""
    text = text.strip()
    if text.lower() in _MISSING:
        return None
    if not _NUMBER.match(text):
        raise ValueError(f"{text[:20]!r} is not a number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def read_time(text: str, received_ms: int) -> tuple[int, bool]:
    """Read `dateutc`; return (Unix ms, whether the station told it). The literal `now` and nothing mean `received_ms`.

    Raises UsageError on anything else.
    """
    text = text.strip()
    if text.lower() in ("", "now"):
        return received_ms, False
    try:
        if not _TIME.match(text):
            raise ValueError
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(
            f"dateutc {text[:30]!r} is not like 2026-02-28 13:45:00 (UTC): set the station's clock"
        ) from None
    return int(moment.timestamp()) * 1_000, True


def read_fields(
    fields: Mapping[str, str], known: Mapping[str, FormField], silent: frozenset[str]
) -> tuple[dict[str, float | None], tuple[str, ...], tuple[str, ...]]:
    """Return (values by column, names of ignored fields, names of unreadable fields). Columns appear when sent."""
    values: dict[str, float | None] = {}
    ignored: list[str] = []
    unreadable: list[str] = []
    for name, text in fields.items():
        form_field = known.get(name)
        if form_field is None:
            if name not in silent and len(ignored) < _MOST_NAMED:
                ignored.append(name[:40])
            continue
        try:
            number = read_number(text)
        except ValueError:
            unreadable.append(name)
            number = None
        if values.get(form_field.column) is None:
            values[form_field.column] = None if number is None else form_field.convert(number)
    return values, tuple(ignored), tuple(unreadable)


def redact(text: str) -> str:
    """Blank out what identifies or authorises a station in a query or form text, for logs."""
    return _SECRETS.sub(lambda match: f"{match[1]}=…", text)
