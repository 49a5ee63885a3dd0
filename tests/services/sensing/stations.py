"""Small hand-made epochs for the station checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fieldstone.services.contract import REGISTRY_SCHEMA, EpochInput
from fieldstone.services.sensing import service
from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation
from fieldstone.services.sensing.pack import unnest
from fieldstone.services.sensing.schema import EVIDENCE_SCHEMA, KIND
from fieldstone.units import DAY_MS, HOUR_MS

LEAP_DAY_MS = 1_709_164_800_000  # 2024-02-29T00:00Z
PARAMS = service.default_params(1)


def readings(device: str, t_ms: Any, delay_ms: int = 500, **columns: Any) -> pl.DataFrame:
    """Return evidence rows of one device; missing channels are null."""
    times = np.asarray(t_ms, dtype=np.int64)
    table = {"device": [device] * len(times), "t_ms": times, "received_ms": times + delay_ms}
    for name, values in columns.items():
        table[name] = pl.Series(
            name, list(np.broadcast_to(np.asarray(values, dtype=object), times.shape)), dtype=pl.Float64
        )
    frame = pl.DataFrame(table)
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in EVIDENCE_SCHEMA.items()
    )


def registry(*devices: str, model: str = "WS2000", enrolled_ms: int = 0) -> pl.DataFrame:
    """Return a registry of devices in a row of places."""
    count = len(devices)
    return pl.DataFrame(
        {
            "device": sorted(devices),
            "operator": [f"0x{number:040x}" for number in range(count)],
            "model": [model] * count,
            "lat": [45 + 0.3 * number for number in range(count)],
            "lon": [10.0] * count,
            "elevation_m": [100.0] * count,
            "enrolled_ms": [enrolled_ms] * count,
        },
        schema=REGISTRY_SCHEMA,
    )


def epoch(
    evidence: pl.DataFrame,
    devices: pl.DataFrame,
    *,
    start_ms: int = LEAP_DAY_MS,
    length_ms: int = DAY_MS,
    params: Mapping[str, Any] = PARAMS,
    number: int = 1,
) -> EpochInput:
    """Return an epoch input with sorted evidence."""
    ordered = evidence.sort("device", "t_ms", maintain_order=True)
    return EpochInput(number, start_ms, start_ms + length_ms, devices, {KIND: ordered}, params)


def no_readings() -> pl.DataFrame:
    """Return evidence without a row."""
    return pl.DataFrame(schema=EVIDENCE_SCHEMA)


def weather(device: str, t_ms: Any, seed: int = 0, **replaced: Any) -> pl.DataFrame:
    """Return believable weather of a seven-channel station; `replaced` overrides channels."""
    times = np.asarray(t_ms, dtype=np.int64)
    random = np.random.default_rng(seed)
    phase = 2 * np.pi * ((times % DAY_MS) / DAY_MS - 0.375)
    count = len(times)
    channels: dict[str, Any] = {
        "temperature_c": np.round(12 + 5 * np.sin(phase) + 0.05 * random.standard_normal(count), 1),
        "humidity_pct": np.round(65 - 15 * np.sin(phase) + 0.5 * random.standard_normal(count)),
        "pressure_hpa": np.round(1010 + 2 * np.cos(phase / 2) + 0.05 * random.standard_normal(count), 1),
        "wind_speed_ms": np.round(np.abs(3 + random.standard_normal(count)), 1),
        "wind_direction_deg": np.round((200 + 20 * random.standard_normal(count)) % 360),
        "rain_mm": 0.254 * (random.random(count) < 0.02),
        "solar_wm2": np.round(
            clear_sky_wm2(sin_elevation(45.0, 10.0, times)) * (1 + 0.02 * random.standard_normal(count))
        ),
    }
    return readings(device, times, **(channels | replaced))


def every(step_s: float, length_ms: int = DAY_MS, start_ms: int = LEAP_DAY_MS) -> np.ndarray:
    """Return times from `start_ms` on, `step_s` apart."""
    return np.arange(start_ms, start_ms + length_ms, int(step_s * 1000), dtype=np.int64)


def losses(whole: EpochInput) -> dict[tuple[str, str], dict[str, Any]]:
    """Return stage 1's losses of a one-device epoch by (variable, reason)."""
    rows = unnest(service.check_devices(whole), "losses").iter_rows(named=True)
    return {(row["variable"], row["reason"]): row for row in rows}


__all__ = [
    "DAY_MS",
    "HOUR_MS",
    "LEAP_DAY_MS",
    "PARAMS",
    "epoch",
    "every",
    "losses",
    "no_readings",
    "readings",
    "registry",
    "weather",
]
