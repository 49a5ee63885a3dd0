"""Refuse reward rules that pay for splitting, merging or self-dealing.

`lint(rule)` treats a rule as a black box: it draws populations from a seed, lets one participant split into k
identities, lets two merge, lets one buy his own work, and compares what the same people get. The worst case of each
check is reported with the population that shows it, so that anyone can repeat it.

Why a concave, capped or floored rule is an error and not a remark: identities cost nothing, so whoever splits takes
the gain from everyone who does not. Proportional sharing is the only symmetric, budget-balanced rule that is proof
against splitting and collusion (Chen, Papadimitriou, Roughgarden, AFT 2019). Where identities really cannot be split
(bond, hardware key, exclusive location) say so with `unsplittable=True`.

`lint_policy(policy)` checks a policy's numbers and runs `lint` on the real `allocate` under that policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fieldstone.units import PPM, TOKEN_BASE

if TYPE_CHECKING:
    from fieldstone.policy import Policy

SPLITS = (2, 3, 10, 100)
GAIN_TOLERANCE_PPM = 1_000  # gains below 0.1 % are rounding of small amounts


@dataclass(frozen=True, slots=True)
class Claim:
    """What one identity shows: verified `work`, `bought_nano` (10⁻⁹ $ that customers paid for it) and its `place`."""

    work: int
    bought_nano: int = 0
    place: int = 0


Rule = Callable[[Sequence[Claim]], Sequence[int]]
"""Claims of one epoch → rewards beside them, worth 10⁻⁹ $ each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One weakness. `error` refuses the policy. `gain_ppm`: what the same people get, in ppm of what they got (split,
    merge) or of what they spent (self-deal). `example`: the population and the move that show it."""

    check: str
    severity: Literal["error", "warning"]
    message: str
    gain_ppm: int = PPM
    example: dict[str, Any] = field(default_factory=dict)


def lint(
    rule: Rule, *, take_ppm: int = 0, unsplittable: bool = False, populations: int = 300, seed: int = 0
) -> list[Finding]:
    """Return the weaknesses of a reward rule, errors first; an empty list means that none was found.

    `take_ppm`: the network's take, against which self-dealing is compared. The same seed gives the same findings.
    """
    worst: dict[tuple[str, str], Finding] = {}
    for number in range(populations):
        rng = random.Random(f"{seed}/{number}")
        claims = _population(rng)
        for finding in _check(rule, claims, rng, take_ppm, unsplittable):
            known = worst.get((finding.check, finding.severity))
            if known is None or finding.gain_ppm > known.gain_ppm:
                example = {"seed": seed, "population": number, **finding.example}
                worst[finding.check, finding.severity] = replace(finding, example=example)
    return sorted(worst.values(), key=lambda finding: (finding.severity, finding.check))


def _population(rng: random.Random) -> list[Claim]:
    """Draw 1 to 8 claims over many orders of magnitude; some without sales, some without work, some alone."""
    size = rng.choice((1, 1, 2, 3, 5, 8))
    return [
        Claim(
            work=int(10 ** rng.uniform(3, 11)) if rng.random() < 0.9 else 0,
            bought_nano=int(10 ** rng.uniform(3, 12)) if rng.random() < 0.5 else 0,
            place=rng.randrange(3),
        )
        for _ in range(size)
    ]


def _check(rule: Rule, claims: list[Claim], rng: random.Random, take_ppm: int, unsplittable: bool) -> Iterator[Finding]:
    before = list(rule(claims))
    yield from _sound(rule, claims, before, rng)
    who = rng.randrange(len(claims))
    if not unsplittable:
        yield from _split(rule, claims, before, who, rng.choice(SPLITS))
        yield from _merge(rule, claims, before, who)
    yield from _self_deal(rule, claims, before, who, int(10 ** rng.uniform(5, 12)), take_ppm)


def _sound(rule: Rule, claims: list[Claim], before: list[int], rng: random.Random) -> Iterator[Finding]:
    if len(before) != len(claims) or min(before) < 0:
        yield Finding("budget", "error", "a reward is missing or negative", example={"claims": _plain(claims)})
    order = rng.sample(range(len(claims)), len(claims))
    again = list(rule([claims[i] for i in order]))
    if again != [before[i] for i in order]:
        yield Finding(
            "order", "error", "rewards depend on the order of participants", example={"claims": _plain(claims)}
        )


def _split(rule: Rule, claims: list[Claim], before: list[int], who: int, parts: int) -> Iterator[Finding]:
    whole = claims[who]
    # uneven by one unit where it does not divide, so that no work is lost by the split itself
    pieces = [
        Claim(_piece(whole.work, parts, i), _piece(whole.bought_nano, parts, i), whole.place) for i in range(parts)
    ]
    after = list(rule([*claims[:who], *pieces, *claims[who + 1 :]]))
    got = sum(after[who : who + parts])
    if _exceeds(got, before[who], parts):
        gain = _ratio(got, before[who])
        message = (
            f"one participant who splits into {parts} gets {gain / PPM:.2f} times as much: a concave or floored rule"
        )
        yield Finding("split", "error", message, gain, {"claims": _plain(claims), "who": who, "parts": parts})


def _piece(amount: int, parts: int, index: int) -> int:
    return amount // parts + (1 if index < amount % parts else 0)


def _merge(rule: Rule, claims: list[Claim], before: list[int], who: int) -> Iterator[Finding]:
    for other in range(len(claims)):
        if other == who or claims[other].place != claims[who].place:
            continue
        first, second = claims[who], claims[other]
        both = Claim(first.work + second.work, first.bought_nano + second.bought_nano, first.place)
        rest = [claim for i, claim in enumerate(claims) if i not in (who, other)]
        got, had = next(iter(rule([both, *rest]))), before[who] + before[other]
        if _exceeds(got, had, 2):
            gain = _ratio(got, had)
            message = f"two participants who merge get {gain / PPM:.2f} times as much: a convex rule rewards pooling"
            yield Finding("merge", "error", message, gain, {"claims": _plain(claims), "who": [who, other]})
        return


def _self_deal(
    rule: Rule, claims: list[Claim], before: list[int], who: int, spent: int, take_ppm: int
) -> Iterator[Finding]:
    buying = list(claims)
    buying[who] = replace(claims[who], bought_nano=claims[who].bought_nano + spent)
    gain = list(rule(buying))[who] - before[who]
    back = gain * PPM // spent
    example = {"claims": _plain(claims), "who": who, "spent_nano": spent}
    if back >= PPM:
        message = f"whoever buys from himself gets {back / PPM:.2f} $ back per dollar"
        yield Finding("self-deal", "error", message, back, example)
    elif back > PPM - take_ppm + GAIN_TOLERANCE_PPM:
        message = f"whoever buys from himself gets {back / PPM:.2f} $ back per dollar, more than 1 − take; still a loss"
        yield Finding("self-deal", "warning", message, back, example)


def _exceeds(got: int, had: int, parts: int) -> bool:
    return got > had + had * GAIN_TOLERANCE_PPM // PPM + 2 * parts


def _ratio(got: int, had: int) -> int:
    return got * PPM // max(1, had)


def _plain(claims: Sequence[Claim]) -> list[list[int]]:
    return [[claim.work, claim.bought_nano, claim.place] for claim in claims]


def lint_policy(policy: Policy, *, populations: int = 40, seed: int = 0) -> list[Finding]:
    """Return the weaknesses of a network's policy, errors first: its numbers, then the real rule under it."""
    findings = [*_numbers(policy)]
    # the part of the take that may come back by `rewards.need` is the policy's choice; anything beyond it is not
    kept_take_ppm = policy.rewards.take_ppm * (PPM - policy.rewards.need_demand_ppm) // PPM
    if policy.rewards.token_price_micro_usd:
        for name in sorted(policy.services):
            rule = rule_of(policy, name)
            findings += lint(rule, take_ppm=kept_take_ppm, populations=populations, seed=seed)
    return sorted(findings, key=lambda finding: (finding.severity, finding.check))


