"""Run the real verification of sensing over a lab fleet for some days, and say of every device what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.fleet import check
from fieldstone.services.sensing.lab_adversaries import ATTACKS
from fieldstone.services.sensing.lab_fleet import Fleet, build_fleet
from fieldstone.services.sensing.lab_stations import TROUBLES
from fieldstone.services.sensing.lab_world import World
from fieldstone.services.sensing.rules.v1 import default_params
from fieldstone.services.sensing.schema import KIND
from fieldstone.units import DAY_MS

# Findings that say "this was not measured there and then". The others say "this sensor needs care".
FRAUD = frozenset({"COPY_OF", "SHARED_SENSOR", "REPLAYED", "WRONG_PLACE", "FABRICATED", "INDOORS"})
PENALTY_PPM = 200_000  # a finding of this severity counts as detection, and on an honest station as a false alarm
EPOCH_ZERO_MS = 1_735_689_600_000  # 2025-01-01

OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "label": pl.String(),
    "penalised": pl.Boolean(),
    "accused": pl.Boolean(),
    "reasons": pl.List(pl.String()),
}


def world_of(seed: int) -> World:
    """Return the lab's world of a seed; seeds begin on different days of the year, so all seasons take part."""
    return World(seed, EPOCH_ZERO_MS + (seed * 37 % 365) * DAY_MS)


def run_days(
    fleet: Fleet, days: int, params: Mapping[str, Any] | None = None, *, epoch: int = 1
) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """Verify `days` epochs of a day each, the carry handed on; return (findings, stage 1's table) per day."""
    from fieldstone.services.sensing.devices import check_devices

    rules = params if params is not None else default_params()
    registry = fleet.registry
    carry: Mapping[str, pl.DataFrame] = {}
    out = []
    for day in range(days):
        start_ms = fleet.world.start_ms + day * DAY_MS
        evidence = fleet.readings(start_ms, start_ms + DAY_MS)
        whole = EpochInput(
            epoch + day, start_ms, start_ms + DAY_MS, registry, {KIND: evidence}, rules, carry=dict(carry)
        )
        checks = check_devices(whole)
        found = check(whole, checks)
        carry = found.carry
        out.append((found.findings, checks))
    return out


def outcome(fleet: Fleet, findings: pl.DataFrame) -> pl.DataFrame:
    """Return OUTCOME_SCHEMA: per device whether it was penalised, and whether it was accused of fraud."""
    drift = pl.col("reason") == "DRIFT"  # advice counts as detection, though it costs nothing yet
    heavy = findings.filter((pl.col("severity_ppm") >= PENALTY_PPM) | drift)
    per_device = heavy.group_by("device").agg(
        pl.col("reason").unique().sort().alias("reasons"),
        pl.col("reason").is_in(list(FRAUD)).any().alias("accused"),
    )
    return (
        fleet.truth.join(per_device, on="device", how="left")
        .with_columns(
            penalised=pl.col("reasons").is_not_null(),
            accused=pl.col("accused").fill_null(False),
            reasons=pl.col("reasons").fill_null([]),
        )
        .select(list(OUTCOME_SCHEMA))
        .sort("device")
    )


def trial(
    seed: int,
    *,
    honest: int = 150,
    instances: int = 1,
    attacks: Sequence[str] | None = None,
    days: int = 1,
    radius_km: float = 18.0,
    troubles: int = 2,
    interval_s: float | None = None,
    params: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return the outcome of one seed on the last of `days` days; `instances` of each attack, `troubles` of each trouble."""
    names = [name for name in ATTACKS if ATTACKS[name].days <= days] if attacks is None else list(attacks)
    fleet = build_fleet(
        world_of(seed),
        honest=honest,
        attacks=dict.fromkeys(names, instances),
        troubles=dict.fromkeys(TROUBLES, troubles),
        radius_km=radius_km,
        interval_s=interval_s,
    )
    return outcome(fleet, run_days(fleet, days, params)[-1][0])
