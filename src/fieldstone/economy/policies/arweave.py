"""Arweave's inflation, upload fee and endowment.

Formulas (winston; 1 AR = 10¹² winston; 262,800 blocks a year):
    block h      0.2 · 55e6 AR · 2^(−h/BPY) · ln 2 / BPY, with ln 2 = 6931471805599453 / 10¹⁶, e^x as 24 Taylor terms, one floor
    year y       the sum of the base curve over its blocks, in closed form
    upload fee   ⌊size · p · 525,600 · 20 · K / (GiB · 0.005012541823544286) · 21/20⌋, p in winston per GiB-minute
    payout       inflation + the miner's part of fees, then the endowment up to 20 · weave · p · interval / (60 · GiB)
Reason: a fee buys 20 replicas for ever at a price that falls 0.5 % a year; 20/21 of it waits in the endowment until
mining no longer pays for storage by itself.
Invariants: `endowment_is_never_negative`, `year_sums_halve`, `miner_and_endowment_share_the_whole_fee`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import MonetaryPolicy, Output, Source, integer

WINSTON = 10**12
GENESIS_AR = 55_000_000
BLOCKS_PER_YEAR = 262_800
LN2 = (6931471805599453, 10**16)
TERMS = 24
FORK_15_HEIGHT = 95_000
POST_15_EXTRA = 13_275_279_633_337
GIB = 1 << 30
DECAY = (5012541823544286, 10**18)  # −ln 0.995: the price falls 0.5 % a year, so eternity costs 199.4996 first years
REPLICAS = 20
MINUTES_PER_YEAR = 525_600
LATCH_RESET = 10_000 * WINSTON


def exponential(top: int, bottom: int) -> tuple[int, int]:
    """Return e^(top/bottom) as a ratio: the Taylor series up to the 24th power, over one denominator."""
    numerator, power = 0, bottom**TERMS
    for term in range(TERMS + 1):
        numerator += power * (math.factorial(TERMS) // math.factorial(term))
        power = power // bottom * top
    return numerator, bottom**TERMS * math.factorial(TERMS)


def base_inflation(height: int) -> int:
    """Return the base curve's winston at a height, exactly as the network computes it."""
    top, bottom = exponential(height * LN2[0], BLOCKS_PER_YEAR * LN2[1])
    return (GENESIS_AR * WINSTON * bottom * 2 * LN2[0]) // (10 * BLOCKS_PER_YEAR * LN2[1] * top)


def block_inflation(height: int) -> int | None:
    """Return the winston a block mints, the first year's repair included; None up to fork 1.5, whose rule is not kept."""
    if height <= FORK_15_HEIGHT:
        return None
    return base_inflation(height) + (POST_15_EXTRA if height <= BLOCKS_PER_YEAR else 0)


def _inflation(year: int) -> Mapping[str, Any]:
    # geometric sum over heights [(y−1)·BPY, y·BPY)
    ratio = -math.expm1(-math.log(2) / BLOCKS_PER_YEAR)
    first = 0.2 * GENESIS_AR * math.log(2) / BLOCKS_PER_YEAR
    return {"ar": first * 0.5 / ratio * 2.0 ** -(year - 1)}


def _block(height: int) -> Mapping[str, Any]:
    return {"winston": block_inflation(height), "base_winston": base_inflation(height)}


def _upload_fee(size_bytes: int, price_gib_minute: int, kryder: int) -> Mapping[str, Any]:
    perpetual = Fraction(
        size_bytes * price_gib_minute * MINUTES_PER_YEAR * REPLICAS * kryder * DECAY[1], GIB * DECAY[0]
    )
    fee = int(perpetual * Fraction(21, 20))
    miner = fee // 21
    return {"fee_winston": fee, "miner_winston": miner, "endowment_winston": fee - miner}


def _payout(
    inflation_winston: int,
    miner_fees_winston: int,
    weave_bytes: int,
    price_gib_minute: int,
    interval_s: int,
    endowment_winston: int,
    debt_winston: int,
    kryder: int,
    latch: int,
) -> Mapping[str, Any]:
    base = inflation_winston + miner_fees_winston
    expected = REPLICAS * weave_bytes * price_gib_minute * interval_s // (60 * GIB)
    gap = max(0, expected - base)
    if endowment_winston > LATCH_RESET:
        latch = 0
    if gap > endowment_winston:
        debt_winston += gap - endowment_winston
        endowment_winston = 0
        if not latch:
            kryder, latch = kryder * 2, 1
    else:
        endowment_winston -= gap
    return {
        "paid_winston": base + gap,
        "expected_winston": expected,
        "endowment_winston": endowment_winston,
        "debt_winston": debt_winston,
        "kryder": kryder,
        "latch": latch,
    }


