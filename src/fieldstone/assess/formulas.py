"""Every number that can be worked out from claims: its ways, in words and as functions.

A measure may have several ways; a claim of that very name is the first. The functions are those that the console and the
simulator call (`fieldstone.metrics`): one definition, everywhere. A way returns None when its inputs do not determine it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fieldstone.assess.amounts import DAYS_PER_YEAR
from fieldstone.assess.catalogue import metrics
from fieldstone.metrics import (
    demand_backed_share,
    hhi,
    issuance_coverage,
    nakamoto,
    net_inflation_year,
    payback_months,
    service_share,
    spearman,
    subsidy_ratio,
    top_share,
    utilisation,
)
from fieldstone.metrics.statistics import LEAST_UNITS

Bound = Literal["", "at least", "at most"]
_NOT_TRACED = "that the payers are at arm's length is not shown"
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


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known else None


def _product(*parts: float) -> float:
    return math.prod(parts)


def _ratio(top: float, bottom: float) -> float | None:
    return utilisation(top, bottom)


def _spearman(rewards: tuple[float, ...], revenue: tuple[float, ...]) -> float | None:
    if len(rewards) != len(revenue) or len(rewards) < LEAST_UNITS:
        return None
    return spearman(rewards, revenue)


def _advantage(price: float, alternative: float, subsidy: float = 0.0) -> float | None:
    """Return 1 − (price + subsidy per unit) / price of the alternative."""
    return 1 - (price + subsidy) / alternative if alternative > 0 else None


def _verified(*shares: float | None) -> float | None:
    """Return the proven shares, with statistical checks at their measured detection rate (not at all without one)."""
    crypto, witness, tee, statistical, detection = shares
    checked = statistical * detection if statistical is not None and detection is not None else None
    return _sum(crypto, witness, tee, checked)


def _attack(gain: float, detection: float, slash: float, cost: float) -> float:
    """Return gain − P(detected) · slash − cost, in dollars."""
    return gain - detection * slash - cost


def _payback(capex: float, income_day: float, opex_day: float | None = None, delay: float | None = None) -> float:
    """Return months from paying to having earned it back; incomes and costs per day."""
    return payback_months(capex, (income_day - (opex_day or 0.0)) / MONTHS_PER_DAY, delay_months=delay or 0.0)


def _inflation(minted_day: float, supply: float, burned_day: float | None = None) -> float | None:
    """Return (1 + (E − b)/S)^12 − 1 with monthly amounts."""
    month = DAYS_PER_YEAR / 12
    return net_inflation_year(minted_day * month, (burned_day or 0.0) * month, supply)


def _from_coverage(coverage: float) -> float | None:
    """Return E·P/(E·P + R) from R/(E·P)."""
    return subsidy_ratio(1.0, coverage)


MEASURES: tuple[Measure, ...] = (
    Measure(
        "emission.all",
        "Tokens minted, all kinds",
        "",
        (
            Way(
                "schedule + supplements + re-issues + unlocks",
                ("emission.schedule?", "emission.supplement?", "emission.reissue?", "emission.unlocks?"),
                _sum,
                caveat="only the mints that are claimed are counted",
            ),
            Way(
                "inflation · supply / year", ("token.net_inflation", "token.supply"), lambda i, s: i * s / DAYS_PER_YEAR
            ),
        ),
        "lower",
    ),
    Measure(
        "emission.value",
        "Worth of all mints per day",
        "$/day",
        (
            Way("all mints · price", ("emission.all", "token.price"), _product),
            Way("as stated", ("emission.usd",), lambda e: e),
            Way(
                "net inflation · market capitalisation / year",
                ("token.net_inflation", "token.market_cap"),
                lambda i, m: i * m / DAYS_PER_YEAR,
                bound="at least",
                caveat="net of burns, circulating capitalisation",
            ),
        ),
        "lower",
    ),
    Measure(
        "revenue.arms_length",
        "Arm's-length revenue per day",
        "$/day",
        (
            Way("arm's-length revenue", ("revenue.external",), lambda r: r),
            Way("fees customers paid for service", ("revenue.service",), lambda r: r, caveat=_NOT_TRACED),
            Way("units served · price", ("units.served", "price.network"), _product, caveat=_NOT_TRACED),
            Way("fees · service share", ("revenue.fees", "service_share"), _product, caveat=_NOT_TRACED),
            Way(
                "stated revenue",
                ("revenue.total",),
                lambda r: r,
                bound="at most",
                caveat="what of it is arm's-length is not known",
            ),
            Way(
                "stated run-rate",
                ("revenue.run_rate",),
                lambda r: r,
                bound="at most",
                caveat="one month annualised; what of it is arm's-length is not known",
            ),
        ),
        "higher",
    ),
    Measure(
        "external_share",
        "Arm's-length part of revenue",
        "%",
        (
            Way("as claimed", ("payers.external_share",), lambda s: s),
            Way("arm's-length revenue / total revenue", ("revenue.external", "revenue.total"), service_share),
        ),
        "higher",
    ),
    Measure(
        "payers_hhi",
        "HHI of payers",
        "",
        (
            Way("Σ (100·share)² of payers", ("payers.revenue",), hhi, lists=True),
            Way("as claimed", ("payers.hhi",), lambda h: h),
        ),
        "lower",
        10_000.0,
    ),
    Measure(
        "payers_top1",
        "Share of the largest payer",
        "%",
        (
            Way("largest / all", ("payers.revenue",), lambda x: top_share(x, 1), lists=True),
            Way("as claimed", ("payers.top1_share",), lambda s: s),
        ),
        "lower",
    ),
    Measure(
        "service_share",
        "Part of fees or burns paid for service",
        "%",
        (
            Way("as claimed", ("revenue.service_share",), lambda s: s),
            Way("service fees / all fees or burns", ("revenue.service", "revenue.fees"), service_share),
            Way("1 − penalties' share", ("revenue.penalty_share",), lambda p: 1 - p),
            Way(
                "1 − discretionary / all",
                ("revenue.discretionary", "revenue.fees"),
                lambda d, f: 1 - d / f if f > 0 else None,
                bound="at most",
            ),
        ),
        "higher",
    ),
    Measure(
        "subsidy_per_unit",
        "Worth of mints per unit sold",
        "$",
        (
            Way("all mints · price / units served", ("emission.value", "units.served"), _ratio),
            Way("all mints · price / bytes stored", ("emission.value", "units.stored"), _ratio),
        ),
        "lower",
    ),
    Measure(
        "advantage",
        "Price advantage at unsubsidised cost",
        "%",
        (
            Way(
                "1 − (price + mints per unit) / alternative's price",
                ("price.network", "price.alternative", "subsidy_per_unit"),
                _advantage,
            ),
            Way(
                "1 − price / alternative's price",
                ("price.network", "price.alternative"),
                _advantage,
                bound="at most",
                caveat="before subsidy: mints per unit sold are not known",
            ),
        ),
        "higher",
    ),
    Measure(
        "advantage_subsidised",
        "Price advantage as the customer sees it",
        "%",
        (Way("1 − price / alternative's price", ("price.network", "price.alternative"), _advantage),),
        "higher",
    ),
    Measure(
        "verified_share",
        "Part of rewards paid for verified work",
        "%",
        (
            Way("as claimed", ("verification.verified_share",), lambda s: s),
            Way(
                "cryptographic + witnesses + TEE + statistical · detection rate",
                (
                    "verification.cryptographic?",
                    "verification.multi_witness?",
                    "verification.tee?",
                    "verification.statistical?",
                    "verification.detection_rate?",
                ),
                _verified,
            ),
            Way("1 − self-reported", ("verification.self_report",), lambda s: 1 - s, bound="at most"),
        ),
        "higher",
    ),
    Measure(
        "attack_profit",
        "Net profit of the cheapest known attack",
        "$",
        (
            Way("as claimed", ("attack.net_profit",), lambda p: p),
            Way(
                "gain − P(detected) · slash − cost",
                ("attack.gain", "attack.detection", "attack.slash", "attack.cost"),
                _attack,
            ),
        ),
        "lower",
    ),
    Measure(
        "self_dealing_gain",
        "Reward per dollar of own demand, above what the dollar returns",
        "",
        (
            Way(
                "reward per $ − (1 − take)",
                ("attack.reward_per_dollar", "policy.take?"),
                lambda reward, take: round(reward - (1 - (take or 0.0)), 9) + 0.0,
            ),
        ),
        "lower",
    ),
    Measure(
        "subsidy_ratio",
        "Subsidy ratio",
        "%",
        (
            Way("E·P / (E·P + R), all mints", ("emission.value", "revenue.arms_length"), subsidy_ratio),
            Way("1 / (1 + R/(E·P))", ("burn.issuance_coverage",), _from_coverage, caveat="if burns are revenue"),
        ),
        "lower",
    ),
    Measure(
        "issuance_coverage",
        "Revenue over worth of mints",
        "%",
        (
            Way("R / (E·P), all mints", ("emission.value", "revenue.arms_length"), issuance_coverage),
            Way("as claimed", ("burn.issuance_coverage",), lambda c: c),
        ),
        "higher",
    ),
    Measure(
        "demand_backed_share",
        "Part of rewards that customers' money could pay",
        "%",
        (
            Way("min(E·P, R) / (E·P)", ("emission.value", "revenue.arms_length"), demand_backed_share),
            Way("as claimed", ("burn.issuance_coverage",), lambda c: min(c, 1.0)),
        ),
        "higher",
    ),
    Measure(
        "rank_correlation",
        "Rank correlation of reward and revenue",
        "",
        (
            Way("Spearman's ρ over devices", ("link.device_rewards", "link.device_revenue"), _spearman, lists=True),
            Way("as claimed", ("link.rank_correlation",), lambda r: r),
        ),
        "higher",
    ),
    Measure(
        "capex_per_device",
        "Price of one device",
        "$",
        (
            Way("as claimed", ("hardware.capex",), lambda c: c),
            Way("fleet's cost / active devices", ("hardware.fleet_capex", "devices.active"), _ratio),
        ),
        "lower",
    ),
    Measure(
        "reward_per_device",
        "Reward of a device per day",
        "$/day",
        (
            Way("as claimed", ("reward.per_device",), lambda r: r),
            Way(
                "all mints · price / active devices",
                ("emission.value", "devices.active"),
                _ratio,
                caveat="a mean, which a few large earners flatter",
            ),
            Way(
                "stated revenue / coverage / active devices",
                ("revenue.run_rate", "burn.issuance_coverage", "devices.active"),
                lambda r, c, n: r / c / n if c > 0 and n > 0 else None,
                caveat="a mean, which a few large earners flatter",
            ),
        ),
        "higher",
    ),
    Measure(
        "revenue_per_device",
        "Customers' money per device and day",
        "$/day",
        (
            Way("as claimed", ("revenue.per_device",), lambda r: r),
            Way(
                "revenue / active devices",
                ("revenue.arms_length", "devices.active"),
                _ratio,
                bound="at most",
                caveat="before the network's part",
            ),
        ),
        "higher",
    ),
    Measure(
        "payback_p50",
        "Payback of the median device",
        "months",
        (
            Way("as claimed", ("payback.p50",), lambda m: m),
            Way(
                "delay + price / (reward − running costs)",
                ("capex_per_device", "reward_per_device", "hardware.opex?", "hardware.lead_time?"),
                _payback,
                bound="at least",
                caveat="running costs or delivery time not known",
            ),
        ),
        "lower",
        48.0,
    ),
    Measure(
        "payback_utility",
        "Payback from customers' money alone",
        "months",
        (
            Way("as claimed", ("payback.utility",), lambda m: m),
            Way(
                "delay + price / (revenue per device − running costs)",
                ("capex_per_device", "revenue_per_device", "hardware.opex?", "hardware.lead_time?"),
                _payback,
                bound="at least",
                caveat="running costs or delivery time not known",
            ),
        ),
        "lower",
        72.0,
    ),
    Measure(
        "opex_over_reward",
        "Running costs over reward",
        "%",
        (Way("running costs / reward", ("hardware.opex", "reward_per_device"), _ratio),),
        "lower",
        2.0,
    ),
    Measure(
        "utilisation",
        "Utilisation",
        "%",
        (
            Way("served / capacity proven online", ("supply.served", "supply.capacity"), utilisation),
            Way("as claimed", ("supply.utilisation",), lambda u: u),
        ),
        "higher",
    ),
    Measure(
        "makers_hhi",
        "HHI of makers",
        "",
        (
            Way("Σ (100·share)² of makers", ("makers.devices",), hhi, lists=True),
            Way("as claimed", ("makers.hhi",), lambda h: h),
        ),
        "lower",
        10_000.0,
    ),
    Measure(
        "control_nakamoto",
        "Parties who must agree",
        "",
        (
            Way("fewest with more than half the weight", ("control.weights",), nakamoto, lists=True),
            Way("as claimed", ("control.nakamoto",), lambda n: n),
        ),
        "higher",
        10.0,
    ),
    Measure(
        "net_inflation",
        "Net growth of the supply in a year",
        "%",
        (
            Way(
                "(1 + (E − b)/S)^12 − 1, monthly",
                ("emission.all", "token.supply", "burn.tokens?"),
                _inflation,
                bound="at most",
                caveat="burns are not known",
            ),
            Way("as claimed", ("token.net_inflation",), lambda i: i),
        ),
        "lower",
        0.5,
    ),
    Measure(
        "unlock_days",
        "Days of trading that the next 90 days' unlocks are worth",
        "days",
        (Way("unlocks / daily volume", ("token.unlock_90d", "token.daily_volume"), _ratio),),
        "lower",
        40.0,
    ),
    Measure(
        "runway_over_lead",
        "Runway over hardware lead time",
        "",
        (Way("runway / lead time", ("token.runway", "hardware.lead_time"), _ratio),),
        "higher",
        4.0,
    ),
    Measure(
        "collateral_at_half_price",
        "Cover of credits at half the token's price",
        "%",
        (Way("collateral ratio / 2", ("token.collateral_ratio",), lambda c: c / 2),),
        "higher",
        2.0,
    ),
    Measure(
        "discretionary_share",
        "Part of burns that no use caused",
        "%",
        (Way("discretionary / all burns", ("revenue.discretionary", "revenue.fees"), _ratio),),
        "lower",
    ),
    Measure(
        "gmv_over_net",
        "Gross value over what the network keeps",
        "",
        (Way("gross / net", ("revenue.gmv", "revenue.net"), _ratio),),
        "lower",
        10.0,
    ),
    Measure(
        "registered_over_active",
        "Registered over active devices",
        "",
        (Way("registered / active", ("devices.registered", "devices.active"), _ratio),),
        "lower",
        20.0,
    ),
    Measure(
        "payers_over_owners",
        "Counted payers over payers after merging wallets",
        "",
        (Way("counted / merged", ("payers.count", "payers.clustered"), _ratio),),
        "lower",
        10.0,
    ),
)

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


def known_names() -> frozenset[str]:
    """Return the names that a question or flag may refer to."""
    return frozenset(BY_NAME) | frozenset(metrics())


def display(name: str) -> Measure:
    """Return how a measure, or a metric that is used directly, is shown."""
    if name in BY_NAME:
        return BY_NAME[name]
    metric = metrics()[name]
    units: dict[str, Any] = {"share": "%", "months": "months", "money": "$", "money_rate": "$/day"}
    better: Literal["higher", "lower"] = "lower" if metric.better == "lower" else "higher"
    return Measure(name, metric.title, units.get(metric.kind, ""), (), better)
