"""Refuse reward rules that pay for splitting, merging, colluding or self-dealing, and money that cannot hold.

`lint(rule)` treats a rule as a black box: it draws populations from a seed, lets people make the moves of
`rewards.lint_moves`, and compares what the same people get. The worst case of each check is reported with the population
that shows it, so that anyone can repeat it. `lint_mint` and `lint_credits` (`rewards.lint_money`) do the same for a
mint and for a system of credits.

Why a concave, capped or floored rule is an error and not a remark: identities cost nothing, so whoever splits takes
the gain from everyone who does not. Proportional sharing is the only symmetric, budget-balanced rule that is proof
against splitting and collusion (Chen, Papadimitriou, Roughgarden, AFT 2019). Where identities really cannot be split
(bond, hardware key, exclusive location) say so with `unsplittable=True`.

`lint_policy(policy)` checks a policy's numbers and runs `lint` on the real `allocate` under that policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fieldstone.rewards.bonded import OPERATOR_KEY, Bonded, needed_base
from fieldstone.rewards.lint_claims import GAIN_TOLERANCE_PPM, Claim, Finding, Rule
from fieldstone.rewards.lint_listed import installed, lint_listed
from fieldstone.rewards.lint_money import CreditSystem, lint_credits, lint_mint, safe_price_age_s
from fieldstone.rewards.lint_moves import SPLITS, Trial, moves
from fieldstone.services.bonding import Bonding
from fieldstone.units import PPM, TOKEN_BASE

if TYPE_CHECKING:
    from fieldstone.policy import Policy
    from fieldstone.services.contract import ListPrice

MOST_UNITS = 2**60  # of sold work in a trial: what tables of 64 bits hold

__all__ = [
    "GAIN_TOLERANCE_PPM",
    "SPLITS",
    "Claim",
    "CreditSystem",
    "Finding",
    "Rule",
    "empty_work",
    "lint",
    "lint_credits",
    "lint_mint",
    "lint_policy",
    "rule_of",
]


def lint(
    rule: Rule,
    *,
    take_ppm: int = 0,
    unsplittable: bool = False,
    budget_nano: int | None = None,
    populations: int = 300,
    seed: int = 0,
    cliffs: bool = False,
    unsold: Callable[[int], int] | None = None,
) -> list[Finding]:
    """Return the weaknesses of a reward rule, errors first; an empty list means that none was found.

    `take_ppm`: the network's take, against which self-dealing is compared. `budget_nano`: the most that all rewards may
    be worth together. `cliffs`: look for thresholds too (some thirty calls of the rule per population). `unsold`: what
    customers pay → the work that their part of a device's capacity is while it is empty. The same seed gives the same findings.
    """
    worst: dict[tuple[str, str], Finding] = {}
    for number in range(populations):
        rng = random.Random(f"{seed}/{number}")
        claims = _population(rng)
        who = rng.randrange(len(claims))
        trial = Trial(rule, claims, list(rule(claims)), who, rng, take_ppm, unsplittable, budget_nano, unsold)
        for finding in moves(trial, cliffs=cliffs):
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
            # whole micro-dollars, as customers pay: their rounding is nobody's gain
            bought_nano=int(10 ** rng.uniform(3, 12)) // 1_000 * 1_000 if rng.random() < 0.5 else 0,
            place=rng.randrange(3),
            witnesses=rng.choice((0, 0, 1, 3)),
        )
        for _ in range(size)
    ]


def lint_policy(policy: Policy, *, populations: int = 40, seed: int = 0) -> list[Finding]:
    """Return the weaknesses of a network's policy, errors first: its numbers, then the real rule under it."""
    findings = [*_numbers(policy)]
    # the part of the take that may come back by `rewards.need` is the policy's choice; anything beyond it is not
    kept_take_ppm = policy.rewards.take_ppm * (PPM - policy.rewards.need_demand_ppm) // PPM
    if policy.rewards.token_price_micro_usd:
        for name in installed(policy):
            rule = rule_of(policy, name)
            # where customers' own data is work, the take may come back as bootstrap: whoever buys from himself gains nothing
            take_ppm = kept_take_ppm if _list_price(policy, name) is None else 0
            unsold = empty_work(policy, name)
            findings += lint(rule, take_ppm=take_ppm, populations=populations, seed=seed, unsold=unsold)
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
    if rewards.token_price_micro_usd:
        yield from _money(policy)
        yield from lint_listed(policy)
    if rewards.cell_resolution > 9:
        yield Finding(
            "cells",
            "warning",
            f"rewards.cell_resolution {rewards.cell_resolution}: cells are smaller than a location can be proven, "
            "so clones reach several from one roof",
        )
    if shares != PPM:
        yield Finding("shares", "warning", f"the services' share_ppm add up to {shares}, not 1,000,000")


