"""What an object costs before it is uploaded: month by month with its reads, or paid once for as long as a fund lasts.

    stored    the shares as the gateway will make them: segments of 64 MiB, each encrypted (16 bytes per 64 KiB) and coded
              k of n; objects up to 4 KiB lie in the gateway's own database and cost nothing
    storage   stored · months · price per GiB-month, rounded up; less where providers fail to prove, never more
    read      what one whole read orders from providers · price per GiB, rounded up: k shares of every segment; what is left
              over of a number of whole reads is one range, of whole stripes
    repair    one regeneration of every segment reads as much as one read; writes are free

Copies, parts of a multipart upload and later reads of slow providers are the customer's doing or luck and not in it: each
part begins a segment of its own, and a share that is asked of a second provider because the first is slow is ordered twice.

Pure; integers in micro-dollars, but for the years and chances of the stress test, which decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.endowment import (
    Assumptions,
    Stress,
    first_year_micro_usd,
    permanent_price,
    stress,
    years_covered,
)
from fieldstone.services.storage.pool.profile import INLINE_BYTES, Profile
from fieldstone.services.storage.schema import EGRESS, GIB, STORAGE
from fieldstone.units import PPM

__all__ = ["AT_EXHAUSTION", "Quote", "monthly", "permanent", "stored_bytes"]

LARGEST_BYTES = 5 * 2**40  # what S3 takes as one object
STRESS_DECLINES = (0.0, 0.02, 0.05, 0.10)
TOKEN_VOLATILITY = 0.8
COVERED_DECLINES = (0.0, 0.005, 0.01, 0.02, 0.05)
COVERED_POWER = (1.0, 0.5, 0.1)
REPAIR_TIMES = (1, 2, 4)  # times the assumed reads for repair

AT_EXHAUSTION = (
    "nothing is promised beyond the fund: when it is empty the network stops charging it, providers are no longer paid, "
    "and the gateway has to be topped up or the object is lost share by share"
)


@dataclass(frozen=True, slots=True)
class Quote:
    """Micro-dollars. `stored_bytes`: shares of all providers together. `..._per_gib...`: of the object, expansion included."""

    size_bytes: int
    k: int
    n: int
    segments: int
    stored_bytes: int
    months: int
    storage_micro_usd: int
    storage_micro_usd_per_month: int
    storage_micro_usd_per_gib_month: int
    egress_bytes: int
    egress_micro_usd: int
    egress_micro_usd_per_gib: int
    whole_read_micro_usd: int
    repair_micro_usd: int

    @property
    def total_micro_usd(self) -> int:
        """Storage and the reads that were asked about."""
        return self.storage_micro_usd + self.egress_micro_usd


def stored_bytes(size_bytes: int, profile: Profile) -> tuple[int, int, int]:
    """Return (segments, bytes of all shares, bytes that one whole read orders) of an object put as one.

    Raises UsageError for sizes that no object has.
    """
    if not 0 <= size_bytes <= LARGEST_BYTES:
        raise UsageError(
            f"an object has 0 to {LARGEST_BYTES} bytes, not {size_bytes}; quote several objects one by one"
        )
    if size_bytes <= INLINE_BYTES:
        return 0, 0, 0
    whole, rest = divmod(size_bytes, profile.segment_bytes)
    shares = whole * _share_bytes(profile.segment_bytes, profile) + (_share_bytes(rest, profile) if rest else 0)
    return whole + bool(rest), shares * profile.n, shares * profile.k


def monthly(
    size_bytes: int, profile: Profile, *, months: int, egress_bytes: int, prices_micro_usd: Mapping[str, int]
) -> Quote:
    """Quote storage for `months` of thirty days and `egress_bytes` of reads at prices per GiB-month and GiB of shares."""
    if months < 0 or egress_bytes < 0:
        raise UsageError(f"no quote for {months} months and {egress_bytes} bytes of reads")
    segments, stored, read = stored_bytes(size_bytes, profile)
    price, egress = prices_micro_usd[STORAGE], prices_micro_usd[EGRESS]
    # inline bytes never leave the gateway
    ordered = _ordered(egress_bytes, size_bytes, read, profile) if segments else 0
    return Quote(
        size_bytes=size_bytes,
        k=profile.k,
        n=profile.n,
        segments=segments,
        stored_bytes=stored,
        months=months,
        storage_micro_usd=_up(stored * months * price, GIB),
        storage_micro_usd_per_month=_up(stored * price, GIB),
        storage_micro_usd_per_gib_month=_up(_full_expansion(profile, price), profile.segment_bytes),
        egress_bytes=egress_bytes,
        egress_micro_usd=_up(ordered * egress, GIB),
        egress_micro_usd_per_gib=_up(cipher.sealed_bytes(GIB) * egress, GIB),
        whole_read_micro_usd=_up(read * egress, GIB),
        repair_micro_usd=_up(read * egress, GIB),
    )


def permanent(
    quoted: Quote, assumed: Assumptions, storage_micro_usd: int, egress_micro_usd: int, *, seed: int = 1
) -> dict[str, Any]:
    """Return the price of paying once for what `quoted` stores, the assumptions, how long it lasts, and the stress test.

    `years` is None where the fund never runs out. Raises UsageError when no finite price lasts for ever.
    """
    # the endowment's formula expands by n/k itself: hand it the size that gives the bytes really stored
    size = _up(quoted.stored_bytes * quoted.k, quoted.n)
    price = permanent_price(size, assumed, storage_micro_usd, egress_micro_usd)
    kept, earned = assumed.purchasing_power_ppm / PPM, assumed.fund_return_ppm / PPM
    # what the buyer assumes stands in the tables too
    declines = sorted({*COVERED_DECLINES, assumed.cost_decline_ppm / PPM})
    powers = sorted({*COVERED_POWER, kept}, reverse=True)
    first_year = first_year_micro_usd(size, assumed, storage_micro_usd, egress_micro_usd)
    by_repair = [replace(assumed, repair_reads_ppm=assumed.repair_reads_ppm * times) for times in REPAIR_TIMES]
    repaired = [(one, first_year_micro_usd(size, one, storage_micro_usd, egress_micro_usd)) for one in by_repair]
    covered = [
        {
            "purchasing_power_ppm": round(power * PPM),
            "years": [_years(years_covered(price * power, first_year, decline, earned)) for decline in declines],
        }
        for power in powers
    ]
    futures = [(decline, 0.0) for decline in STRESS_DECLINES] + [(STRESS_DECLINES[-1], TOKEN_VOLATILITY)]
    trials = [_stress(assumed, decline, volatility, seed) for decline, volatility in futures]
    return {
        "price_micro_usd": price,
        "first_year_micro_usd": first_year,
        "assumptions": {
            "kryder_rate_ppm_per_year": assumed.cost_decline_ppm,
            "fund_return_ppm_per_year": assumed.fund_return_ppm,
            "purchasing_power_ppm": assumed.purchasing_power_ppm,
            "repair_reads_ppm_per_year": assumed.repair_reads_ppm,
            "margin_ppm": assumed.margin_ppm,
            "expansion_ppm": quoted.n * PPM // quoted.k,
            "egress_micro_usd_per_gib": egress_micro_usd,
            "first_year_micro_usd": first_year,
            "read_bytes": size,
            "size_bytes": quoted.size_bytes,
            "storage_micro_usd_per_gib_month": storage_micro_usd,
            "stored_bytes": quoted.stored_bytes,
            "years": assumed.years,
        },
        "covered": {"declines_ppm": [round(decline * PPM) for decline in declines], "rows": covered},
        "repaired": [
            {
                "repair_reads_ppm_per_year": one.repair_reads_ppm,
                "years": [_years(years_covered(price * kept, cost, decline, earned)) for decline in declines],
            }
            for one, cost in repaired
        ],
        "stress": [
            {
                "mean_decline_ppm": round(one.mean_decline * PPM),
                "decline_volatility_ppm": round(one.decline_volatility * PPM),
                "purchasing_power_volatility_ppm": round(one.purchasing_power_volatility * PPM),
                "exhausted_by_ppm": {str(year): round(share * PPM) for year, share in one.exhausted_by.items()},
                "horizon_years": one.horizon_years,
                "years_5th_percentile": one.years_5th_percentile,
                "trials": one.trials,
                "seed": one.seed,
            }
            for one in trials
        ],
        "at_exhaustion": AT_EXHAUSTION,
    }


@lru_cache(maxsize=64)
def _stress(assumed: Assumptions, decline: float, volatility: float, seed: int) -> Stress:
    return stress(assumed, mean_decline=decline, purchasing_power_volatility=volatility, seed=seed)


def _share_bytes(plain_bytes: int, profile: Profile) -> int:
    return Layout(cipher.sealed_bytes(plain_bytes), profile.k, profile.n, profile.block_bytes).share_bytes


def _ordered(egress_bytes: int, size_bytes: int, read_bytes: int, profile: Profile) -> int:
    """Return what reads of so many bytes order from providers at most: whole reads, and one range of whole stripes."""
    whole, rest = divmod(egress_bytes, size_bytes)
    if not rest:
        return whole * read_bytes
    # wherever the range begins and ends in a chunk and a stripe, and where it goes on in another segment
    pieces = 1 if size_bytes <= profile.segment_bytes else 2
    segments, part = divmod(rest, profile.segment_bytes)
    chunks = -(-part // cipher.CHUNK_BYTES) + pieces
    stripe_bytes = profile.k * profile.block_bytes
    stripes = -(-(chunks * cipher.sealed_bytes(cipher.CHUNK_BYTES)) // stripe_bytes) + pieces
    most = segments * profile.k * _share_bytes(profile.segment_bytes, profile) + stripes * stripe_bytes
    return whole * read_bytes + min(read_bytes, most)


def _full_expansion(profile: Profile, price: int) -> int:
    return _share_bytes(profile.segment_bytes, profile) * profile.n * price


def _years(years: float) -> float | None:
    return None if math.isinf(years) else round(years, 1)


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
