"""Emission of a scenario: real schedules summed per step, exact integers turned into floats once.

What depends on the network's state (demand, burn, storage, bonding) is computed inside the step from the plan's
`rule`; what does not is a table made here by the policies of `economy.policies`, so that the simulated and the paid
schedule are one. Units: whole tokens per step.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldstone.economy.flywheel.parameters import Scenario
from fieldstone.errors import UsageError

# rules inside the step
SCHEDULE, DEMAND_FIRST, REVENUE_SHARE, NET_EMISSIONS, BACKSTOP, BASELINE, STAKING = range(7)
DAYS_PER_MONTH = 30.4375

Cumulative = Callable[[Scenario, float], float]
"""(scenario, months since the network's start) → tokens scheduled up to then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An issuance by name: which rule runs inside the step, and the schedule's sum up to a month of network age."""

    rule: int
    summary: str
    cumulative: Cumulative
    source: str


def _constant(scenario: Scenario, month: float) -> float:
    emission = scenario.emission
    if not emission.decay_year:
        return emission.tokens_month * month
    if emission.decay_year == 1:
        return 0.0
    rate = -math.log1p(-emission.decay_year) / 12
    return emission.tokens_month * -math.expm1(-rate * month) / rate


def _halving(scenario: Scenario, month: float) -> float:
    emission = scenario.emission
    level, rest = divmod(month, emission.halving_months)
    return emission.tokens_month * (
        2 * emission.halving_months * -math.expm1(-level * math.log(2)) + rest * math.exp2(-level)
    )


def _none(scenario: Scenario, month: float) -> float:
    return 0.0


def _filecoin_simple(scenario: Scenario, month: float) -> float:
    # the exact reward of epoch 0 times a geometric sum: epoch rewards fall by e^−λ
    from fieldstone.economy.policies.filecoin import ATTO, EPOCHS_PER_YEAR, simple_q128

    first = (simple_q128(0) >> 128) / ATTO
    rate = math.log(2) / (6 * EPOCHS_PER_YEAR)
    return first * math.expm1(-rate * month / 12 * EPOCHS_PER_YEAR) / math.expm1(-rate)


def _helium_hip20(scenario: Scenario, month: float) -> float:
    from fieldstone.economy.policies import POLICIES

    hip20 = POLICIES["helium.hip20"]
    whole, rest = divmod(month / 12, 1)
    years = [int(hip20(year=year + 1)["bones"]) for year in range(int(whole) + 1)]
    return (sum(years[:-1]) + years[-1] * rest) / 10**8


def _hnt_levels() -> list[tuple[int, int]]:
    """Return (first day, bones per day) since 2023-08-02: hnt.json, then HIP-20's halving every second August."""
    from fieldstone.economy.policies.helium import DAILY_BONES

    dates = [(datetime.date.fromisoformat(date), bones) for date, bones in DAILY_BONES]
    for halving in range(1, 60):
        dates.append((datetime.date(2025 + 2 * halving, 8, 1), dates[len(DAILY_BONES) - 1][1] // 2**halving))
    return [((date - dates[0][0]).days, bones) for date, bones in dates]


def _helium_schedule(scenario: Scenario, month: float) -> float:
    levels, day = _hnt_levels(), month * DAYS_PER_MONTH
    ends = [begin for begin, _ in levels[1:]] + [math.inf]
    return sum(
        bones * max(0.0, min(day, end) - begin) / 10**8 for (begin, bones), end in zip(levels, ends, strict=True)
    )


def _render(scenario: Scenario, month: float) -> float:
    from fieldstone.economy.policies.render import emitted_before

    whole = int(month)
    before, after = emitted_before(whole + 1), emitted_before(whole + 2)
    return before + (month - whole) * (after - before)


def _arweave(scenario: Scenario, month: float) -> float:
    from fieldstone.economy.policies.arweave import BLOCKS_PER_YEAR, WINSTON, base_inflation

    rate = math.log(2) / BLOCKS_PER_YEAR
    return base_inflation(0) / WINSTON * math.expm1(-rate * month / 12 * BLOCKS_PER_YEAR) / math.expm1(-rate)


PLANS: dict[str, Plan] = {
    "constant": Plan(SCHEDULE, "tokens_month, falling by decay_year", _constant, "scenario"),
    "halving": Plan(SCHEDULE, "tokens_month, halved every halving_months", _halving, "scenario"),
    "none": Plan(SCHEDULE, "nothing is minted", _none, "scenario"),
    "fieldstone.demand_first": Plan(
        DEMAND_FIRST, "paid work, and a bootstrap that fades with demand", _constant, "fieldstone.rewards.emission"
    ),
    "revenue_share": Plan(
        REVENUE_SHARE, "tokens for revenue_share of each dollar, beside the constant schedule", _constant, "RNP-023"
    ),
    "filecoin": Plan(
        BASELINE,
        "simple minting, and a baseline pool paid as capacity meets a growing target",
        _filecoin_simple,
        "filecoin-project/specs, filecoin_token",
    ),
    "filecoin.simple": Plan(SCHEDULE, "simple minting alone", _filecoin_simple, "filecoin-project/specs"),
    "helium.hip20": Plan(SCHEDULE, "60 M HNT a year, halved every two years", _helium_hip20, "HIP-20"),
    "helium.schedule": Plan(SCHEDULE, "hnt.json by day from 2023-08-02", _helium_schedule, "helium-program-library"),
    "helium.net_emissions": Plan(
        NET_EMISSIONS, "hnt.json and re-emission of smoothed burn", _helium_schedule, "HIP-20, helium-program-library"
    ),
    "helium.backstop": Plan(BACKSTOP, "… and the top-up of the backstop", _helium_schedule, "HIP-149"),
    "render": Plan(SCHEDULE, "RENDER's monthly emission; unpublished after year 3", _render, "RNP-006, 018, 022"),
    "arweave": Plan(SCHEDULE, "inflation of the base curve", _arweave, "ArweaveTeam/arweave, ar_inflation.erl"),
    "livepeer": Plan(STAKING, "inflation that moves with the bonded share", _none, "livepeer/protocol, Minter.sol"),
}


def plan_of(scenario: Scenario) -> Plan:
    """Return the plan a scenario names. Raises UsageError."""
    policy = scenario.emission.policy
    if policy not in PLANS:
        raise UsageError(f"emission.policy {policy!r} is not one of {', '.join(PLANS)}")
    return PLANS[policy]


def scheduled(scenario: Scenario) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tokens of schedule and supplement in each step, `emission.scale` not applied."""
    emission, plan = scenario.emission, plan_of(scenario)
    edges = emission.start_month + np.arange(scenario.steps + 1) * scenario.step_months
    totals = np.array([plan.cumulative(scenario, float(edge)) for edge in edges])
    ages = np.minimum(edges - emission.start_month, emission.supplement_months)
    return np.maximum(np.diff(totals), 0.0), emission.supplement_tokens_month * np.diff(ages)
