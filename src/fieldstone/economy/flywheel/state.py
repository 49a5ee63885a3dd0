"""What a step of the flywheel hands to the next, and what its parts hand to each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fieldstone.economy.flywheel.parameters import Cohort, Scenario


@dataclass(slots=True)
class State:
    """What a step hands to the next. Stocks in tokens, dollars, devices; rates as named."""

    devices: list[float]
    ordered: list[list[float]]  # per cohort, by step of delivery modulo its length
    loss_months: list[float]
    demand: list[float]
    prices: list[float]  # at the start of each step up to now: the oracle may be late
    supply: float
    unlocking: float
    reward_locked: float
    speculative: float
    pool_usd: float
    pool_tokens: float
    treasury: float
    realised: float
    inflation: float
    vault: float = 0.0
    credits: float = 0.0
    trend: float = 0.0
    burn_usd_year: float = 0.0
    emission_rate_year: float = 0.0
    smoothed_revenue: float = 0.0
    smoothed_burn: float = 0.0

    @property
    def circulating(self) -> float:
        """Tokens that are not locked."""
        return self.supply - self.unlocking - self.reward_locked


@dataclass(frozen=True, slots=True)
class Sales:
    """What was sold in a step. `unit_usd`: price of a unit; `fiat_unit_usd`: of it to operators in dollars."""

    quality: float
    coverage: float
    offered: float
    offered_in: list[float]
    capacity: float
    capacity_in: list[float]
    served: float
    served_in: list[float]
    unit_usd: float
    bought_usd: float
    used_usd: float
    uptime: float
    fraud: float


@dataclass(frozen=True, slots=True)
class Minted:
    """Tokens of a step by reason. `pool`: for coverage and data together; `direct_unit`: per unit sold."""

    pool: float
    direct_unit: float
    other: float
    settlement: float


def start(scenario: Scenario) -> State:
    """Return the state before the first step."""
    growth = math.log1p(scenario.emission.baseline_growth_year) / 12
    return State(
        devices=[cohort.initial_devices for cohort in scenario.cohorts],
        ordered=[[0.0] * (lead_steps(scenario, cohort) + 1) for cohort in scenario.cohorts],
        loss_months=[0.0] * len(scenario.cohorts),
        demand=[segment.units_month for segment in scenario.segments],
        prices=[scenario.price.initial_usd],
        supply=scenario.supply.initial_tokens,
        unlocking=scenario.supply.locked_tokens,
        reward_locked=0.0,
        speculative=0.0,
        pool_usd=scenario.price.pool_usd,
        pool_tokens=scenario.price.pool_usd / scenario.price.initial_usd,
        treasury=scenario.treasury.initial_usd,
        realised=scenario.emission.baseline_units_month
        * math.expm1(growth * scenario.emission.effective_months)
        / growth,
        inflation=scenario.emission.inflation_round,
    )


def lead_steps(scenario: Scenario, cohort: Cohort) -> int:
    """Return the steps from ordering to delivery."""
    return round(cohort.lead_months / scenario.step_months)
