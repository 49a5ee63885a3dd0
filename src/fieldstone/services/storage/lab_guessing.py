"""What a provider gains by guessing which reads are tests, from what is left to see: how hot a share is, how reads cluster.

Orders, keys, addresses, vouchers and sizes of secret test reads are those of paid reads. Left are their *statistics*: a
test hits every share alike; customers read some objects often. (They also read in bursts, so tests go beside paid reads.) A provider that refuses
what looks like a customer keeps its tests, and refuses the customers that it has most of. Every rule here is played
against the same reads, from one seed:

    hot        refuse shares that were read within the last `memory` reads, serve the cold ones
    bursts     refuse reads that come within a second of another, serve lone ones
    coin       refuse at random, as often as `hot` does
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldstone.services.storage.reputation import starting

__all__ = ["RULES", "Gain", "play"]

RULES = ("hot", "bursts", "coin")


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
    seed: int = 1,
) -> Gain:
    """Play one rule. Objects' popularity is Zipf(1); `burst`: mean reads of a session. Tests hit shares alike; `beside`:
    sent beside the next paid read after a random moment, as gateways do, and not at the moment itself."""
    dice = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, shares + 1)
    popular = dice.permutation(shares)
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
        test_at = dice.uniform(0, 86_400, tests_per_day)
        if beside:
            paid = np.sort(at)
            test_at = paid[np.searchsorted(paid, test_at) % paid.size] + dice.uniform(0, 0.2, tests_per_day)
        moments = np.concatenate((at, test_at))
        targets = np.concatenate((what, dice.integers(0, shares, tests_per_day)))
        is_test = np.concatenate((np.zeros(at.size, bool), np.ones(tests_per_day, bool)))
        order = np.argsort(moments, kind="stable")
        near = np.diff(moments[order], append=10**9, prepend=-(10**9)) < 1.0
        good = bad = 0
        for place, index in enumerate(order.tolist()):
            clock += 1
            share = int(targets[index])
            if rule == "hot":
                refuses = clock - last_read[share] <= memory
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
