"""Measures of money: what is minted, what customers pay, what cheating earns."""

from __future__ import annotations

from fieldstone.assess.amounts import DAYS_PER_YEAR
from fieldstone.assess.ways import (
    Measure,
    Way,
    advantage,
    attack_profit,
    part_of,
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
    service_share,
    subsidy_ratio,
    top_share,
)

_NOT_TRACED = "that the payers are at arm's length is not shown"

MONEY: tuple[Measure, ...] = (
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
)