def _numbers(policy: Policy) -> Iterator[Finding]:
    rewards = policy.rewards
    shares = sum(service.share_ppm for service in policy.services.values())
    if rewards.token_price_micro_usd == 0:
        yield Finding("price", "error", "rewards.token_price_usd is 0: revenue cannot be turned into tokens")
    if rewards.take_ppm == 0:
        yield Finding(
            "take", "error", "rewards.take_ppm is 0: buying from oneself is free, so demand can be faked at no cost"
        )
    elif rewards.need_demand_ppm == PPM:
        yield Finding(
            "need", "error", "rewards.need_demand_ppm is 1,000,000: the whole take can come back to whoever bought"
        )
    if rewards.r_half_micro_usd == 0 and rewards.bootstrap_base:
        yield Finding("fade", "warning", "rewards.r_half_usd is 0: no bootstrap is ever paid")
    if rewards.bootstrap_decay_ppm == 0 and rewards.bootstrap_base:
        yield Finding(
            "unbounded-mint",
            "warning",
            "rewards.bootstrap_decay_ppm is 0: without demand the bootstrap mints for ever at the same pace",
        )
    if rewards.max_epoch_mint_base < rewards.bootstrap_base:
        yield Finding("cap", "warning", "rewards.max_epoch_mint is below bootstrap_per_epoch: the rest is never paid")
    if rewards.cell_resolution > 9:
        yield Finding(
            "cells",
            "warning",
            f"rewards.cell_resolution {rewards.cell_resolution}: cells are smaller than a location can be proven, "
            "so clones reach several from one roof",
        )
    if shares != PPM:
        yield Finding("shares", "warning", f"the services' share_ppm add up to {shares}, not 1,000,000")


