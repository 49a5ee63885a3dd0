"""Numbers as people read them, and round positions for the ticks of an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_LEADING = ("$", "€", "£")  # units that stand before the number


def number_text(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Show a number with its unit in `digits` significant digits: 12345.6 → "12.3 K", 0.256 "%" → "25.6 %".

    A `%` value is a fraction. None and NaN are "unknown", infinity is "never" for times and "∞" otherwise.
    """
    if value is None or math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "never" if unit in ("months", "days", "years") else ("−∞" if value < 0 else "∞")
    if unit == "%":
        if 0.9995 <= value < 1:
            return "over 99.9 %"  # almost all is not all
        return f"{_plain(value * 100, digits)} %"
    text = _scaled(value, digits)
    if unit.startswith(_LEADING):
        sign, text = ("−", text[1:]) if text.startswith("−") else ("", text)
        return f"{sign}{unit[0]}{text}{unit[1:]}"
    return f"{text} {unit}" if unit else text


def _scaled(value: float, digits: int) -> str:
    size = abs(value)
    for step, letter in _STEPS:
        # 999,950 in three digits is 1.00 M, not 1000 K
        if size >= step * (1 - 0.5 * 10**-digits):
            return f"{_plain(value / step, digits)} {letter}"
    return _plain(value, digits)


def _plain(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        mantissa, exponent = f"{value:.{max(digits - 1, 0)}e}".split("e")
        return f"{_signed(mantissa)}e{int(exponent)}"
    places = max(digits - 1 - math.floor(math.log10(size)), 0)
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return _signed(text)


def _signed(text: str) -> str:
    if text.lstrip("-").strip("0.") == "":
        return "0"
    return text.replace("-", "−")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most about `most` round positions that cover [low, high], with steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [_round(k * step, step) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that cover [low, high], with 2 and 5 between them when there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    stride = max(1, (last - first) // 6)
    powers = [10.0**k for k in range(first, last + 1, stride)]
    if last - first > 2:
        return powers
    return [p * f for p in powers[:-1] for f in (1, 2, 5)] + [powers[-1]]


def _round(value: float, step: float) -> float:
    places = max(0, 1 - math.floor(math.log10(step)))
    return round(value, min(places + 2, 15)) + 0.0


def span(values: Sequence[float | None], *, include_zero: bool) -> tuple[float, float]:
    """Return the lowest and highest finite value, widened when they are equal; (0, 1) when there is none."""
    found = [v for v in values if v is not None and math.isfinite(v)]
    if include_zero:
        found.append(0.0)
    low, high = min(found, default=0.0), max(found, default=1.0)
    if low == high:
        return (low, low + 1.0) if low == 0 else (min(low * 0.9, low * 1.1), max(low * 0.9, low * 1.1))
    return low, high
