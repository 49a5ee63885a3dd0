"""Stage 1 and the whole verification of a fleet of 16-second stations. Run: python bench/sensing_verify.py [stations]

CPU seconds of all threads of this process; memory is the peak resident set.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import polars as pl

from fieldstone.services.contract import REGISTRY_SCHEMA, EpochInput
from fieldstone.services.sensing import service
from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, sin_elevation
from fieldstone.services.sensing.schema import KIND
from fieldstone.units import DAY_MS

ROWS, STEP_MS, PARTITION = 5_400, 16_000, 100
START_MS = 1_709_164_800_000  # 2024-02-29


def fleet(stations: int, seed: int = 0) -> EpochInput:
    """Return a day of 5,400 rows × 7 variables per station, with gaps, spikes and stuck sensors in one of ten."""
    random = np.random.default_rng(seed)
    shape = (stations, ROWS)
    side = np.sqrt(stations * 4.0) / 111.32  # one station per 4 km²
    lat, lon = 45 + side * random.random(stations), 10 + side * random.random(stations)
    elevation = 100 + 100 * random.random(stations)
    t_ms = START_MS + np.arange(ROWS, dtype=np.int64) * STEP_MS + random.integers(0, 1000, (stations, 1))
    phase = 2 * np.pi * (np.arange(ROWS) * STEP_MS / DAY_MS - 0.375)
    coarse = START_MS + np.arange(288, dtype=np.int64) * 300_000

    def field(swing: float, waves: int = 12) -> np.ndarray:
        """Return weather that neighbours share in part: waves of 5 to 100 km and 1 to 12 hours."""
        total = np.zeros((stations, len(coarse)))
        for _ in range(waves):
            kx, ky = random.standard_normal(2) * 2 * np.pi * 111.32 / random.uniform(5, 100)
            turn = 2 * np.pi * (coarse - START_MS) / (random.uniform(1, 12) * 3_600_000) + random.uniform(0, 6.3)
            total += np.sin((kx * lat + ky * lon)[:, None] + turn)
        return np.repeat(total * swing / np.sqrt(waves / 2), -(-ROWS // len(coarse)), axis=1)[:, :ROWS]

    def channel(mean: float | np.ndarray, swing: float, local: float, noise: float, resolution: float) -> np.ndarray:
        raw = mean + swing * np.sin(phase) + field(local) + noise * random.standard_normal(shape)
        return np.round(raw / resolution) * resolution

    light = clear_sky_wm2(sin_elevation(lat[:, None], lon[:, None], coarse))
    light = np.repeat(light, -(-ROWS // len(coarse)), axis=1)[:, :ROWS] * np.clip(0.8 + field(0.2), 0.1, 1.05)
    columns = {
        "temperature_c": channel((12 - 0.0065 * elevation)[:, None], 5, 0.6, 0.06, 0.1),
        "humidity_pct": np.clip(channel(70, -15, 3, 0.5, 1), 10, 99),
        "pressure_hpa": channel((1013 - elevation / 8.3)[:, None], 1, 0.2, 0.03, 0.1),
        "wind_speed_ms": np.abs(channel(4, 1, 1.2, 0.6, 0.1)),
        "wind_direction_deg": channel(180, 60, 20, 12, 1) % 360,
        "rain_mm": (random.random(shape) < 0.01) * 0.254,
        "solar_wm2": np.round(np.clip(light + 3 * random.standard_normal(shape), 0, None), 1),
    }
    faulty = random.choice(stations, stations // 10, replace=False)
    columns["temperature_c"][faulty, 1000] += 20
    columns["temperature_c"][faulty, 2000:3500] = 7.7
    columns["pressure_hpa"][faulty, 4000:4005] = np.nan
    names = np.array([f"did:key:z6Mk{number:044d}" for number in range(stations)])
    evidence = pl.DataFrame(
        {
            "device": pl.Series(names).gather(np.repeat(np.arange(stations, dtype=np.uint32), ROWS)),
            "t_ms": t_ms.ravel(),
            "received_ms": (t_ms + random.integers(50, 900, shape)).ravel(),
            **{name: values.ravel() for name, values in columns.items()},
        }
    )
    registry = pl.DataFrame(
        {
            "device": names,
            "operator": [f"0x{number % 300:040x}" for number in range(stations)],
            "model": ["WS1000"] * stations,
            "lat": lat,
            "lon": lon,
            "elevation_m": elevation,
            "enrolled_ms": np.zeros(stations, dtype=np.int64),
        },
        schema=REGISTRY_SCHEMA,
    )
    params = service.default_params(1)
    return EpochInput(1, START_MS, START_MS + DAY_MS, registry, {KIND: evidence}, params)


def main() -> None:
    """Print milliseconds of CPU per station-day and peak memory."""
    stations = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    whole = fleet(stations)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = []
    for _ in range(2):
        begin = time.process_time()
        checks = pl.concat(
            [service.check_devices(part) for part in service.partitions(whole, -(-stations // PARTITION))]
        )
        middle = time.process_time()
        verdicts = service.check_fleet(whole, checks)
        spent.append((middle - begin, time.process_time() - middle))
    one, two = (min(column) * 1000 / stations for column in zip(*spent, strict=True))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evidence_mb = whole.evidence[KIND].estimated_size() / 1e6
    print(f"{stations} stations × {ROWS} rows × 7 variables, partitions of {PARTITION}; CPU, best of 2")
    print(
        f"  stage 1 (each device)   {one:7.2f} ms per station-day   published peer 23,600–31,500 ms: {23_600 / one:,.0f}×"
    )
    print(f"  stage 2 (fleet, score)  {two:7.2f} ms per station-day")
    print(
        f"  together                {one + two:7.2f} ms per station-day   {23_600 / (one + two):,.0f}×   target ≤ 10 ms"
    )
    print(
        f"  peak memory {after / 1024:,.0f} MiB, of it before verification {before / 1024:,.0f}; evidence {evidence_mb:,.0f} MB"
    )
    print(
        f"  stage-1 table {checks.estimated_size() / 1e6:,.0f} MB; {verdicts.verdicts['verdict'].value_counts().to_dicts()}"
    )


if __name__ == "__main__":
    main()
