"""How concentrated a quantity is over its holders: payers, earners, makers, operators, keys, regions.

With s_i the shares, descending, of the n holders that hold more than 0:
    HHI = Σ (100·s_i)²        effective number = 1 / Σ s_i²        Nakamoto = smallest k with Σ top-k > threshold (strict)
    Gini = Σ (2i − n − 1)·x_(i) / (n·Σx), x ascending              entropy = −Σ s_i·log₂ s_i        Theil = log₂ n − entropy
Holders of nothing are left out, of the Gini too, unless `zeros=True`. Empty input is unknown (None), not 0. Merge
wallets of one owner before calling: a wallet is not an owner.
Invariants: `merging_never_lowers_hhi`, `scaling_changes_nothing`, `order_never_matters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.errors import UsageError

HALF = 0.50
TAU = 0.66
_TIE = 1e-12  # cumulated shares closer to a threshold than this are on it: sums of floats are no better


def holders(amounts: ArrayLike | Sequence[int]) -> NDArray[np.float64]:
    """Return the positive amounts, ascending. Raises UsageError for negative or not finite ones."""
    values = np.asarray(amounts, dtype=np.float64).ravel()
    if values.size and not (np.isfinite(values).all() and values.min() >= 0):
        raise UsageError("holdings must be finite and not negative")
    return np.sort(values[values > 0])


def _shares(amounts: ArrayLike) -> NDArray[np.float64]:
    values = holders(amounts)
    if not values.size:
        return values
    scaled = values / values[-1]  # by the largest first: the sum of huge amounts must not overflow
    shares: NDArray[np.float64] = scaled / scaled.sum()
    return shares


def hhi(amounts: ArrayLike) -> float | None:
    """Return the Herfindahl–Hirschman index in (0, 10000]: < 1,500 competitive, > 2,500 high. A cut list gives a lower bound."""
    shares = _shares(amounts)
    return float(10_000 * (shares @ shares)) if shares.size else None


def effective_number(amounts: ArrayLike) -> float | None:
    """Return how many equal holders would be as concentrated: 10000 / HHI."""
    index = hhi(amounts)
    return None if index is None else 10_000 / index


def nakamoto(amounts: ArrayLike, threshold: float = HALF) -> int | None:
    """Return the fewest holders who together hold strictly more than `threshold` (0.66: τ-decentralisation)."""
    if not 0 <= threshold < 1:
        raise UsageError(f"a threshold must lie in [0, 1), not {threshold}")
    shares = _shares(amounts)
    if not shares.size:
        return None
    above = np.cumsum(shares[::-1]) > threshold + _TIE
    return int(above.argmax()) + 1 if above.any() else shares.size


def gini(amounts: ArrayLike, *, zeros: bool = False) -> float | None:
    """Return the Gini coefficient, 0 (equal) to (n − 1)/n. `zeros=True` counts holders of nothing too: say so beside it."""
    positive = holders(amounts)
    if not positive.size:
        return None
    absent = np.asarray(amounts).size - positive.size if zeros else 0
    n = positive.size + absent
    scaled = positive / positive[-1]
    ranks = np.arange(absent + 1, n + 1, dtype=np.float64)
    return max(0.0, float((2 * ranks - n - 1) @ scaled / (n * scaled.sum())))


def entropy_bits(amounts: ArrayLike) -> float | None:
    """Return Shannon's entropy in bits; higher is less concentrated."""
    shares = _shares(amounts)
    return max(0.0, float(-(shares @ np.log2(shares)))) if shares.size else None


def normalised_entropy(amounts: ArrayLike) -> float | None:
    """Return entropy / log₂ n in [0, 1]; unknown for a single holder."""
    shares = _shares(amounts)
    if shares.size < 2:
        return None
    return float(-(shares @ np.log2(shares)) / np.log2(shares.size))


def theil_bits(amounts: ArrayLike) -> float | None:
    """Return log₂ n − entropy in bits: 0 when all are equal."""
    shares = _shares(amounts)
    if not shares.size:
        return None
    return max(0.0, float(np.log2(shares.size) + shares @ np.log2(shares)))


def top_share(amounts: ArrayLike, k: int = 1) -> float | None:
    """Return the share of the k largest holders."""
    if k < 1:
        raise UsageError(f"top_share needs k of at least 1, not {k}")
    shares = _shares(amounts)
    return min(1.0, float(shares[-k:].sum())) if shares.size else None


def max_power_ratio(amounts: ArrayLike) -> float | None:
    """Return the largest holder's share."""
    return top_share(amounts, 1)


@dataclass(frozen=True, slots=True)
class Concentration:
    """All figures of one distribution. `holders` counts those with more than 0."""

    holders: int
    hhi: float
    effective_number: float
    nakamoto: int
    tau: int
    gini: float
    entropy_bits: float
    theil_bits: float
    top1: float
    top5: float
    top10: float


def concentration(amounts: ArrayLike) -> Concentration | None:
    """Return every figure of this file for one distribution; None when nobody holds anything."""
    values = holders(amounts)
    if not values.size:
        return None
    index, equal, half, tau = hhi(values), gini(values), nakamoto(values), nakamoto(values, TAU)
    bits, theil, tops = entropy_bits(values), theil_bits(values), [top_share(values, k) for k in (1, 5, 10)]
    assert index is not None and equal is not None and half is not None and tau is not None
    assert bits is not None and theil is not None
    top1, top5, top10 = (share if share is not None else 0.0 for share in tops)
    return Concentration(values.size, index, 10_000 / index, half, tau, equal, bits, theil, top1, top5, top10)
