"""Helium's emission: the halving schedule, re-emission of what was burned, and each network's utility score.

Formulas (1 HNT = 10⁸ bones; `//` floors):
    year n may mint      60e6 HNT / 2^⌊(n−1)/2⌋, n counted from 2019-08-01                       (HIP-20)
    smoothed burn        s = 6·s_before // 7 + burned // 7, s_before 0 counts as 300 bones       (daily, on chain)
    re-emission          min(s, cap)
    utility score        V·D·A: V = max(1, veHNT), D = max(1, √DC burned in USD),
                         A = max(1, ⁴√ of the onboarding fees that active devices paid in USD)   (HIP-51, A by HIP-88)
Reason: what customers burn comes back at a smoothed, capped pace, so that the ceiling of the supply is never passed.
Invariants: `hip20_halves_every_two_years`, `re_emission_never_exceeds_what_was_burned`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, choice, integer, number

BONES = 10**8
FIRST_YEAR_HNT = 60_000_000
SMOOTHING_DAYS = 7
SEED_BONES = 300
RE_EMIT_CAP_BONES = 164_383_561_643  # 1 % of 60e6 / 365 HNT per day
SUPPLEMENT_HNT_PER_DAY, SUPPLEMENT_FLAT_DAYS, SUPPLEMENT_TAPER_DAYS = 196_000, 360, 720

# HNT per day (bones) from the date on, as the on-chain schedule holds it: a table, not a division, since the year
# that ends with February 2024 has 366 days.
DAILY_BONES: tuple[tuple[str, int], ...] = (
    ("2023-08-02", 8_219_178_082_192),
    ("2023-08-03", 4_098_360_655_738),
    ("2024-08-01", 4_109_589_041_096),
    ("2025-08-01", 2_054_794_520_548),
)


def smooth_burn(before_bones: int, burned_bones: int) -> int:
    """Return the smoothed burn after a day, in bones. Two floors, as on chain."""
    before = before_bones or SEED_BONES
    return before * (SMOOTHING_DAYS - 1) // SMOOTHING_DAYS + burned_bones // SMOOTHING_DAYS


def _hip20(year: int) -> Mapping[str, Any]:
    halvings = (year - 1) // 2
    return {
        "hnt": float(Fraction(FIRST_YEAR_HNT, 2**halvings)),
        "bones": FIRST_YEAR_HNT * BONES // 2**halvings,
    }


def _schedule(date: str) -> Mapping[str, Any]:
    bones = dict(DAILY_BONES)[date]
    return {"bones": bones, "hnt": bones / BONES}


def _net_emissions(
    smoothed_before_bones: int,
    supply_before_bones: int,
    supply_bones: int,
    not_emitted_bones: int,
    cap_bones: int,
) -> Mapping[str, Any]:
    burned = max(0, supply_before_bones - supply_bones - not_emitted_bones)
    smoothed = smooth_burn(smoothed_before_bones, burned)
    return {"burned_bones": burned, "smoothed_bones": smoothed, "re_emit_bones": min(smoothed, cap_bones)}


def _utility_score(dc_usd: Fraction, onboarding_usd: Fraction, vehnt: Fraction, rule: str) -> Mapping[str, Any]:
    if rule == "hip141":
        return {"score": float(vehnt), "v": float(vehnt), "d": 1.0, "a": 1.0}
    v = max(1.0, float(vehnt))
    d = max(1.0, float(dc_usd) ** 0.5)
    a = max(1.0, float(onboarding_usd) ** 0.25)
    return {"score": v * d * a, "v": v, "d": d, "a": a}


def _supplement(day: int) -> Mapping[str, Any]:
    flat_end, end = SUPPLEMENT_FLAT_DAYS, SUPPLEMENT_FLAT_DAYS + SUPPLEMENT_TAPER_DAYS
    if day <= flat_end:
        bones = SUPPLEMENT_HNT_PER_DAY * BONES
    elif day <= end:
        # the mean of the straight line over that day
        bones = SUPPLEMENT_HNT_PER_DAY * BONES * (2 * (end - day) + 1) // (2 * SUPPLEMENT_TAPER_DAYS)
    else:
        bones = 0
    return {"bones": bones, "hnt": bones / BONES}


_PROGRAM = "helium/helium-program-library, programs/helium-sub-daos, calculate_utility_score_v0.rs"

POLICIES = (
    MonetaryPolicy(
        name="helium.hip20",
        summary="HNT that a year may mint: 60 million in years 1 and 2, half as much every two years.",
        function=_hip20,
        keys=(integer("year", "years since 2019-08-01", "the year, 1 is the first", minimum=1, maximum=200),),
        outputs=(Output("hnt", "HNT per year", "the schedule"), Output("bones", "bones per year", "the same, floored")),
        rounding="none in `hnt`; `bones` floors",
        exact=False,
        example={"year": "9"},
        source=Source("HIP 20: HNT Max Supply", "helium/HIP, 0020-hnt-max-supply.md, emission table"),
        notes="year 1 minted about 17 million less than it could, so the ceiling was 223 and not 240 million HNT",
    ),
    MonetaryPolicy(
        name="helium.schedule",
        summary="HNT per day in the on-chain schedule from one of its dates on.",
        function=_schedule,
        keys=(choice("date", "start of the entry", tuple(date for date, _ in reversed(DAILY_BONES))),),
        outputs=(Output("bones", "bones per day", "as stored"), Output("hnt", "HNT per day", "the same in HNT")),
        rounding="none: a table",
        exact=True,
        example={"date": "2025-08-01"},
        source=Source("Helium program library", "packages/helium-admin-cli/emissions/hnt.json"),
    ),
    MonetaryPolicy(
        name="helium.net_emissions",
        summary="How much burned HNT is emitted again on a day: a seven-day average, capped.",
        function=_net_emissions,
        keys=(
            integer("smoothed_before_bones", "bones per day", "the average of the day before; 0 counts as 300"),
            integer("supply_before_bones", "bones", "supply recorded after the day before, all mints of it included"),
            integer("supply_bones", "bones", "supply now"),
            integer("not_emitted_bones", "bones", "rewards sent to the account that is never paid out", 0),
            integer("cap_bones", "bones per day", "most that is emitted again", RE_EMIT_CAP_BONES),
        ),
        outputs=(
            Output("burned_bones", "bones", "burned since the day before"),
            Output("smoothed_bones", "bones per day", "the new average"),
            Output("re_emit_bones", "bones", "emitted again"),
        ),
        rounding="floor of each seventh",
        exact=True,
        example={
            "smoothed_before_bones": "150000000000",
            "supply_before_bones": "18250000000000000",
            "supply_bones": "18249800000000000",
        },
        source=Source("Helium program library", _PROGRAM),
        notes="a mint that is missing from supply_before_bones reads as less burn and starves the average for days",
    ),
    MonetaryPolicy(
        name="helium.utility_score",
        summary="A network's utility score, which decides its share of the HNT emission.",
        function=_utility_score,
        keys=(
            number("dc_usd", "USD", "data credits burned"),
            number("onboarding_usd", "USD", "onboarding fees that the devices rewarded in the last 30 days paid"),
            number("vehnt", "veHNT", "vote-escrowed HNT delegated to the network"),
            choice("rule", "hip88: V·D·A; hip141: V alone", ("hip88", "hip141")),
        ),
        outputs=(
            Output("score", "1", "the score"),
            Output("v", "1", "factor of the stake"),
            Output("d", "1", "factor of the data"),
            Output("a", "1", "factor of the devices"),
        ),
        rounding="float; the program used fixed point with 12 decimals",
        exact=False,
        example={"dc_usd": "1", "onboarding_usd": "17940000", "vehnt": "1"},
        source=Source("HIP 51 and HIP 88", "helium/HIP, 0051-helium-dao.md; 0088, examples"),
    ),
    MonetaryPolicy(
        name="helium.supplement",
        summary="HNT minted on a day for one entity besides the schedule (HIP-149 decision 2). Count it.",
        function=_supplement,
        keys=(integer("day", "days since 2026-08-06", "the day, 1 is the first", minimum=1, maximum=10_000),),
        outputs=(Output("bones", "bones", "minted that day"), Output("hnt", "HNT", "the same in HNT")),
        rounding="floor; in the taper the mean of the straight line over the day",
        exact=False,
        example={"day": "1"},
        source=Source("HIP 149: Helium Utility and Emissions Realignment", "decision 2, table"),
        notes="the HIP gives the rate and the length as approximate",
    ),
)
