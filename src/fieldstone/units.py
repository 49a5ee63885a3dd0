"""Integer base units and the only ways to reach them from anything else.

Money is an integer: tokens in base units of 10⁻¹⁸, credits in micro-US-dollars. Quality is an integer in parts per
million. Rounding is floor, and `split` hands the remainder back by name, so totals add up exactly (DESIGN §4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.errors import UsageError

TOKEN_DECIMALS = 18
TOKEN_BASE = 10**TOKEN_DECIMALS
USD_MICRO = 1_000_000
PPM = 1_000_000

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

_MOST_DIGITS = 100  # beyond it a text is an attack on memory, not an amount


def to_ppm(score: ArrayLike) -> NDArray[np.int64]:
    """Quantise float scores in [0, 1] to parts per million: round half to even, clip, NaN becomes 0.

    The single place where a float score turns into something that can decide or pay (DESIGN §4.2). Scores are
    first rounded to 9 decimals, so that sums taken in another order cannot tip a value over a ppm boundary
    unless they differ by more than 10⁻⁹.
    """
    values = np.nan_to_num(np.asarray(score, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.round(np.clip(values, 0.0, 1.0), 9) * PPM).astype(np.int64)


def split(total: int, weights: Sequence[int]) -> tuple[list[int], int]:
    """Split `total` base units in proportion to integer `weights`, flooring; return (shares, remainder).

    Invariant: sum(shares) + remainder == total, every share ≤ total · wᵢ / Σw. With no positive weight the whole
    total is the remainder. Raises ValueError on a negative total or weight.
    """
    if total < 0 or any(weight < 0 for weight in weights):
        raise ValueError("split needs a total and weights that are not negative")
    weight_sum = sum(weights)
    if weight_sum == 0:
        return [0] * len(weights), total
    shares = [total * weight // weight_sum for weight in weights]
    return shares, total - sum(shares)


def parse_amount(text: str | int, decimals: int, *, what: str = "amount") -> int:
    """Read a decimal text such as "12.5" into integer base units of 10**-decimals; more digits are an error."""
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        raise UsageError(f"{what} {text!r} is not a number") from None
    sign, digits, exponent = number.as_tuple()
    # by digits, not by Decimal arithmetic: that rounds to 28 digits without a word
    shift = exponent + decimals if isinstance(exponent, int) else None
    if shift is None or abs(shift) > _MOST_DIGITS or len(digits) > _MOST_DIGITS:
        raise UsageError(f"{what} {text!r} is not finite or out of range")
    magnitude = int("".join(map(str, digits)) or "0")
    scaled, rest = divmod(magnitude * int(10 ** max(shift, 0)), int(10 ** max(-shift, 0)))
    if rest:
        raise UsageError(f"{what} {text!r} is finer than {decimals} decimals")
    return -scaled if sign else scaled


def format_token(amount_base: int, places: int = 4) -> str:
    """Show base units as tokens, cut (never rounded up) to `places` decimals: 1234567890000000000 → "1.2345"."""
    sign, amount_base = ("-", -amount_base) if amount_base < 0 else ("", amount_base)
    whole, fraction = divmod(amount_base, TOKEN_BASE)
    return f"{sign}{whole:,}.{fraction:018d}"[: -(18 - places) or None] if places else f"{sign}{whole:,}"


def format_usd(amount_micro: int, places: int = 2) -> str:
    """Show micro-dollars as dollars; more places are added when needed so that no digit is hidden."""
    sign, amount_micro = ("-", -amount_micro) if amount_micro < 0 else ("", amount_micro)
    whole, fraction = divmod(amount_micro, USD_MICRO)
    digits = f"{fraction:06d}".rstrip("0").ljust(places, "0")
    return f"{sign}${whole:,}.{digits}"
