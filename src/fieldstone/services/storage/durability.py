"""How likely is data lost: the binomial figure, and a simulation in which failures come together.

Independent: each of n shares is lost with probability p within one repair interval; an object is lost when fewer than k
are left: P = Σ_{i<k} C(n, i) (1−p)^i p^(n−i)   (reference 2.1's table). Every published "eleven nines" is this number.

Over a year with repairs (`independent_loss_over`): every step shares fail one by one, each as often as its disk, operator,
prefix, region and maker do together; as soon as at most `repair_at` shares are left, all missing ones are made anew. The same
steps, rates and repairs as the simulation below, so that the two figures of a report differ by correlation alone.

Correlated: shares share operators, network prefixes, regions and hardware makers, and whole groups fail at once. The
simulation draws group failures and single failures over the placement as it is, so two objects of one profile differ
when their shares stand differently. A result is hits of trials with Wilson's interval, never a bare zero (0 of 5,000 means
"below 0.08 %", no more); seed and rates are part of the answer.

Integers decide nothing here: these are predictions, printed with their model, and no reward depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import UsageError
from fieldstone.metrics import wilson

__all__ = [
    "DEFAULT_RATES",
    "Placement",
    "Prediction",
    "Rates",
    "independent_loss",
    "independent_loss_over",
    "simulate",
]


@dataclass(frozen=True, slots=True)
class Rates:
    """Failures for ever, per year: of one share's disk, and of everything in a group at once. Sources in `source`."""

    disk: float
    operator: float
    prefix: float
    region: float
    maker: float
    source: str

    @property
    def of_a_share(self) -> float:
        """How often a year a share is lost, by whatever takes it."""
        return self.disk + self.operator + self.prefix + self.region + self.maker


REPAIR_DAYS = 3.0

