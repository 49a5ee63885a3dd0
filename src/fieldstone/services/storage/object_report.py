"""The customer's report of one object: who holds which share, what was proven and read when, how safe it is, what it costs.

Everything in it follows from a sealed epoch's tables (the carry `holdings` and the registry) and a few words about the
object, by a pure function. It is signed, so it can be held against its issuer; and anybody with the sealed epoch works it
out again and compares (`check`), so nobody has to believe the signature either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from fieldstone.errors import CheckFailed, Rejected, UsageError
from fieldstone.identity import cose
from fieldstone.identity.keys import PublicKey, Signer, verify
from fieldstone.reasons import reason
from fieldstone.services.storage.durability import (
    DEFAULT_RATES,
    REPAIR_DAYS,
    Placement,
    independent_loss_over,
    simulate,
)
from fieldstone.services.storage.holdings import FOREVER
from fieldstone.services.storage.schema import GIB, KIB_S_PER_GIB_MONTH

__all__ = ["ObjectFacts", "Segment", "check", "open_report", "report", "sign"]

PURPOSE = b"fieldstone/storage/object-report/v1\0"
TRIALS = 2_000
SEED = 1
REGION_DEGREES = 5
MOST_SIMULATED = 8  # 0.3 s each


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of the object: 16-byte id, code k of n."""

    id: bytes
    k: int
    n: int


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the gateway knows and the network does not. `storage_micro_usd_per_gib_month`: the epoch's price of shares."""

    name: str
    size_bytes: int
    gateway: str
    segments: tuple[Segment, ...]
    storage_micro_usd_per_gib_month: int


