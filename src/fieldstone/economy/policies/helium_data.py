"""What Helium's customers pay and what carrying data earns: data credits, HIP-10, HIP-147.

Formulas (1 data credit, DC, is $0.00001; 1 HNT is 10⁸ bones; `//` floors):
    bones burned       = DC · 10^(8 − expo − 5) // (EMA price − 2 · EMA confidence)
    IoT packet         = ⌈max(bytes, 24) / 24⌉ DC per copy
    HIP-10             = HNT worth of the carried DC, pro rata when the pool is too small; the surplus goes elsewhere
    HIP-147            = data first: min(asked, 60 % of the emission), coverage gets the rest of the 60 %
Reason: one to one, because a fixed pool shared pro rata paid one hotspot about 21,000 dollars for 145 dollars of DC.
Invariant: `hip10_never_pays_more_than_was_burned`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from fieldstone.economy.policies.contract import Key, Kind, MonetaryPolicy, Output, Source, choice, integer, number
from fieldstone.economy.policies.helium import BONES
from fieldstone.errors import UsageError

DC_PER_USD = 100_000
PACKET_BYTES = 24
HIP147_HNT_PER_DAY = Fraction("20547.95") + 1_644
HIP147_MOBILE_SHARE = Fraction("0.82")
HIP147_USD_PER_GB = "0.50"


def dc_to_bones(dc: int, price: int, expo: int) -> int:
    """Return the bones that so many data credits are worth at a Pyth price (`price` · 10^`expo` dollars)."""
    return dc * int(10 ** (8 - expo - 5)) // price


def _data_credits(dc: int, price: int, confidence: int, expo: int) -> Mapping[str, Any]:
    low = price - 2 * confidence
    if low <= 0:
        raise UsageError("price − 2·confidence must be above 0: the oracle is too unsure to burn at")
    return {"bones": dc_to_bones(dc, low, expo), "usd": dc / DC_PER_USD}


def _packet(payload_bytes: int, copies: int) -> Mapping[str, Any]:
    dc = -(-max(payload_bytes, PACKET_BYTES) // PACKET_BYTES) * copies
    return {"dc": dc, "usd": dc / DC_PER_USD}


def _hip10(dc: tuple[int, ...], hnt_price: Fraction, pool_hnt: Fraction, rule: str) -> Mapping[str, Any]:
    pool = int(pool_hnt * BONES)
    # dc / 100,000 dollars / price, in bones, floored once
    value = [int(Fraction(amount * BONES, DC_PER_USD) / hnt_price) for amount in dc]
    asked = sum(value)
    if rule == "hip10" and asked <= pool:
        paid = value
    else:
        weights = value if rule == "hip10" else list(dc)
        whole = sum(weights)
        paid = [pool * weight // whole if whole else 0 for weight in weights]
    usd = [float(Fraction(bones, BONES) * hnt_price) for bones in paid]
    return {"paid_bones": paid, "paid_usd": usd, "surplus_bones": pool - sum(paid)}


def _hip147(gb_per_day: Fraction, hnt_price: Fraction, usd_per_gb: Fraction, rule: str) -> Mapping[str, Any]:
    total = HIP147_HNT_PER_DAY * HIP147_MOBILE_SHARE * hnt_price
    asked = usd_per_gb * gb_per_day
    pool = total * (Fraction(6, 10) if rule == "hip147" else Fraction(4, 10))
    data = min(asked, pool)
    coverage = total * Fraction(6, 10) - data
    return {"poc_usd": float(coverage), "data_usd": float(data), "total_usd": float(total)}


POLICIES = (
    MonetaryPolicy(
        name="helium.data_credits",
        summary="HNT burned to make data credits, at the oracle's careful price.",
        function=_data_credits,
        keys=(
            integer("dc", "data credits of $0.00001", "how many to make"),
            integer("price", "10^expo USD per HNT", "moving average of the oracle's price", above=0),
            integer("confidence", "10^expo USD per HNT", "moving average of the oracle's confidence interval", 0),
            integer("expo", "", "exponent of the price", -8, minimum=-18, maximum=3),
        ),
        outputs=(Output("bones", "bones", "HNT burned"), Output("usd", "USD", "what the credits buy")),
        rounding="floor",
        exact=True,
        example={"dc": "100000", "price": "250000000"},
        source=Source("Helium program library", "programs/data-credits, mint_data_credits_v0.rs"),
    ),
    MonetaryPolicy(
        name="helium.packet",
        summary="Data credits for an IoT packet: one per 24 bytes begun, for every copy bought.",
        function=_packet,
        keys=(
            integer("payload_bytes", "bytes", "length of the packet", maximum=10**12),
            integer("copies", "copies", "copies bought", 1, maximum=10**9),
        ),
        outputs=(Output("dc", "data credits", "price"), Output("usd", "USD", "price")),
        rounding="ceiling",
        exact=True,
        example={"payload_bytes": "25"},
        source=Source("Helium wallet documentation", "data credits: 24-byte increments, minimum one"),
    ),
    MonetaryPolicy(
        name="helium.hip10",
        summary="Rewards for carrying data: one to one up to the pool (HIP-10), or the pool shared out as before.",
        function=_hip10,
        keys=(
            Key(name="dc", kind=Kind.INTEGERS, unit="data credits", doc="carried by each hotspot, separated by commas"),
            number("hnt_price", "USD per HNT", "price", above=0),
            number("pool_hnt", "HNT", "data pool of the epoch"),
            choice("rule", "hip10, or fixed_pool: the rule before it", ("hip10", "fixed_pool")),
        ),
        outputs=(
            Output("paid_bones", "bones", "to each, in the order given"),
            Output("paid_usd", "USD", "the same in dollars"),
            Output("surplus_bones", "bones", "left in the pool for other rewards, dust included"),
        ),
        rounding="floor of each",
        exact=True,
        example={"dc": "14500000", "hnt_price": "1", "pool_hnt": "21000", "rule": "fixed_pool"},
        source=Source("HIP 10: Usage-Based Data Transfer Rewards", "helium/HIP, 0010, motivation and explanation"),
        notes="HIP-10's text prints a data credit at $0.0001; its own arithmetic uses the true $0.00001",
    ),
    MonetaryPolicy(
        name="helium.hip147",
        summary="Dollars per day that Mobile hotspots get for coverage and for data when data eats first.",
        function=_hip147,
        keys=(
            number("gb_per_day", "GB per day", "rewardable data"),
            number("hnt_price", "USD per HNT", "price", above=0),
            number("usd_per_gb", "USD per GB", "price of data", HIP147_USD_PER_GB),
            choice("rule", "hip147, or legacy: 20 % kept for coverage", ("hip147", "legacy")),
        ),
        outputs=(
            Output("poc_usd", "USD per day", "proof of coverage"),
            Output("data_usd", "USD per day", "data"),
            Output("total_usd", "USD per day", "emission to Mobile"),
        ),
        rounding="none; the HIP's tables round to the dollar",
        exact=False,
        example={"gb_per_day": "40000", "hnt_price": "2"},
        source=Source("HIP 147: Mobile Data Eats First", "helium/HIP, 0147, assumptions and both tables"),
    ),
)
