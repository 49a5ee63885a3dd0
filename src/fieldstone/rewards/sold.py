"""How a cell's pool is shared when part of the work was made by customers' own data.

Stored bytes are no measurement of the world: whoever plays customer and provider at once makes as many as he likes, and can
compute them again instead of keeping them. So the bootstrap of such *sold* work is bounded by money that is really gone:

    cap_d       = revenue_d · take_ppm · 10¹⁸ // (10⁶ · price)        the take on what was paid for it
    bootstrap_d = λ · free_d + min(λ · sold_d, cap_d)                 Σ over the cell = its pool

λ = P / W, where P and W are the cell's pool and work without those whose cap is below their part. Who pays himself a dollar
gets back (1 − take) of it as a sale and at most the take as bootstrap: never more than the dollar. Honest providers lose
nothing to the network's take while there is a bootstrap. Capped work leaves its part to the others, so it dilutes nobody.
Work that was measured otherwise (readings, proven empty space) is not sold work and has no cap.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import polars as pl

SOLD_INPUT_SCHEMA: dict[str, Any] = {"device": pl.String(), "service": pl.String(), "quantity": pl.Int64()}


class Claim(NamedTuple):
    """Sold work of one device and the most that it may earn, in token base units."""

    device: str
    work: int
    cap: int


class Shared(NamedTuple):
    """`pool`, `work`: what is shared in proportion, after capped claims took their caps. `capped`: devices that did."""

    pool: int
    work: int
    capped: frozenset[str]

    def of(self, device: str, work: int, sold_work: int, cap: int) -> int:
        """Return a device's bootstrap from its work, of it `sold_work` sold."""
        if device in self.capped:
            free = work - sold_work
            return cap + (self.pool * free // self.work if free else 0)
        return self.pool * work // self.work


def share_cell(pool: int, work: int, claims: Iterable[Claim]) -> Shared:
    """Work λ out for a cell: `pool` base units for `work`, of it the claims' sold. Exact; the order of claims is no matter."""
    capped = []
    # those that reach their cap first come first
    for claim in sorted(claims, key=lambda one: (Fraction(one.cap, one.work), one.device)):
        if pool * claim.work <= claim.cap * work:
            break
        pool, work = pool - claim.cap, work - claim.work
        capped.append(claim.device)
    return Shared(pool, work, frozenset(capped))
