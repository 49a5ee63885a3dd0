"""Helium's mints and fees beside the schedule: one that ran (HIP-138), and rules that were proposed.

Formulas:
    HIP-138   12,236.28691983 HNT a day for 237 days until 2025-08-01, to the MOBILE treasury, outside HIP-20's schedule
    HIP-150   target = 0.5 · carriers' rate · GB / price;  α = Mobile share · 0.84;
              backstop = min(smoothed burn, max(0, target − (schedule + re-emission) · α) / α)
              capitalisation: 50,000 HNT a day, 12,000 more each month, at most 196,000, and 141 M in all
    HIP-146   data credits of a seat and day = max(minimum of the seat, uplinks), times a multiplier when roaming
    HIP-86    2 data credits per packet
Reason to keep what was never live: a founder compares rules, and these are worked-out answers to real complaints.
Invariants: `supplement_of_hip138_is_2_9_million`, `hip150_backstop_never_exceeds_the_smoothed_burn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer, number

BONES = 10**8
HIP138_BONES_PER_DAY, HIP138_DAYS = 1_223_628_691_983, 237
HIP150_DATA_SHARE, HIP150_FLOOR = Fraction("0.84"), Fraction("0.5")
HIP150_START_HNT, HIP150_STEP_HNT, HIP150_MOST_HNT, HIP150_CEILING_HNT = 50_000, 12_000, 196_000, 141_000_000
HIP150_MONTHS, DAYS_PER_MONTH = 36, 30
HIP86_DC = 2


def _hip138(day: int) -> Mapping[str, Any]:
    bones = HIP138_BONES_PER_DAY if day <= HIP138_DAYS else 0
    return {
        "bones": bones,
        "hnt": bones / BONES,
        "minted_before_bones": HIP138_BONES_PER_DAY * min(day - 1, HIP138_DAYS),
    }


def _hip150_backstop(
    gb: Fraction, usd_per_gb: Fraction, hnt_price: Fraction, share: Fraction, schedule_hnt: Fraction, re_emit_hnt: Fraction,
    smoothed_hnt: Fraction,
) -> Mapping[str, Any]:  # fmt: skip
    alpha = share * HIP150_DATA_SHARE
    baseline = (schedule_hnt + re_emit_hnt) * alpha
    target = HIP150_FLOOR * usd_per_gb * gb / hnt_price
    wanted = max(Fraction(0), target - baseline) / alpha if alpha else Fraction(0)
    backstop = min(smoothed_hnt, wanted)
    return {
        "backstop_hnt": float(backstop),
        "target_hnt": float(target),
        "baseline_hnt": float(baseline),
        "is_capped": wanted > smoothed_hnt,
        "usd_per_gb": float((baseline + backstop * alpha) * hnt_price / gb) if gb else None,
    }


def _hip150_ramp(month: int) -> Mapping[str, Any]:
    before = sum(_ramp(number) * DAYS_PER_MONTH for number in range(1, month))
    before = min(before, HIP150_CEILING_HNT)
    room = HIP150_CEILING_HNT - before
    daily = min(_ramp(month), room // DAYS_PER_MONTH)
    return {"hnt_per_day": daily, "minted_before_hnt": before}


def _ramp(month: int) -> int:
    if month > HIP150_MONTHS:
        return 0
    return min(HIP150_START_HNT + HIP150_STEP_HNT * (month - 1), HIP150_MOST_HNT)


def _hip146(
    uplinks: int, seat_minimum_dc: int, roaming_multiplier: int, seats: int, is_roaming: int
) -> Mapping[str, Any]:
    each = max(seat_minimum_dc, uplinks) * (roaming_multiplier if is_roaming else 1)
    return {"dc": each * seats, "dc_per_seat": each, "usd": each * seats / 10**5}


def _hip86(packets: int) -> Mapping[str, Any]:
    return {"dc": HIP86_DC * packets, "usd": HIP86_DC * packets / 10**5}


POLICIES = (
    MonetaryPolicy(
        name="helium.hip138",
        summary="The extra mint to the MOBILE treasury, Dec 2024 to Jul 2025, outside the schedule.",
        function=_hip138,
        keys=(integer("day", "days", "day of the mint, 1 is the first", minimum=1, maximum=100_000),),
        outputs=(
            Output("bones", "bones per day", "minted on that day"),
            Output("hnt", "HNT per day", "the same in HNT"),
            Output("minted_before_bones", "bones", "minted on the days before"),
        ),
        rounding="none: the program's constant",
        exact=True,
        example={"day": "1"},
        source=Source(
            "HIP 138: Return to HNT",
            "helium/helium-program-library, programs/helium-sub-daos, calculate_utility_score_v0.rs",
        ),
        notes="2.9 million HNT over 237 days; whoever counts the schedule alone misses it",
    ),
    MonetaryPolicy(
        name="helium.hip150_backstop",
        summary="HIP-150's floor of half the carriers' rate, minted from what was burned.",
        function=_hip150_backstop,
        keys=(
            number("gb", "GB per day", "rewardable traffic"),
            number("usd_per_gb", "USD per GB", "what carriers pay", "0.10"),
            number("hnt_price", "USD per HNT", "price", above=0),
            number("share", "fraction", "Mobile's part of the emission", "0.89", maximum=1),
            number("schedule_hnt", "HNT per day", "schedule", "20547.94520548"),
            number("re_emit_hnt", "HNT per day", "re-emission", 0),
            number("smoothed_hnt", "HNT per day", "smoothed burn, the most that is minted"),
        ),
        outputs=(
            Output("backstop_hnt", "HNT per day", "minted on top"),
            Output("target_hnt", "HNT per day", "what the floor asks for deployers"),
            Output("baseline_hnt", "HNT per day", "what deployers get without it"),
            Output("is_capped", "true/false", "whether the smoothed burn limits it"),
            Output("usd_per_gb", "USD per GB", "what deployers earn; null without traffic"),
        ),
        rounding="none: the proposal gives no integer form",
        exact=False,
        example={"gb": "91000", "hnt_price": "0.20", "smoothed_hnt": "45000"},
        source=Source("HIP 150: The People's Network", "helium/HIP, 0150, decision 1"),
        notes="in discussion in June 2026, never live: HIP-149 was approved instead (helium.backstop)",
    ),
    MonetaryPolicy(
        name="helium.hip150_ramp",
        summary="HIP-150's capitalisation if nobody winds it down: a ramp instead of HIP-149's flat supplement.",
        function=_hip150_ramp,
        keys=(
            integer(
                "month", "months", "month of the mint, 1 is the first; months of 30 days", minimum=1, maximum=1_000
            ),
        ),
        outputs=(
            Output("hnt_per_day", "HNT per day", "minted"),
            Output("minted_before_hnt", "HNT", "minted in the months before"),
        ),
        rounding="down to whole HNT where the ceiling cuts",
        exact=False,
        example={"month": "1"},
        source=Source("HIP 150: The People's Network", "helium/HIP, 0150, decision 2"),
        notes="the proposal's figures are approximate; its council may lower, pause or end the mint",
    ),
    MonetaryPolicy(
        name="helium.hip146",
        summary="Data credits for a device's seat and day: a minimum, or its uplinks.",
        function=_hip146,
        keys=(
            integer("uplinks", "packets per day", "of each seat"),
            integer("seat_minimum_dc", "data credits", "least per seat and day, as configured"),
            integer("roaming_multiplier", "factor", "for roaming seats, as configured", 1, minimum=1),
            integer("seats", "seats", "how many alike", 1),
            integer("is_roaming", "0 or 1", "whether they roam", 0, maximum=1),
        ),
        outputs=(
            Output("dc", "data credits per day", "of all seats"),
            Output("dc_per_seat", "data credits per day", "of each"),
            Output("usd", "USD per day", "at 10⁻⁵ $ a data credit"),
        ),
        rounding="whole data credits",
        exact=False,
        example={"uplinks": "3", "seat_minimum_dc": "10"},
        source=Source("HIP 146", "helium/HIP, 0146 (closed); its numbers are keys here"),
        notes="closed without coming into force",
    ),
    MonetaryPolicy(
        name="helium.hip86",
        summary="Two data credits per packet instead of one per 24 bytes.",
        function=_hip86,
        keys=(integer("packets", "packets", "of at most 24 bytes"),),
        outputs=(Output("dc", "data credits", "burned"), Output("usd", "USD", "at 10⁻⁵ $ a data credit")),
        rounding="none",
        exact=True,
        example={"packets": "1000"},
        source=Source("HIP 86", "helium/HIP, 0086 (closed)"),
        notes="closed without coming into force; helium.packet is the rule in force",
    ),
)
