"""Live challenges at the same time: what latency can and cannot tell about where the bytes are. Pure functions.

`shared_bottleneck`: ask several devices for q random chunks alone, then all in the same second. One disk (or one place
from which all fetch) serves them one after another, so everybody slows down; own disks do not notice. Judged are the
ratio of medians and a rank test (Mann–Whitney, normal approximation with ties), both, so a noisy line alone is no proof.

`fetched_from_elsewhere`: an answer takes longer than the line (ping) and an honest disk explain. The limit is
`seek_ms · q / spindles`, so it binds only when the honest medium is fast: a hard disk needs 1 s for 128 seeks, in which
anybody can fetch 128 chunks from the other side of the planet at once.

What this cannot see, and so nobody is disqualified by it: several flash drives' worth of random reads behind one
machine look like one flash drive until the line is full; a colluding neighbour a millisecond away is as good as a disk.
The remedy there is not latency but uniqueness: other shares for every operator, and k of them on nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldstone.errors import UsageError

__all__ = ["Bottleneck", "Distance", "fetched_from_elsewhere", "shared_bottleneck"]

MIN_SAMPLES = 12  # fewer cannot reach z = 4, whatever they are


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """`ratio`: median together over median alone. `z`: of the rank test, positive when together is slower."""

    is_shared: bool
    ratio: float
    z: float
    samples: int


def shared_bottleneck(
    alone_ms: Sequence[float], together_ms: Sequence[float], *, min_ratio: float = 1.5, min_z: float = 4.0
) -> Bottleneck:
    """Tell whether devices asked together share what serves them. Pool the measurements of a group of suspects.

    Fewer than 12 measurements of either kind prove nothing. Raises UsageError for a negative time.
    """
    alone, together = np.asarray(alone_ms, dtype=np.float64), np.asarray(together_ms, dtype=np.float64)
    if (alone < 0).any() or (together < 0).any():
        raise UsageError("a latency is not negative")
    count = min(alone.size, together.size)
    if count < MIN_SAMPLES:
        return Bottleneck(False, 1.0, 0.0, count)
    ratio = float(np.median(together)) / max(float(np.median(alone)), 1e-9)
    z = _rank_z(alone, together)
    return Bottleneck(ratio >= min_ratio and z >= min_z, round(ratio, 4), round(z, 4), count)


@dataclass(frozen=True, slots=True)
class Distance:
    """`extra_ms`: median answer beyond ping. `budget_ms`: what an honest medium needs. `share_over`: of the answers."""

    is_far: bool
    extra_ms: float
    budget_ms: float
    share_over: float


def fetched_from_elsewhere(
    answer_ms: Sequence[float],
    ping_ms: Sequence[float],
    *,
    questions: int,
    seek_ms: float,
    spindles: int = 1,
    slack: float = 3.0,
    min_share: float = 0.8,
) -> Distance:
    """Tell whether answers take longer than line and disk explain: `min_share` of them above `slack` times the budget."""
    if questions < 1 or seek_ms <= 0 or spindles < 1:
        raise UsageError(f"no budget for {questions} questions at {seek_ms} ms on {spindles} spindles")
    budget = seek_ms * questions / spindles
    if len(answer_ms) < MIN_SAMPLES or not len(ping_ms):
        return Distance(False, 0.0, budget, 0.0)
    extra = np.asarray(answer_ms, dtype=np.float64) - float(np.median(np.asarray(ping_ms, dtype=np.float64)))
    over = float((extra > slack * budget).mean())
    return Distance(over >= min_share, round(float(np.median(extra)), 4), budget, round(over, 4))


def _rank_z(
    first: np.ndarray[tuple[int], np.dtype[np.float64]], second: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float:
    both = np.concatenate((first, second))
    values, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = ((ends - counts + 1 + ends) / 2)[inverse]
    n, m, total = first.size, second.size, both.size
    u = float(ranks[n:].sum()) - m * (m + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = n * m / 12 * ((total + 1) - ties / (total * (total - 1)))
    return 0.0 if variance <= 0 or values.size < 2 else (u - n * m / 2) / math.sqrt(variance)
