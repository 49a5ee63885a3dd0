"""Draws and formulas of the step, compiled: the twins of functions in `draws`, `sales`, `money` and `reference`."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from fieldstone.economy.flywheel import draws, limits

U32, M32 = np.uint64(32), np.uint64(0xFFFFFFFF)
U5, U6 = np.uint64(5), np.uint64(6)
PHILOX_A, PHILOX_B = (np.uint64(word) for word in draws.MULTIPLIERS)
WEYL_A, WEYL_B = (np.uint64(word) for word in draws.WEYL)
ROUNDS = draws.ROUNDS

ADAPTIVE, PESSIMISTIC = 1, 2  # places in the choices of `Behaviour.expectation`
TREND_LIMIT, EXPONENT_LIMIT = limits.TREND_LIMIT, limits.EXPONENT_LIMIT
GROWTH_LIMIT = limits.LOG_GROWTH_LIMIT
LN2 = math.log(2)

jit = numba.njit(nogil=True, error_model="numpy", inline="never")


@jit
def clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


@jit
def logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(clip(-value, EXPONENT_LIMIT)))


@jit
def annuity(discount_year: float, months: float) -> float:
    rate = discount_year / 12.0
    return -math.expm1(-months * math.log1p(rate)) / rate if rate != 0.0 else months


@jit
def philox(step: int, run: int, channel: int, k: Any, m: Any) -> Any:
    a, b, c, d = np.uint64(step), np.uint64(run), np.uint64(channel), np.uint64(0)
    for _ in range(ROUNDS):
        first, second = PHILOX_A * a, PHILOX_B * c
        a, b, c, d = (second >> U32) ^ b ^ k, second & M32, (first >> U32) ^ d ^ m, first & M32
        k, m = (k + WEYL_A) & M32, (m + WEYL_B) & M32
    return a, b, c, d


@jit
def fraction(high: Any, low: Any) -> float:
    return (float(np.int64(high >> U5)) * 67_108_864.0 + float(np.int64(low >> U6)) + 0.5) / 9_007_199_254_740_992.0


@jit
def uniform(step: int, run: int, channel: int, k: Any, m: Any) -> float:
    a, b, _, _ = philox(step, run, channel, k, m)
    return fraction(a, b)


@jit
def normal(step: int, run: int, channel: int, k: Any, m: Any) -> float:
    a, b, c, d = philox(step, run, channel, k, m)
    return math.sqrt(-2.0 * math.log(fraction(a, b))) * math.cos(2.0 * math.pi * fraction(c, d))


@jit
def elastic_answer(segment: Any, unit_usd: float) -> float:
    return math.exp(clip(-segment.elasticity * math.log(unit_usd / segment.price_ref_usd), EXPONENT_LIMIT))


@jit
def logit_answer(segment: Any, unit_usd: float, quality: float, alternative_factor: float) -> float:
    alternative = max(segment.price_alt_usd * alternative_factor, 1e-12)
    behind = (unit_usd - alternative) / alternative - segment.quality_sensitivity * (quality - segment.quality_alt)
    return 1.0 / (1.0 + math.exp(clip(segment.price_sensitivity * behind, EXPONENT_LIMIT)))


@jit
def baseline_paid(p: Any, growth: float, realised: float) -> Any:
    effective = math.log1p(growth * realised / p.emission_baseline_units_month) / growth
    return p.emission_baseline_pool_tokens * -math.expm1(-effective * LN2 / p.emission_baseline_half_life_months)


@jit
def expectation(p: Any, trend: float) -> float:
    kind = int(p.behaviour_expectation)
    if kind == ADAPTIVE:
        return math.exp(clip(trend * p.behaviour_horizon_months / 2.0, TREND_LIMIT))
    return 1.0 - p.behaviour_haircut if kind == PESSIMISTIC else 1.0


@jit
def growth_of(before: float, after: float) -> float:
    if before <= 0.0 or after <= 0.0:
        return -GROWTH_LIMIT if after < before else 0.0
    return clip(math.log(after / before), GROWTH_LIMIT)