def report(
    facts: ObjectFacts, *, epoch: int, end_ms: int, holdings: pl.DataFrame, registry: pl.DataFrame
) -> dict[str, Any]:
    """Return the report as plain values. `holdings`: carry table of the epoch; `registry`: REGISTRY_SCHEMA.

    `spent`: of the present holders since their leases began, for proven time, at the epoch's price (rounded down, as charges
    are). `ahead`: the next thirty days if all is proven (rounded up). A share is alive when it is leased and did not fail since it was last proven.
    """
    places = {
        row[0]: Placement(row[1].lower(), "", _region(row[3], row[4]), row[2])
        for row in registry.select("device", "operator", "model", "lat", "lon").iter_rows()
    }
    live = holdings.filter((pl.col("gateway") == facts.gateway) & (pl.col("until_ms") == FOREVER))
    # cut once: an object of a tebibyte has thousands of segments
    held = live.sort("index", "device", "share").partition_by("segment", as_dict=True)
    nothing = live.clear()
    segments = [_segment(one, held.get((one.id,), nothing), places) for one in facts.segments]
    _simulate(segments)
    price = facts.storage_micro_usd_per_gib_month
    units = sum(segment.pop("_paid_units") for segment in segments)
    stored = sum(segment["stored_bytes"] for segment in segments)
    safest = min(segments, key=lambda segment: segment["margin"], default=None)
    return {
        "ahead_micro_usd_30_days": -(-stored * price // GIB),
        "end_ms": end_ms,
        "epoch": epoch,
        "expansion_ppm": stored * 1_000_000 // facts.size_bytes if facts.size_bytes else 0,
        "gateway": facts.gateway,
        "margin": None if safest is None else safest["margin"],
        "model": {
            "correlated": f"{TRIALS} trials, seed {SEED}; simulated are the {MOST_SIMULATED} "
            "segments with the fewest shares to spare after the end of their largest operator, region or maker; the others take "
            "the lowest figure of these",
            "horizon": f"both figures: one year, a look every {REPAIR_DAYS:g} days, repair when half of the parity is left",
            "independent": "exact, shares failing one by one, by whatever takes them",
            "rates_per_year": msgspec.to_builtins(DEFAULT_RATES),
            "region": f"{REGION_DEGREES}° × {REGION_DEGREES}° of latitude and longitude",
        },
        "name": facts.name,
        "p_loss_1y_correlated": _any([segment["p_loss_1y_correlated"] for segment in segments]),
        "p_loss_1y_correlated_high": _any([segment["p_loss_1y_correlated_high"] for segment in segments]),
        "p_loss_1y_independent": _any([segment["p_loss_1y_independent"] for segment in segments]),
        "segments": segments,
        "size_bytes": facts.size_bytes,
        "spent_micro_usd": units * price // KIB_S_PER_GIB_MONTH,
        "stored_bytes": stored,
    }


def sign(key: Signer, body: Mapping[str, Any]) -> bytes:
    """Return the report as COSE_Sign1 over canonical JSON."""
    return cose.sign(key, msgspec.json.encode(body, order="sorted"), PURPOSE)


def open_report(message: bytes, signer: str) -> dict[str, Any]:
    """Return a signed report. Raises Rejected BAD_COSE, BAD_SIGNATURE, BAD_PAYLOAD."""
    envelope = cose.parse(message)
    public = PublicKey.from_device_id(signer)
    if envelope.kid != public.kid or not verify(public, envelope.signed_bytes(PURPOSE), envelope.signature):
        raise Rejected(reason("BAD_SIGNATURE"), signer)
    try:
        return msgspec.json.decode(envelope.payload, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Rejected(reason("BAD_PAYLOAD"), "object report", str(error)) from None


def check(
    message: bytes,
    signer: str,
    facts: ObjectFacts,
    *,
    epoch: int,
    end_ms: int,
    holdings: pl.DataFrame,
    registry: pl.DataFrame,
) -> dict[str, Any]:
    """Work a signed report out again from a sealed epoch's tables. Raises CheckFailed naming the first field that differs."""
    said = open_report(message, signer)
    true = report(facts, epoch=epoch, end_ms=end_ms, holdings=holdings, registry=registry)
    plain = msgspec.json.decode(msgspec.json.encode(true, order="sorted"))
    for name in sorted(set(said) | set(plain)):
        if said.get(name) != plain.get(name):
            raise CheckFailed(
                f"the report of {facts.name!r} says {name} = {said.get(name)!r:.200}; epoch {epoch} gives {plain.get(name)!r:.200}"
            )
    return said


def _segment(segment: Segment, mine: pl.DataFrame, places: Mapping[str, Placement]) -> dict[str, Any]:
    if not 1 <= segment.k <= segment.n:
        raise UsageError(f"segment {segment.id.hex()} is {segment.k} of {segment.n}")
    shares: list[dict[str, Any]] = []
    alive: dict[int, Placement] = {}
    for row in mine.iter_rows(named=True):
        is_alive = row["failed_ms"] <= row["proven_ms"]
        place = places.get(row["device"], Placement(""))
        shares.append(
            {
                "alive": is_alive,
                "device": row["device"],
                "index": row["index"],
                "last_failed_ms": row["failed_ms"] or None,
                "last_proof_ms": row["proven_ms"] or None,
                "last_read_ms": row["read_ms"] or None,
                "leased_ms": row["from_ms"],
                "operator": place.operator,
                "root": row["root"].hex(),
                "share": row["share"].hex(),
                "size_bytes": row["size_bytes"],
            }
        )
        if is_alive:
            alive.setdefault(row["index"], place)  # two holders of one index are one share
    standing: Sequence[Placement] = list(alive.values())
    loss = independent_loss_over(segment.k, len(standing), segment.n)
    return {
        "_paid_units": int(mine["paid_units"].sum()),
        "_placements": standing,
        "alive": len(standing),
        "k": segment.k,
        "margin": len(standing) - segment.k,
        "n": segment.n,
        "p_loss_1y_correlated": 0.0,
        "p_loss_1y_correlated_high": 0.0,
        "p_loss_1y_independent": float(f"{loss:.6g}"),
        "segment": segment.id.hex(),
        "shares": shares,
        "stored_bytes": int(mine["size_bytes"].sum()),
    }


def _simulate(segments: list[dict[str, Any]]) -> None:
    """Fill in the correlated figures, the most endangered segments first.

    Shares to spare are not enough to tell danger: forty shares in one region are nearer to loss than thirty in ten.
    """
    lowest = (1.0, 1.0)
    order = sorted(segments, key=lambda segment: (_spare(segment), segment["margin"], segment["segment"]))
    for place, segment in enumerate(order):
        placements = segment.pop("_placements")
        if place < MOST_SIMULATED:
            found = simulate(segment["k"], placements, n=segment["n"], trials=TRIALS, seed=SEED)
            figure = (found.probability, round(found.high, 9))
            lowest = min(lowest, figure)
        else:
            figure = lowest
        segment["p_loss_1y_correlated"], segment["p_loss_1y_correlated_high"] = figure


def _spare(segment: Mapping[str, Any]) -> int:
    """Return how many live shares more than k are left when the group that holds the most of them ends."""
    places: Sequence[Placement] = segment["_placements"]
    groups = Counter(
        (name, text) for one in places for name in ("operator", "region", "maker") if (text := getattr(one, name))
    )
    return int(segment["margin"]) - max([1, *groups.values()])


def _region(lat: float | None, lon: float | None) -> str:
    """Name the square of REGION_DEGREES that a place lies in; "" when it is not known."""
    if lat is None or lon is None or not (math.isfinite(lat) and math.isfinite(lon)):
        return ""
    return f"{int(lat // REGION_DEGREES)}/{int(lon // REGION_DEGREES)}"


def _any(chances: list[float]) -> float:
    """Return P(at least one) of independent chances, to six significant digits."""
    none = 1.0
    for chance in chances:
        none *= 1 - chance
    return float(f"{(sum(chances) if sum(chances) < 1e-9 else 1 - none):.6g}")
