"""How likely a segment is lost before somebody looks again. Pure.

P(fewer than k of the shares survive), each with its own probability of loss: a Poisson binomial distribution, summed
exactly in O(n²). It takes losses as independent; placement caps are there to make that nearly true, and the durability
report simulates what is left of correlation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

YEAR_S = 365.25 * 86_400
NODE_LOSS_PER_YEAR = 0.25  # rate at which healthy nodes are lost for good, per node and year (design)
OFFLINE_LOSS = 0.2  # that a node which is away now does not come back (design; reference 2.5 measures per network)


def loss_before(interval_s: float, rate_per_year: float = NODE_LOSS_PER_YEAR) -> float:
    """Return the probability that a healthy node is lost within `interval_s`, at a constant rate."""
    return -math.expm1(-rate_per_year * interval_s / YEAR_S)


def loss_probability(k: int, losses: Iterable[float]) -> float:
    """Return P(fewer than `k` shares survive) for shares with these probabilities of loss, 0 … 1 each.

    The lower tail is summed from its own terms, so values far below 1e-16 are exact too.
    """
    survive = [1.0]  # survive[j]: probability that j of the shares so far survive
    for loss in losses:
        grown = [0.0] * (len(survive) + 1)
        for count, probability in enumerate(survive):
            grown[count] += probability * loss
            grown[count + 1] += probability * (1.0 - loss)
        survive = grown
    return min(1.0, math.fsum(survive[:k]))
