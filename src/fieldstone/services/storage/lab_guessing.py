"""What a provider gains by guessing which reads are tests, from what is left to see: how hot a share is, how reads cluster.

Orders, keys, addresses, vouchers and sizes of secret test reads are those of paid reads. Left are their *statistics*:
customers read some objects often, new ones most. (They also read in bursts, so tests go beside paid reads.) A provider that
refuses what looks like a customer keeps its tests, and refuses the customers that it has most of. Against that tests are
drawn by age and size, and each share is read twice (`secret_draw`); `evenly` plays the draw without that. Every rule here is
played against the same reads, from one seed:

    hot        refuse shares that were read within the last `memory` reads, serve the cold ones
    lagged     the same, but serve what was read within the last `lag` reads: it knows of the second reads
    newest     refuse the `newest` shares, which customers read most; serve older ones
    bursts     refuse reads that come within a second of another, serve lone ones
    coin       refuse at random, as often as `hot` does
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldstone.services.storage.reputation import starting
from fieldstone.services.storage.secret_draw import AGES_MS
from fieldstone.units import DAY_MS

__all__ = ["RULES", "Gain", "play"]

RULES = ("hot", "lagged", "newest", "bursts", "coin")
LAST_DAYS = 200.0  # age of the oldest share
SECOND_WITHIN_S = 900  # of the first read


@dataclass(frozen=True, slots=True)
class Gain:
    """Shares of paid reads refused and of tests failed, and days until suspension (None: not within the days played)."""

    rule: str
    refused: float
    failed: float
    days: float | None
    income_ppm: int


def play(
    rule: str,
    params: Mapping[str, Any],
    *,
    shares: int = 5_000,
    paid_per_day: int = 2_000,
    tests_per_day: int = 33,
    burst: float = 8.0,
    memory: int = 4_000,
    days: int = 60,
    beside: bool = True,
    evenly: bool = False,
    lag: int = 40,
    newest: int = 250,
    seed: int = 1,
) -> Gain:
    """Play one rule. Objects' popularity is Zipf(1), by age for `newest`; `burst`: mean reads of a session; `beside`: tests
    are sent beside the next paid read after a random moment, as gateways do, and not at the moment itself. Shares are of
    one size and of ages spread evenly over 200 days, the newest first."""
    dice = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, shares + 1)
    popular = np.arange(shares) if rule == "newest" else dice.permutation(shares)
    ages = np.digitize(np.linspace(0, LAST_DAYS, shares), AGES_MS / DAY_MS)
    classes = [np.arange(shares)] if evenly else [np.flatnonzero(ages == age) for age in np.unique(ages)]
    each = 1 if evenly else 2
    score = starting("d", params)
    last_read = np.full(shares, -(10**9))
    clock = refused = served = failed = passed = 0
    suspended: float | None = None
    hot_share = 0.5
    for day in range(days):
        sessions = max(1, round(paid_per_day / burst))
        sizes = 1 + dice.poisson(burst - 1, sessions)
        starts = np.sort(dice.uniform(0, 86_400, sessions))
        at = np.repeat(starts, sizes) + dice.uniform(0, 0.8, int(sizes.sum()))
        what = popular[dice.choice(shares, int(sizes.sum()), p=weights / weights.sum())]
        chosen = [int(dice.choice(classes[dice.integers(len(classes))])) for _ in range(-(-tests_per_day // each))]
        tested = np.repeat(chosen, each)
        begin = np.repeat(dice.uniform(0, 86_400 - SECOND_WITHIN_S, len(chosen)), each)
        test_at = begin + dice.uniform(0, SECOND_WITHIN_S, tested.size)
        if beside:
            paid = np.sort(at)
            test_at = paid[np.searchsorted(paid, test_at) % paid.size] + dice.uniform(0, 0.2, tested.size)
        moments = np.concatenate((at, test_at))
        targets = np.concatenate((what, tested))
        is_test = np.concatenate((np.zeros(at.size, bool), np.ones(tested.size, bool)))
        order = np.argsort(moments, kind="stable")
        near = np.diff(moments[order], append=10**9, prepend=-(10**9)) < 1.0
        good = bad = 0
        for place, index in enumerate(order.tolist()):
            clock += 1
            share = int(targets[index])
            if rule == "hot":
                refuses = clock - last_read[share] <= memory
            elif rule == "lagged":
                refuses = lag < clock - last_read[share] <= memory
            elif rule == "newest":
                refuses = share < newest
            elif rule == "bursts":
                refuses = bool(near[place] or near[place + 1])
            else:
                refuses = bool(dice.random() < hot_share)
            last_read[share] = clock
            if is_test[index]:
                bad, good = bad + refuses, good + (not refuses)
            else:
                refused, served = refused + refuses, served + (not refuses)
        good, bad = int(good), int(bad)
        failed, passed = failed + bad, passed + good
        score = score.after_reads(good, bad, day * 86_400_000, params)
        if suspended is None and score.state != "good":
            suspended = day + 1.0
    share_bad = failed / (failed + passed)
    income = 1_000_000 - round(int(params["read_income_ppm"]) * share_bad)
    return Gain(rule, float(refused / (refused + served)), float(share_bad), suspended, income)
