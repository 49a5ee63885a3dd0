"""Reward rules of real networks, and the shapes behind them, as black boxes for the reward linter.

Each takes the claims of one epoch and returns what they are worth in 10⁻⁹ $, from a pool of `POOL_NANO`. The known bad
ones stay here on purpose: a linter is only believed while it still catches them. `MINTS` and `CREDITS` are the same for
mints and for systems of prepaid credits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

from fieldstone.economy.policies.contract import Source
from fieldstone.rewards.lint import Claim, CreditSystem, Rule
from fieldstone.rewards.lint_money import MintRule
from fieldstone.units import TOKEN_BASE, split

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


@dataclass(frozen=True, slots=True)
class KnownMint:
    """A mint and the linter's checks that must fail for it."""

    name: str
    summary: str
    rule: MintRule
    findings: frozenset[str]
    source: Source


@dataclass(frozen=True, slots=True)
class KnownCredits:
    """A system of credits and the linter's checks that must fail for it."""

    name: str
    summary: str
    system: CreditSystem
    findings: frozenset[str]
    source: Source


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


def _witnessed(claims: Sequence[Claim]) -> Sequence[int]:
    """Share by witnesses, four at most: Helium's transmit rewards, whatever the witnesses' owners."""
    return split(POOL_NANO, [min(claim.witnesses, 4) if claim.work else 0 for claim in claims])[0]


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
            frozenset({"split", "collude"}),
            _AXIOMS,
        ),
        KnownRule(
            "superlinear",
            "by work to the power of 1.5: a convex rule",
            _shared(lambda claim: claim.work * isqrt(claim.work)),
            frozenset({"merge", "collude"}),
            _AXIOMS,
        ),
        KnownRule(
            "capped", "by work, a quarter of the pool at most", _capped, frozenset({"split", "collude"}), _AXIOMS
        ),
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
            "helium.witnessed",
            "by witnesses, four at most, whoever they belong to",
            _witnessed,
            frozenset({"split"}),
            Source("HIP 15: Beaconing Rewards", "helium/HIP, 0015, reward units of the transmitter"),
        ),
        KnownRule(
            "helium.fixed_pool",
            "a fixed pool by data bought: before HIP-10",
            _shared(lambda claim: claim.bought_nano),
            frozenset({"self-deal", "above-demand"}),
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


def _halving(epoch: int, burned_base: int, revenue_micro_usd: int, price_micro_usd: int) -> int:
    return int(1_000 * TOKEN_BASE) >> (epoch // 730)


def _burned_again(epoch: int, burned_base: int, revenue_micro_usd: int, price_micro_usd: int) -> int:
    return int(100 * TOKEN_BASE) + burned_base


def _growth_bonus(epoch: int, burned_base: int, revenue_micro_usd: int, price_micro_usd: int) -> int:
    return (int(1_000 * TOKEN_BASE) >> (epoch // 730)) + int(3 * revenue_micro_usd * TOKEN_BASE) // price_micro_usd


MINTS: dict[str, KnownMint] = {
    known.name: known
    for known in (
        KnownMint(
            "mint.halving", "halved every 730 epochs", _halving, frozenset(), Source("HIP 20", "helium/HIP, 0020")
        ),
        KnownMint(
            "mint.burned_again",
            "a constant, and every burned token again: the circular dependency that RNP-001 warns of",
            _burned_again,
            frozenset({"unbounded-mint"}),
            Source("RNP-001", "rendernetwork/RNPs, emissions"),
        ),
        KnownMint(
            "mint.demand_times_three",
            "three dollars of tokens for each dollar of demand",
            _growth_bonus,
            frozenset({"above-demand"}),
            Source("HIP-149, had its deployers' cap been a multiplier", "helium/HIP, 0149, decision 1"),
        ),
    )
}

CREDITS: dict[str, KnownCredits] = {
    known.name: known
    for known in (
        KnownCredits(
            "akash.credits",
            "AEP-76: 25 basis points, an hour's average price, breaker at 0.90, vault just covering",
            CreditSystem(
                vault_tokens=1_000_000,
                outstanding_usd=1_000_000,
                price_usd=1.0,
                spread_ppm=2_500,
                price_age_s=3_600,
                halt_ppm=900_000,
            ),
            frozenset({"oracle-lag"}),
            Source("AEP-76: Burn Mint Equilibrium On Akash", "akash-network/chain-sdk, go/node/bme/v1"),
        ),
        KnownCredits(
            "credits.uncovered",
            "a vault that just covers, no breaker, a fresh price",
            CreditSystem(vault_tokens=1_000_000, outstanding_usd=1_000_000, price_usd=1.0, spread_ppm=2_500),
            frozenset({"insolvent-credit"}),
            Source("a design to be refused", "reference"),
        ),
        KnownCredits(
            "credits.sound",
            "covered threefold, a price of a minute, 1 % spread",
            CreditSystem(
                vault_tokens=3_000_000, outstanding_usd=1_000_000, price_usd=1.0, spread_ppm=10_000, price_age_s=60
            ),
            frozenset(),
            Source("a design to be accepted", "reference"),
        ),
    )
}
