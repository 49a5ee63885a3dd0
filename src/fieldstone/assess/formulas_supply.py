"""Measures of supply: devices and what their owners earn, who controls the network, how the token holds."""

from __future__ import annotations

from fieldstone.assess.ways import (
    Measure,
    Way,
    inflation,
    part_of,
    payback,
)
from fieldstone.metrics import (
    hhi,
    nakamoto,
    utilisation,
)

SUPPLY: tuple[Measure, ...] = (
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