def rule_of(policy: Policy, service: str) -> Rule:
    """Return `allocate` under this policy as a rule of one service: each claim is one operator with one device.

    `Claim.work` is capped by nothing; `place` is a cell of its own. Rewards are valued at the policy's token price.
    """
    import polars as pl

    from fieldstone.rewards.allocation import AllocationInput, allocate
    from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA

    price = policy.rewards.token_price_micro_usd
    no_corrections = pl.DataFrame(schema=dict.fromkeys(("device", "operator", "amount_base", "cause"), pl.String()))

    def rule(claims: Sequence[Claim]) -> list[int]:
        # rewards must not depend on a device's name, so names follow the order; ties would show as `order` findings
        names = [f"device-{i:04d}" for i in range(len(claims))]
        size = len(claims)
        registry = pl.DataFrame(
            {
                "device": names,
                "operator": [f"0x{i + 1:040x}" for i in range(size)],
                "model": [""] * size,
                "lat": [10.0 + claim.place for claim in claims],
                "lon": [20.0] * size,
                "elevation_m": [0.0] * size,
                "enrolled_ms": [0] * size,
            },
            schema=REGISTRY_SCHEMA,
        )
        verdicts = pl.DataFrame(
            {
                "device": names,
                "service": [service] * size,
                "epoch": [1] * size,
                "quantity": [claim.work for claim in claims],
                "quality_ppm": [PPM] * size,
                "verdict": ["accepted"] * size,
                "reasons": [[]] * size,
                "detail": ["{}"] * size,
            },
            schema=VERDICT_SCHEMA,
        )
        revenue = pl.DataFrame(
            {
                "device": names,
                "service": [service] * size,
                "revenue_micro_usd": [claim.bought_nano // 1_000 for claim in claims],
            },
            schema={"device": pl.String, "service": pl.String, "revenue_micro_usd": pl.Int64},
        )
        result = allocate(
            AllocationInput(
                epoch=1,
                epoch_length_s=policy.epoch.length_s,
                policy=policy.rewards,
                services=policy.services,
                verdicts=verdicts,
                registry=registry,
                revenue=revenue,
                price_micro_usd=price,
                smoothed_revenue_micro_usd=0,
                corrections=no_corrections,
                pools={},
                previous={},
            )
        )
        worth = [0] * size
        for device, total in result.statements.select("device", "total_base").rows():
            worth[int(device[-4:])] += int(total) * price * 1_000 // TOKEN_BASE
        return worth

    return rule