_PRICING = Source("Arweave node", "ArweaveTeam/arweave, apps/arweave/src/ar_pricing.erl")
_INFLATION = Source("Arweave node", "ArweaveTeam/arweave, apps/arweave/src/ar_inflation.erl, ar_fraction.erl")
_P = integer("price_gib_minute", "winston", "price of a GiB stored for a minute")

POLICIES = (
    MonetaryPolicy(
        name="arweave.inflation",
        summary="AR minted in a year by the base curve: 5.5 million in year 1, half as much every year.",
        function=_inflation,
        keys=(integer("year", "years of 262,800 blocks", "the year, 1 is the first", minimum=1, maximum=400),),
        outputs=(Output("ar", "AR per year", "sum over the year's blocks"),),
        rounding="closed form in floats; the blocks' floors take away less than 3e-7 AR a year",
        exact=False,
        example={"year": "1"},
        source=_INFLATION,
        notes="upstream tests the sums to 0.001 %; `arweave.block` is the exact integer rule",
    ),
    MonetaryPolicy(
        name="arweave.block",
        summary="Winston minted by the block at a height.",
        function=_block,
        keys=(integer("height", "blocks", "height of the block", maximum=20 * BLOCKS_PER_YEAR),),
        outputs=(
            Output("winston", "winston", "minted, first-year repair included; null up to height 95,000"),
            Output("base_winston", "winston", "the base curve alone"),
        ),
        rounding="one floor",
        exact=True,
        example={"height": "262801"},
        source=_INFLATION,
        notes="up to fork 1.5 another curve, up to fork 2.5 the same curve in floats: there the last digits may differ",
    ),
    MonetaryPolicy(
        name="arweave.upload_fee",
        summary="What storing data for ever costs, and how much of it goes to the endowment.",
        function=_upload_fee,
        keys=(
            integer("size_bytes", "bytes", "size of the data", maximum=10**30),
            _P,
            integer("kryder", "", "Kryder+ multiplier", 1, minimum=1),
        ),
        outputs=(
            Output("fee_winston", "winston", "the fee"),
            Output("miner_winston", "winston", "1/21 to the miner"),
            Output("endowment_winston", "winston", "the rest, to the endowment"),
        ),
        rounding="one floor of the fee, floor of the miner's part",
        exact=True,
        example={"size_bytes": "1073741824", "price_gib_minute": "1000"},
        source=_PRICING,
    ),
    MonetaryPolicy(
        name="arweave.payout",
        summary="What a block pays its miner, and what that leaves in the endowment.",
        function=_payout,
        keys=(
            integer("inflation_winston", "winston", "inflation of the block"),
            integer("miner_fees_winston", "winston", "the miner's part of the fees"),
            integer("weave_bytes", "bytes", "size of all data"),
            _P,
            integer("interval_s", "s", "time since the block before", 120),
            integer("endowment_winston", "winston", "endowment before"),
            integer("debt_winston", "winston", "debt supply before", 0),
            integer("kryder", "", "Kryder+ multiplier before", 1, minimum=1),
            integer("latch", "0 or 1", "whether the multiplier has doubled already", 0, maximum=1),
        ),
        outputs=(
            Output("paid_winston", "winston", "to the miner"),
            Output("expected_winston", "winston", "what storing the weave costs in the interval"),
            Output("endowment_winston", "winston", "endowment after"),
            Output("debt_winston", "winston", "debt supply after"),
            Output("kryder", "", "Kryder+ multiplier after"),
            Output("latch", "0 or 1", "latch after; it re-opens when the endowment is above 10,000 AR"),
        ),
        rounding="floor of the expected reward",
        exact=True,
        example={
            "inflation_winston": "300000000000",
            "miner_fees_winston": "0",
            "weave_bytes": "300000000000000",
            "price_gib_minute": "1000000",
            "endowment_winston": "50000000000000000",
        },
        source=_PRICING,
    ),
)
