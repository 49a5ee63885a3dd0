"""HIP-149, decision 1: Mobile deployers' dollar earnings held between 0.5 and 3 times what carriers paid.

Formulas (bones; `//` floors; share is the Mobile share scaled by 2³² − 1; df = 10^(8 − expo − 5)):
    re_emit      = min(s, cap);   base = schedule + re_emit
    target       = (dc // 2) · df // p_floor         p_floor = EMA − 2 · confidence: a floor is never underpaid
    deployer_cap = 3 · dc · df // p_cap              p_cap = EMA: the ceiling binds at the point price
    baseline     = (base · share // (2³² − 1)) · 70 // 100
    demand       = max(0, target − baseline) · (2³² − 1) · 100 // (share · 70), 0 when it does not fit 64 bits
    top_up       = min(demand, max(0, s − cap));   total = base + top_up
    overflow     = min(escrow, max(0, rewards · 70 // 100 − deployer_cap)), 0 without a deployer_cap
Reason: one budget, what was burned lately, pays for both re-emission and top-up, so neither can grow the supply.
A bad or stale price makes top-up and cap dormant and still pays the base; a *missing* price is an error, or whoever
calls could suppress the floor.
Invariant: `re_emission_and_top_up_never_exceed_the_smoothed_burn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer
from fieldstone.economy.policies.helium import RE_EMIT_CAP_BONES
from fieldstone.economy.policies.helium_data import dc_to_bones

SHARE_ONE = 2**32 - 1
POOL_PERCENT = 70
CAP_MULTIPLE = 3
MOST_U64 = 2**64 - 1
PRICE_MAX_AGE_S = 3_600


def _backstop(
    schedule_bones: int,
    smoothed_bones: int,
    share: int,
    dc: int,
    price: int,
    confidence: int,
    expo: int,
    price_age_s: int,
    cap_bones: int,
    rewards_bones: int | None,
    escrow_bones: int | None,
) -> Mapping[str, Any]:
    re_emit = min(smoothed_bones, cap_bones)
    base = schedule_bones + re_emit
    floor_price = price - 2 * confidence
    is_dormant = floor_price <= 0 or price_age_s > PRICE_MAX_AGE_S
    top_up = deployer_cap = 0
    if not is_dormant:
        deployer_cap = dc_to_bones(CAP_MULTIPLE * dc, price, expo)
        if share:
            target = dc_to_bones(dc // 2, floor_price, expo)
            baseline = (base * share // SHARE_ONE) * POOL_PERCENT // 100
            demand = max(0, target - baseline) * SHARE_ONE * 100 // (share * POOL_PERCENT)
            top_up = min(demand if demand <= MOST_U64 else 0, max(0, smoothed_bones - cap_bones))
    total = base + top_up
    rewards = total * share // SHARE_ONE if rewards_bones is None else rewards_bones
    escrow = rewards if escrow_bones is None else escrow_bones
    overflow = min(escrow, max(0, rewards * POOL_PERCENT // 100 - deployer_cap)) if deployer_cap else 0
    return {
        "re_emit_bones": re_emit,
        "top_up_bones": top_up,
        "total_bones": total,
        "deployer_cap_bones": deployer_cap,
        "overflow_bones": overflow,
        "is_dormant": is_dormant,
    }


POLICIES = (
    MonetaryPolicy(
        name="helium.backstop",
        summary="A day's HNT emission with the deployers' floor and cap of HIP-149.",
        function=_backstop,
        keys=(
            integer("schedule_bones", "bones per day", "the HIP-20 schedule of the day"),
            integer("smoothed_bones", "bones per day", "smoothed burn (helium.net_emissions)"),
            integer("share", "of 2³² − 1", "Mobile's share of the emission", maximum=SHARE_ONE),
            integer("dc", "data credits", "burned for Mobile data that day"),
            integer(
                "price",
                "10^expo USD per HNT",
                "moving average of the oracle's price; 0 or less: no price",
                minimum=None,
            ),
            integer("confidence", "10^expo USD per HNT", "moving average of its confidence interval", 0),
            integer("expo", "", "exponent of the price", -8, minimum=-18, maximum=3),
            integer("price_age_s", "s", "age of the price; above 3,600 it counts as stale", 0),
            integer("cap_bones", "bones per day", "most that is emitted again", RE_EMIT_CAP_BONES),
            integer("rewards_bones", "bones", "Mobile's part of the emission; worked out from share when absent", ""),
            integer("escrow_bones", "bones", "what is in the rewards escrow; all of rewards_bones when absent", ""),
        ),
        outputs=(
            Output("re_emit_bones", "bones", "emitted again"),
            Output("top_up_bones", "bones", "added for the floor"),
            Output("total_bones", "bones", "emission of the day"),
            Output("deployer_cap_bones", "bones", "most that deployers get; 0: no cap"),
            Output("overflow_bones", "bones", "moved from deployers to stakers"),
            Output("is_dormant", "true/false", "whether the price was unusable"),
        ),
        rounding="floor at every step; the order of the steps matters",
        exact=True,
        example={
            "schedule_bones": "2054794520548",
            "smoothed_bones": "3000000000000",
            "share": "3822520892",
            "dc": "910000000",
            "price": "27000000",
            "confidence": "100000",
        },
        source=Source("HIP 149: Helium Utility and Emissions Realignment", "decision 1; helium-sub-daos, backstop.rs"),
        notes="the top-up is split like every other emission; Mobile data gets share · 70 % of it",
    ),
)
