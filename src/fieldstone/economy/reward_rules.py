"""Reward rules of real networks, and the shapes behind them, as black boxes for the reward linter.

Each takes the claims of one epoch and returns what they are worth in 10⁻⁹ $, from a pool of `POOL_NANO`. The known bad
ones stay here on purpose: a linter is only believed while it still catches them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

from fieldstone.economy.policies.contract import Source
from fieldstone.rewards.lint import Claim, Rule
from fieldstone.units import split

POOL_NANO = 1_000 * 10**9  # 1,000 $ an epoch
TAKE_PPM = 50_000


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule and what is known about it. `findings`: the linter's checks that must fail; none for a sound rule."""

    name: str
    summary: str
    rule: Rule
    findings: frozenset[str]
    source: Source
    take_ppm: int = 0


def _shared(weight: Callable[[Claim], int]) -> Rule:
    """Return the rule that shares the pool in proportion to a weight of each claim on its own."""

    def rule(claims: Sequence[Claim]) -> Sequence[int]:
        return split(POOL_NANO, [weight(claim) for claim in claims])[0]

    return rule


def _capped(claims: Sequence[Claim]) -> Sequence[int]:
    """Proportional, but nobody gets more than a quarter of the pool."""
    return [min(part, POOL_NANO // 4) for part in split(POOL_NANO, [claim.work for claim in claims])[0]]


def _score_with_floor(claims: Sequence[Claim]) -> Sequence[int]:
    """Share by 0.1 + 0.9 · work / best, for everyone who showed any work."""
    best = max((claim.work for claim in claims), default=0)
    scores = [100_000 + 900_000 * claim.work // best if claim.work else 0 for claim in claims] if best else []
    return split(POOL_NANO, scores)[0] if scores else [0] * len(claims)


def _equal_over_a_threshold(claims: Sequence[Claim]) -> Sequence[int]:
    """70 % by work, 25 % equally to all above a threshold, 5 % equally to all who are online."""
    by_work = split(POOL_NANO * 70 // 100, [claim.work for claim in claims])[0]
    over = split(POOL_NANO * 25 // 100, [int(claim.work >= 1_000_000) for claim in claims])[0]
    online = split(POOL_NANO * 5 // 100, [int(claim.work > 0) for claim in claims])[0]
    return [sum(parts) for parts in zip(by_work, over, online, strict=True)]


def _one_to_one(claims: Sequence[Claim]) -> Sequence[int]:
    """What was bought, less the take, up to the pool; pro rata beyond it."""
    asked = [claim.bought_nano * (1_000_000 - TAKE_PPM) // 1_000_000 for claim in claims]
    return asked if sum(asked) <= POOL_NANO else split(POOL_NANO, asked)[0]


_AXIOMS = Source("Chen, Papadimitriou, Roughgarden: An Axiomatic Approach to Block Rewards, AFT 2019", "theorem 1")

RULES: dict[str, KnownRule] = {
    known.name: known
    for known in (
        KnownRule("proportional", "by work", _shared(lambda claim: claim.work), frozenset(), _AXIOMS),
        KnownRule(
            "square_root",
            "by the square root of work: a concave rule",
            _shared(lambda claim: isqrt(claim.work)),
            frozenset({"split"}),
            _AXIOMS,
        ),
        KnownRule(
            "superlinear",
            "by work to the power of 1.5: a convex rule",
            _shared(lambda claim: claim.work * isqrt(claim.work)),
            frozenset({"merge"}),
            _AXIOMS,
        ),
        KnownRule("capped", "by work, a quarter of the pool at most", _capped, frozenset({"split"}), _AXIOMS),
        KnownRule(
            "render.score_floor",
            "0.1 + 0.9 · work / best, the earnings part of the compute score",
            _score_with_floor,
            frozenset({"split"}),
            Source("RNP-007", "rendernetwork/RNPs, compute client rewards"),
        ),
        KnownRule(
            "xnet.tiers",
            "70 % by work, 25 % equally above a threshold, 5 % equally to all",
            _equal_over_a_threshold,
            frozenset({"split"}),
            Source("XNET documentation", "docs.xnetmobile.com, epoch rewards"),
        ),
        KnownRule(
            "helium.fixed_pool",
            "a fixed pool by data bought: before HIP-10",
            _shared(lambda claim: claim.bought_nano),
            frozenset({"self-deal"}),
            Source("HIP 10: Usage-Based Data Transfer Rewards", "helium/HIP, 0010, motivation"),
        ),
        KnownRule(
            "helium.hip10",
            "one to one with what was bought, up to the pool",
            _one_to_one,
            frozenset(),
            Source("HIP 10: Usage-Based Data Transfer Rewards", "helium/HIP, 0010, explanation"),
            take_ppm=TAKE_PPM,
        ),
    )
}
