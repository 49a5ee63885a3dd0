"""What a way to a number is, and the small functions that no part of the house but the assessment needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fieldstone.assess.amounts import DAYS_PER_YEAR
from fieldstone.metrics import net_inflation_year, payback_months, spearman, subsidy_ratio, utilisation
from fieldstone.metrics.statistics import LEAST_UNITS

Bound = Literal["", "at least", "at most"]
MONTHS_PER_DAY = 12 / DAYS_PER_YEAR


@dataclass(frozen=True, slots=True)
class Way:
    """One way to a number. `inputs` name claims or measures; a trailing "?" is optional and arrives as None.

    `bound`: what the result is when an optional input is missing, in this way's words `caveat`. `lists`: inputs are lists.
    """

    text: str
    inputs: tuple[str, ...]
    compute: Callable[..., float | None]
    bound: Bound = ""
    caveat: str = ""
    lists: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of the scorecard. `unit` as charts show it."""

    name: str
    title: str
    unit: str
    ways: tuple[Way, ...]
    better: Literal["higher", "lower"]
    high: float = 1.0


def total_of(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known else None


def product(*parts: float) -> float:
    return math.prod(parts)


def part_of(top: float, bottom: float) -> float | None:
    return utilisation(top, bottom)


def rank_correlation(rewards: tuple[float, ...], revenue: tuple[float, ...]) -> float | None:
    if len(rewards) != len(revenue) or len(rewards) < LEAST_UNITS:
        return None
    return spearman(rewards, revenue)


def advantage(price: float, alternative: float, subsidy: float = 0.0) -> float | None:
    """Return 1 − (price + subsidy per unit) / price of the alternative."""
    return 1 - (price + subsidy) / alternative if alternative > 0 else None


def verified_share(*shares: float | None) -> float | None:
    """Return the proven shares, with statistical checks at their measured detection rate (not at all without one)."""
    crypto, witness, tee, statistical, detection = shares
    checked = statistical * detection if statistical is not None and detection is not None else None
    return total_of(crypto, witness, tee, checked)


def attack_profit(gain: float, detection: float, slash: float, cost: float) -> float:
    """Return gain − P(detected) · slash − cost, in dollars."""
    return gain - detection * slash - cost


def payback(capex: float, income_day: float, opex_day: float | None = None, delay: float | None = None) -> float:
    """Return months from paying to having earned it back; incomes and costs per day."""
    return payback_months(capex, (income_day - (opex_day or 0.0)) / MONTHS_PER_DAY, delay_months=delay or 0.0)


def inflation(minted_day: float, supply: float, burned_day: float | None = None) -> float | None:
    """Return (1 + (E − b)/S)^12 − 1 with monthly amounts."""
    month = DAYS_PER_YEAR / 12
    return net_inflation_year(minted_day * month, (burned_day or 0.0) * month, supply)


def subsidy_from_coverage(coverage: float) -> float | None:
    """Return E·P/(E·P + R) from R/(E·P)."""
    return subsidy_ratio(1.0, coverage)