DEFAULT_RATES = Rates(
    disk=0.02,
    operator=0.05,
    prefix=0.01,
    region=0.002,
    maker=0.001,
    source="disk: annualised failure rate of large public fleets, 1–2 %; operators, prefixes, regions, makers: own "
    "assumptions to be replaced by the network's own history",
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one live share stands. Equal texts are one group; "" is a group of its own."""

    operator: str
    prefix: str = ""
    region: str = ""
    maker: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """P(loss within the horizon): `probability` = hits/trials, Wilson's 95 % interval, mean repaired shares a year."""

    probability: float
    low: float
    high: float
    hits: int
    trials: int
    seed: int
    repaired_shares_per_year: float


def independent_loss(k: int, alive: int, p: float) -> float:
    """Return P(fewer than `k` of `alive` shares survive) when each is lost with probability `p`, independently."""
    if not 0 <= p <= 1 or k < 1 or alive < 0:
        raise UsageError(f"no loss probability for k={k}, {alive} shares, p={p}")
    if alive < k:
        return 1.0
    # from the smallest term up, so that terms of 10⁻⁸⁰ are not lost
    return min(1.0, float(sum(math.comb(alive, i) * (1 - p) ** i * p ** (alive - i) for i in range(k))))


@lru_cache(maxsize=512)
def independent_loss_over(
    k: int,
    alive: int,
    n: int,
    *,
    repair_at: int | None = None,
    repair_days: float = REPAIR_DAYS,
    years: float = 1.0,
    rates: Rates = DEFAULT_RATES,
) -> float:
    """Return P(loss within `years`) of `alive` shares that fail independently and are repaired as in `simulate`.

    Exact: the distribution of the number of live shares, step by step. Raises UsageError for numbers that cannot be.
    """
    repair_at = (k + n) // 2 if repair_at is None else repair_at
    if not 1 <= k <= n or alive < 0 or not _is_time(repair_days, years, rates):
        raise UsageError(f"no loss probability for k={k}, n={n}, {alive} shares, repair every {repair_days} days")
    if alive < k:
        return 1.0
    step = repair_days / 365.0
    p = -math.expm1(-rates.of_a_share * step)
    most = max(n, alive)
    # chances[m][f]: f of m shares fail in a step
    chances = [[math.comb(m, f) * p**f * (1 - p) ** (m - f) for f in range(m + 1)] for m in range(most + 1)]
    now = [0.0] * (most + 1)
    now[alive] = 1.0
    lost = 0.0
    for _ in range(max(1, round(years / step))):
        then = [0.0] * (most + 1)
        for m in range(k, most + 1):
            if now[m]:
                for f, chance in enumerate(chances[m]):
                    then[m - f] += now[m] * chance
        lost += sum(then[:k])
        repaired = sum(then[k : repair_at + 1])
        now = [0.0] * k + [0.0 if m <= repair_at else then[m] for m in range(k, most + 1)]
        now[n] += repaired
    return min(1.0, lost)


def simulate(
    k: int,
    shares: Sequence[Placement],
    *,
    n: int | None = None,
    repair_at: int | None = None,
    repair_days: float = REPAIR_DAYS,
    years: float = 1.0,
    rates: Rates = DEFAULT_RATES,
    trials: int = 20_000,
    seed: int = 1,
) -> Prediction:
    """Simulate one object's shares over `years` in steps of `repair_days`. The same seed gives the same answer.

    In each step groups and disks fail for ever; if at least k are left and at most `repair_at` (default half way between
    k and n), the missing ones are made again on new operators of their own in the same regions. Fewer than k: lost.
    Raises UsageError for numbers that cannot be.
    """
    n = len(shares) if n is None else n
    repair_at = (k + n) // 2 if repair_at is None else repair_at
    if not 1 <= k <= n or trials < 1 or not _is_time(repair_days, years, rates):
        raise UsageError(f"no simulation for k={k}, n={n}, {trials} trials, repair every {repair_days} days")
    dice = np.random.default_rng(seed)
    step = repair_days / 365.0
    steps = max(1, round(years / step))
    slots = [*shares, *([Placement("")] * max(0, n - len(shares)))][:n]
    disk = -math.expm1(-rates.disk * step)
    groups = [
        (_groups([getattr(one, name) for one in slots]), -math.expm1(-getattr(rates, name) * step), name)
        for name in ("operator", "prefix", "region", "maker")
    ]
    alive = np.zeros((trials, n), dtype=bool)
    alive[:, : min(len(shares), n)] = True
    # a repaired share stands with a new operator on a new prefix: only region and maker still bind it
    fresh = np.zeros((trials, n), dtype=bool)
    lost = alive.sum(axis=1) < k
    repaired = 0
    for _ in range(steps):
        if not lost.all():
            fail = dice.random((trials, n)) < disk
            for numbers, chance, name in groups:
                struck = dice.random((trials, int(numbers.max()) + 1)) < chance
                hit = struck[:, numbers]
                if name in ("operator", "prefix"):
                    hit = np.where(fresh, dice.random((trials, n)) < chance, hit)
                fail |= hit
            alive &= ~fail
            left = alive.sum(axis=1)
            lost |= left < k
            mend = ~lost & (left <= repair_at)
            if mend.any():
                new = mend[:, None] & ~alive
                repaired += int(new.sum())
                fresh |= new
                alive |= new
    hits = int(lost.sum())
    loss = wilson(hits, trials)
    assert loss is not None, "trials were checked above"
    return Prediction(loss.value, loss.low, loss.high, hits, trials, seed, repaired / trials / years)


def _groups(names: list[str]) -> NDArray[np.int64]:
    """Number equal names alike; every empty name is a group of its own."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name or f"\0{place}", len(numbers)) for place, name in enumerate(names)])


def _is_time(repair_days: float, years: float, rates: Rates) -> bool:
    steps = (repair_days, years)
    often = (rates.disk, rates.operator, rates.prefix, rates.region, rates.maker)
    return all(0 < one < math.inf for one in steps) and all(0 <= one < math.inf for one in often)
