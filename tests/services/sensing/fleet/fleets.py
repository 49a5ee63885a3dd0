"""Fleets for the fleet checks: built from arrays, or a lab day run once and shared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.findings import FleetFindings
from fieldstone.services.sensing.fleet import check
from fieldstone.services.sensing.fleet.frame import Frame, fleet_params
from fieldstone.services.sensing.lab import ATTACKS, TROUBLES, Fleet, build_fleet
from fieldstone.services.sensing.lab_trial import world_of
from fieldstone.services.sensing.rules.v1 import default_params
from fieldstone.services.sensing.schema import KIND
from fieldstone.services.sensing.series import Grid
from fieldstone.services.sensing.verify import check_devices
from fieldstone.units import DAY_MS

PARAMS = default_params()
RULES: dict[str, Any] = dict(fleet_params(PARAMS))
START_MS = 1_750_032_000_000  # 2025-06-16T00:00Z


def frame(
    series: Mapping[str, np.ndarray],
    *,
    spacing_km: float = 2.0,
    operators: list[int] | None = None,
    enrolled_ms: list[int] | None = None,
    slot_ms: int = 300_000,
    elevation_m: float = 100.0,
) -> Frame:
    """Return devices "d000", "d001", … on a square grid of places."""
    n, slots = next(iter(series.values())).shape
    side = int(np.ceil(np.sqrt(n)))
    x, y = np.arange(n) % side, np.arange(n) // side
    return Frame(
        devices=tuple(f"d{k:03}" for k in range(n)),
        operators=np.arange(n) if operators is None else np.asarray(operators),
        lat=48.0 + y * spacing_km / 111.2,
        lon=16.0 + x * spacing_km / (111.2 * np.cos(np.radians(48.0))),
        elevation_m=np.full(n, elevation_m),
        enrolled_ms=np.arange(n) if enrolled_ms is None else np.asarray(enrolled_ms),
        grid=Grid(START_MS, slot_ms, slots),
        series={name: values.astype(np.float32) for name, values in series.items()},
    )


def epoch_of(fleet: Fleet, day: int = 0, *, carry: Mapping[str, pl.DataFrame] | None = None) -> EpochInput:
    """Return one day of a lab fleet as an epoch."""
    start_ms = fleet.world.start_ms + day * DAY_MS
    evidence = fleet.readings(start_ms, start_ms + DAY_MS)
    return EpochInput(
        day + 1, start_ms, start_ms + DAY_MS, fleet.registry, {KIND: evidence}, PARAMS, carry=dict(carry or {})
    )


@lru_cache(maxsize=1)
def lab_day() -> tuple[Fleet, EpochInput, pl.DataFrame, FleetFindings]:
    """Return a lab fleet with one instance of every one-day attack: fleet, epoch, stage 1's table, findings."""
    names = [name for name, attack in ATTACKS.items() if attack.days == 1]
    fleet = build_fleet(world_of(1), honest=100, attacks=names, troubles=TROUBLES)
    whole = epoch_of(fleet)
    checks = check_devices(whole)
    return fleet, whole, checks, check(whole, checks)


def labelled(fleet: Fleet, findings: pl.DataFrame) -> pl.DataFrame:
    """Return the findings with the truth beside them."""
    return findings.join(fleet.truth, on="device", how="left")
