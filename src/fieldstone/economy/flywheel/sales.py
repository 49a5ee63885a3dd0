"""Steps 1 to 3 of the flywheel: coverage and quality, demand, what is served, paid and prepaid."""

from __future__ import annotations

import math

from fieldstone.economy.flywheel import draws
from fieldstone.economy.flywheel.inputs import Now
from fieldstone.economy.flywheel.limits import EXPONENT_LIMIT, clip
from fieldstone.economy.flywheel.parameters import Scenario, Segment
from fieldstone.economy.flywheel.state import Sales, State


def sell(s: Scenario, now: Now, state: State, working: list[float], t: int, seed: int, number: int) -> Sales:
    """Steps 1 to 3: coverage and quality, what is asked for, what is served and paid."""
    dt = s.step_months
    uptime = s.service.uptime * now.uptime
    if s.service.uptime_noise:
        uptime += s.service.uptime_noise * draws.normal(seed, number, draws.UPTIME, t)
    uptime = min(max(uptime, 0.0), 1.0)
    fraud = max(0.0, s.service.fraud * now.fraud + now.fraud_extra)
    coverage = quality = 0.0
    quality_in, capacity_in = [], []
    for region in s.regions:
        here = [k for k, cohort in enumerate(s.cohorts) if cohort.region == region.name]
        count = sum(working[k] for k in here)
        ratio = count / region.coverage_devices
        covered = -math.expm1(-ratio) if s.service.coverage_form == "exponential" else ratio / (1 + ratio)
        quality_in.append(covered**s.service.coverage_exponent * uptime / (1 + fraud) if covered > 0 else 0.0)
        coverage += region.demand_share * covered
        quality += region.demand_share * quality_in[-1]
        units = sum(working[k] * s.cohorts[k].capacity_units_month for k in here)
        capacity_in.append(units * uptime * s.service.usable_capacity * dt)

    unit_usd = max(s.service.price_usd * now.service_price, 1e-12)
    noise = draws.normal(seed, number, draws.DEMAND, t)
    offered = 0.0
    for j, segment in enumerate(s.segments):
        room = 1 - state.demand[j] / segment.market_units_month
        grown = 1 + dt / 12 * (segment.growth_year * quality * room - segment.churn_year)
        state.demand[j] = max(0.0, state.demand[j] * grown)
        spread = segment.noise_year * math.sqrt(dt / 12)
        weather = math.exp(spread * noise - spread**2 / 2)
        patched = max(0.0, now.season[j]) * now.demand[j] * weather
        answer = demand_answer(segment, unit_usd, quality, now.alternative_price[j])
        offered += state.demand[j] * answer * patched * dt

    offered_in = [
        offered * region.demand_share * q / quality if quality > 0 else 0.0
        for region, q in zip(s.regions, quality_in, strict=True)
    ]
    served_in = [min(asked, there) for asked, there in zip(offered_in, capacity_in, strict=True)]
    revenue = unit_usd * sum(served_in)
    bought, used = prepay(s, state, revenue)
    part = used / revenue if revenue > 0 else 1.0
    return Sales(
        quality, coverage, offered, [asked * part for asked in offered_in], sum(capacity_in), capacity_in,
        sum(served_in) * part, [units * part for units in served_in], unit_usd, bought, used, uptime, fraud,
    )  # fmt: skip


def demand_answer(segment: Segment, unit_usd: float, quality: float, alternative_factor: float) -> float:
    """Return the part of a segment's demand that comes at this price and quality."""
    if segment.form == "elastic":
        return (
            math.exp(clip(-segment.elasticity * math.log(unit_usd / segment.price_ref_usd), EXPONENT_LIMIT)) * quality
        )
    alternative = max(segment.price_alt_usd * alternative_factor, 1e-12)
    disadvantage = (unit_usd - alternative) / alternative - segment.quality_sensitivity * (
        quality - segment.quality_alt
    )
    return 1 / (1 + math.exp(clip(segment.price_sensitivity * disadvantage, EXPONENT_LIMIT)))


def prepay(s: Scenario, state: State, revenue: float) -> tuple[float, float]:
    """Return the dollars of credits bought and used; no more is used than was bought. Moves the credits outstanding."""
    wanted = max(0.0, revenue + s.burn.credit_months * revenue / s.step_months - state.credits)
    has_breaker = s.burn.mode == "vault" and s.burn.halt_ratio > 0 and state.credits > 0
    if has_breaker and state.vault * state.prices[-1] < s.burn.halt_ratio * state.credits:
        wanted = 0.0  # no new credits until the vault covers the old ones
    used = min(revenue, state.credits + wanted)
    state.credits = max(0.0, state.credits + wanted - used)
    return wanted, used