def _money(policy: Policy) -> Iterator[Finding]:
    """Yield what a halved or an old token price does to a policy."""
    rewards = policy.rewards
    # half the price doubles the tokens that paid work needs, and the cap does not move
    payable = rewards.max_epoch_mint_base * rewards.token_price_micro_usd // (2 * TOKEN_BASE)
    if payable < rewards.r_half_micro_usd:
        yield Finding(
            "insolvent-credit",
            "warning",
            f"at half the token price an epoch can mint for {payable / 1e6:,.2f} $ of paid work, less than "
            f"rewards.r_half_usd {rewards.r_half_usd}: what was sold would be owed. Raise rewards.max_epoch_mint",
        )
    offered = rewards.bootstrap_base * rewards.token_price_micro_usd // (2 * TOKEN_BASE)
    if offered > 9 * rewards.r_half_micro_usd > 0:
        yield Finding(
            "above-demand",
            "warning",
            f"at a revenue of r_half ({rewards.r_half_usd} $) the bootstrap still mints {offered / 1e6:,.2f} $ an epoch: "
            "more than nine dollars of subsidy for each dollar from customers",
        )
    if 0 < rewards.take_ppm < PPM:
        safe_s = safe_price_age_s(rewards.take_ppm)
        if policy.epoch.length_s > safe_s:
            yield Finding(
                "oracle-lag",
                "warning",
                f"a token price as old as an epoch ({policy.epoch.length_s:,} s) can be further below the market than the "
                f"take of {rewards.take_ppm / 10_000:g} %, and then buying from oneself pays; {safe_s:,} s are safe",
            )


def _list_price(policy: Policy, service: str) -> ListPrice | None:
    from fieldstone.services import load_service
    from fieldstone.services.prices import list_price

    return list_price(load_service(service), policy)


def empty_work(policy: Policy, service: str) -> Callable[[int], int] | None:
    """Return what customers pay (nano-dollars) → the work that what they buy for it would be while it is empty.

    None where work has no list price: there nobody can tell what was refused.
    """
    listed = _list_price(policy, service)
    if listed is None:
        return None

    def unsold(bought_nano: int) -> int:
        return _units(bought_nano, listed) * listed.unsold_weight_ppm // PPM

    return unsold


def _units(bought_nano: int, listed: ListPrice) -> int:
    return min(MOST_UNITS, bought_nano // 1_000 * listed.units // listed.micro_usd)


def _bond(policy: Policy, service: str) -> Bonded | None:
    from fieldstone.services import load_service

    setting, found = policy.services[service], load_service(service)
    if not setting.bond_per_unit_base or not isinstance(found, Bonding):
        return None
    params = found.with_overrides(found.default_params(setting.rule_version), setting.params)
    return Bonded(found.bond_terms(params), setting.bond_per_unit_base)


def rule_of(policy: Policy, service: str) -> Rule:
    """Return `allocate` under this policy as a rule of one service: each claim is one operator with one device.

    `Claim.work` is work that nobody bought; what was bought is more work where work has a list price (`rewards.caps`), as
    much as it pays for. `place` is a cell of its own. Rewards are valued at the policy's token price. Where a bond is asked
    for, everybody has half of what he needs: a bond can be split like the work, so it must be no reason to.
    """
    import polars as pl

    from fieldstone.rewards.allocation import allocate
    from fieldstone.rewards.allocation_input import AllocationInput
    from fieldstone.rewards.caps import SOLD_INPUT_SCHEMA
    from fieldstone.services.contract import REGISTRY_SCHEMA, VERDICT_SCHEMA

    price = policy.rewards.token_price_micro_usd
    listed, bond = _list_price(policy, service), _bond(policy, service)
    no_corrections = pl.DataFrame(schema=dict.fromkeys(("device", "operator", "amount_base", "cause"), pl.String()))

    def rule(claims: Sequence[Claim]) -> list[int]:
        # rewards must not depend on a device's name, so names follow the order; ties would show as `order` findings
        names = [f"device-{i:04d}" for i in range(len(claims))]
        size = len(claims)
        sold = [0] * size
        if listed is not None:
            sold = [_units(claim.bought_nano, listed) for claim in claims]
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
                "quantity": [claim.work + units for claim, units in zip(claims, sold, strict=True)],
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
        staked = {}
        if bond is not None:
            quantities = [claim.work + units for claim, units in zip(claims, sold, strict=True)]
            needs = [needed_base(bond, quantity, policy.epoch.length_s) for quantity in quantities]
            staked = {(f"0x{i + 1:040x}", OPERATOR_KEY): need // 2 for i, need in enumerate(needs)}
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
                bonded={} if bond is None else {service: bond},
                staked=staked,
                list_prices={} if listed is None else {service: listed},
                sold=pl.DataFrame(
                    {"device": names, "service": [service] * size, "quantity": sold}, schema=SOLD_INPUT_SCHEMA
                ),
            )
        )
        worth = [0] * size
        for device, total in result.statements.select("device", "total_base").rows():
            worth[int(device[-4:])] += int(total) * price * 1_000 // TOKEN_BASE
        return worth

    return rule
