"""Counts with their uncertainty: Wilson's interval, collapse probability, rank correlation, retention, tipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.errors import UsageError

Z_95 = 1.96
LEAST_UNITS = 30  # fewer pairs do not support a rank correlation


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval around it; all in the unit of the estimate."""

    value: float
    low: float
    high: float


def wilson(count: int, n: int, z: float = Z_95) -> Interval | None:
    """Return count/n with Wilson's score interval (1927); z = 1.96 is 95 %. None when n is 0.

    (p̂ + z²/2n ± z·√(p̂(1 − p̂)/n + z²/4n²)) / (1 + z²/n)
    """
    if not 0 <= count <= n:
        raise UsageError(f"a count must lie between 0 and {n}, not {count}")
    if n == 0:
        return None
    share = count / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
    # the formula gives 0 and 1 exactly at the ends; rounding must not push the estimate out of its own interval
    return Interval(share, min(low, share), max(high, share))


def collapse_probability(collapsed: ArrayLike) -> Interval | None:
    """Return the share of runs that collapsed, with Wilson's 95 % interval. `collapsed`: one truth value per run."""
    flags = np.asarray(collapsed, dtype=bool).ravel()
    return wilson(int(flags.sum()), flags.size)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1-based ranks; ties share the average of their ranks."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[where]
    return ranks


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return Spearman's ρ with average ranks for ties. None for fewer than two pairs or a constant side.

    Include the devices that earned 0. Below `LEAST_UNITS` pairs a caller should not print it. Raises UsageError when
    the sides differ in length or hold something that is not finite.
    """
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if a.size != b.size:
        raise UsageError(f"a rank correlation needs pairs, not {a.size} and {b.size} values")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UsageError("a rank correlation needs finite values")
    if a.size < 2:
        return None
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return max(-1.0, min(1.0, float(x @ y) / scale)) if scale else None


def spearman_interval(first: ArrayLike, second: ArrayLike, *, resamples: int = 1_000, seed: int = 0) -> Interval | None:
    """Return Spearman's ρ with a 95 % percentile-bootstrap interval; the same seed gives the same interval."""
    value = spearman(first, second)
    if value is None:
        return None
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    rng = np.random.Generator(np.random.Philox(key=seed))
    drawn = [spearman(a[pick], b[pick]) for pick in rng.integers(0, a.size, (resamples, a.size))]
    known = [rho for rho in drawn if rho is not None]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (value, value)
    return Interval(value, float(low), float(high))


def retention(active: Sequence[float], joined: float) -> list[float]:
    """Return the share of a cohort of `joined` devices still active in each period. Empty for an empty cohort."""
    return [count / joined for count in active] if joined > 0 else []


def time_to_tipping(devices: Sequence[float], tipping_devices: float) -> int | None:
    """Return the first period (0-based) from which the fleet stays below the tipping point to the end; None if never."""
    below = None
    for period, count in enumerate(devices):
        below = (period if below is None else below) if count < tipping_devices else None
    return below
