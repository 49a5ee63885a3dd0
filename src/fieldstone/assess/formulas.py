"""Every number that can be worked out from claims: its ways, in words and as functions.

A measure may have several ways; a claim of that very name is the first. The functions are those that the console and the
simulator call (`fieldstone.metrics`): one definition, everywhere. A way returns None when its inputs do not determine it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fieldstone.assess.amounts import DAYS_PER_YEAR
from fieldstone.assess.catalogue import metrics
from fieldstone.assess.ways import (
    Measure,
    Way,
    advantage,
    attack_profit,
    inflation,
    part_of,
    payback,
    product,
    rank_correlation,
    subsidy_from_coverage,
    total_of,
    verified_share,
)
from fieldstone.metrics import (
    demand_backed_share,
    hhi,
    issuance_coverage,
    nakamoto,
    service_share,
    subsidy_ratio,
    top_share,
    utilisation,
)

_NOT_TRACED = "that the payers are at arm's length is not shown"

MEASURES: tuple[Measure, ...] = (
    Measure(
        "emission.all",
        "Tokens minted, all kinds",
        "",
        (
            Way(
                "schedule + supplements + re-issues + unlocks",
                ("emission.schedule?", "emission.supplement?", "emission.reissue?", "emission.unlocks?"),
                total_of,
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
            Way("all mints · price", ("emission.all", "token.price"), product),
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
            Way("units served · price", ("units.served", "price.network"), product, caveat=_NOT_TRACED),
            Way("fees · service share", ("revenue.fees", "service_share"), product, caveat=_NOT_TRACED),
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
            Way("all mints · price / units served", ("emission.value", "units.served"), part_of),
            Way("all mints · price / bytes stored", ("emission.value", "units.stored"), part_of),
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
                advantage,
            ),
            Way(
                "1 − price / alternative's price",
                ("price.network", "price.alternative"),
                advantage,
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
        (Way("1 − price / alternative's price", ("price.network", "price.alternative"), advantage),),
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
                verified_share,
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
                attack_profit,
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
            Way("1 / (1 + R/(E·P))", ("burn.issuance_coverage",), subsidy_from_coverage, caveat="if burns are revenue"),
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
            Way(
                "Spearman's ρ over devices",
                ("link.device_rewards", "link.device_revenue"),
                rank_correlation,
                lists=True,
            ),
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
            Way("fleet's cost / active devices", ("hardware.fleet_capex", "devices.active"), part_of),
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
                part_of,
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
                part_of,
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
                payback,
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
                payback,
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
        (Way("running costs / reward", ("hardware.opex", "reward_per_device"), part_of),),
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
                inflation,
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
        (Way("unlocks / daily volume", ("token.unlock_90d", "token.daily_volume"), part_of),),
        "lower",
        40.0,
    ),
    Measure(
        "runway_over_lead",
        "Runway over hardware lead time",
        "",
        (Way("runway / lead time", ("token.runway", "hardware.lead_time"), part_of),),
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
        (Way("discretionary / all burns", ("revenue.discretionary", "revenue.fees"), part_of),),
        "lower",
    ),
    Measure(
        "gmv_over_net",
        "Gross value over what the network keeps",
        "",
        (Way("gross / net", ("revenue.gmv", "revenue.net"), part_of),),
        "lower",
        10.0,
    ),
    Measure(
        "registered_over_active",
        "Registered over active devices",
        "",
        (Way("registered / active", ("devices.registered", "devices.active"), part_of),),
        "lower",
        20.0,
    ),
    Measure(
        "payers_over_owners",
        "Counted payers over payers after merging wallets",
        "",
        (Way("counted / merged", ("payers.count", "payers.clustered"), part_of),),
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
