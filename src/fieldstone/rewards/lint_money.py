"""What goes wrong with money even if nobody splits or colludes: mints without end, credits nobody can pay, old prices.

`lint_mint(rule)`: a mint as a black box `rule(epoch, burned_base, revenue_micro_usd, price_micro_usd) → base units`.
    unbounded-mint   it never falls off without demand; or each burned token brings back one or more (a circular mint)
    above-demand     a further dollar of revenue mints a dollar's worth or more: buying one's own service pays
`lint_credits(system)`: prepaid credits that a vault of tokens stands for.
    insolvent-credit at half the price the vault and the budget are worth less than the credits, and no breaker stops it
    oracle-lag       credits bought at a price that is late: the market falls by more than the spread and the take in the
                     time the price is old (99th percentile), and the credits are still worth a dollar
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fieldstone.errors import UsageError
from fieldstone.rewards.lint_claims import Finding, ratio_ppm
from fieldstone.units import PPM, TOKEN_BASE

YEAR_S = 31_557_600
Z_99 = 2.326
VOLATILITY_YEAR = 1.0  # of a token: 100 %, as in `fieldstone payback`

MintRule = Callable[[int, int, int, int], int]
"""(epoch, burned base units, revenue in 10⁻⁶ $, token price in 10⁻⁶ $) → base units minted in that epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSystem:
    """Credits of a dollar each, made by burning or locking tokens. `halt_ppm`: no new credits below this cover; 0: none.

    Raises UsageError for negative or not finite numbers.
    """

    vault_tokens: float
    outstanding_usd: float
    price_usd: float
    budget_usd: float = 0.0
    spread_ppm: int = 0
    take_ppm: int = 0
    price_age_s: int = 0
    halt_ppm: int = 0
    volatility_year: float = VOLATILITY_YEAR

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise UsageError(f"{name} of a credit system must be finite and not negative, not {value}")


def lint_mint(rule: MintRule, *, price_micro_usd: int = 1_000_000) -> list[Finding]:
    """Return the weaknesses of a mint, errors first."""
    found = []
    early, late = rule(1_000, 0, 0, price_micro_usd), rule(100_000, 0, 0, price_micro_usd)
    if late > early * 101 // 100:
        found.append(
            Finding("unbounded-mint", "error", "without any demand it mints more and more", ratio_ppm(late, early))
        )
    elif late * 2 > early > 0:
        message = "without any demand it mints for ever at nearly the same pace: no finite cap"
        found.append(Finding("unbounded-mint", "warning", message, ratio_ppm(late, early)))
    found += _worst(rule, price_micro_usd, "burned")
    found += _worst(rule, price_micro_usd, "revenue")
    return sorted(found, key=lambda finding: (finding.severity, finding.check))


def _worst(rule: MintRule, price_micro_usd: int, what: str) -> list[Finding]:
    """Return the steepest answer of a mint to a further burned token, or a further dollar, if it is 1 or more."""
    worst: Finding | None = None
    for epoch in (1, 100, 10_000):
        for power in range(0, 13, 2):
            for step_power in range(2, 13, 2):
                base, step = 10**power - 1, 10**step_power
                unit = TOKEN_BASE // 10**6 if what == "burned" else 1
                before, more = (base * unit, (base + step) * unit)
                given = [(amount, 0) if what == "burned" else (0, amount) for amount in (before, more)]
                low, high = (rule(epoch, burned, revenue, price_micro_usd) for burned, revenue in given)
                worth = high - low if what == "burned" else (high - low) * price_micro_usd // TOKEN_BASE
                gain = ratio_ppm(worth, more - before)
                if gain < PPM or (worst and gain <= worst.gain_ppm):
                    continue
                example = {"epoch": epoch, "from": before, "to": more, "minted": [low, high]}
                if what == "burned":
                    message = f"each burned token mints {gain / PPM:.2f} tokens: a circular mint"
                    worst = Finding("unbounded-mint", "error", message, gain, example)
                else:
                    message = f"a dollar of revenue mints {gain / PPM:.2f} $: rewards above demand"
                    worst = Finding("above-demand", "error", message, gain, example)
    return [worst] if worst else []


def lint_credits(system: CreditSystem) -> list[Finding]:
    """Return the weaknesses of a system of credits, errors first."""
    found = []
    cover = system.vault_tokens * system.price_usd / 2 + system.budget_usd
    if cover < system.outstanding_usd:
        share = int(cover / system.outstanding_usd * PPM)
        stops = (
            f"the breaker at {system.halt_ppm / PPM:.2f} stops new credits, not the loss"
            if system.halt_ppm
            else "no breaker"
        )
        message = f"at half the token price {share / PPM:.0%} of the credits are covered; {stops}"
        found.append(Finding("insolvent-credit", "warning" if system.halt_ppm else "error", message, share))
    fall = _fall(system.price_age_s, system.volatility_year)
    # a dollar of credits costs (1 − fall)(1 + spread) and pays 1 − take to whoever buys from himself
    cost = (1 - fall) * (1 + system.spread_ppm / PPM)
    back = 1 - system.take_ppm / PPM
    if back > cost:
        gain = int(back / cost * PPM)
        message = (
            f"a price that is {system.price_age_s:,} s old can be {fall:.1%} above the market: credits bought then return "
            f"{gain / PPM:.3f} $ per dollar; spread and take together must exceed the fall"
        )
        found.append(Finding("oracle-lag", "error", message, gain, {"fall_ppm": int(fall * PPM)}))
    return sorted(found, key=lambda finding: (finding.severity, finding.check))


def safe_price_age_s(take_ppm: int, spread_ppm: int = 0, volatility_year: float = VOLATILITY_YEAR) -> int:
    """Return the age of a price, in seconds, up to which its 99th-percentile fall stays within take and spread."""
    room = math.log((1 + spread_ppm / PPM) / (1 - take_ppm / PPM))
    return int((room / (Z_99 * volatility_year)) ** 2 * YEAR_S)


def _fall(age_s: int, volatility_year: float) -> float:
    return -math.expm1(-Z_99 * volatility_year * math.sqrt(age_s / YEAR_S))
