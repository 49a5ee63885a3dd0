"""What a sensing device reports and what a customer can buy. The documentation tables are generated from here."""

from __future__ import annotations

import polars as pl

from fieldstone.services.contract import Column, Product

KIND = "readings"

# Ranges are what is physically possible on Earth's surface; what a *model* can measure is in rules/.
VARIABLES: tuple[Column, ...] = (
    Column("temperature_c", "°C", "air temperature", (-90.0, 60.0)),
    Column("humidity_pct", "%", "relative humidity", (0.0, 100.0)),
    Column("pressure_hpa", "hPa", "station pressure, not reduced to sea level", (300.0, 1100.0)),
    Column("wind_speed_ms", "m/s", "mean wind speed", (0.0, 115.0)),
    Column("wind_direction_deg", "°", "direction the wind comes from, clockwise from north", (0.0, 360.0)),
    Column("rain_mm", "mm", "rain since the previous reading", (0.0, 50.0)),
    Column("solar_wm2", "W/m²", "global horizontal irradiance", (0.0, 1500.0)),
    Column("pm2_5_ugm3", "µg/m³", "particles up to 2.5 µm", (0.0, 1000.0)),
    Column("pm10_ugm3", "µg/m³", "particles up to 10 µm", (0.0, 2000.0)),
    Column("noise_dba", "dB(A)", "equivalent continuous sound level of the interval", (0.0, 150.0)),
    Column("traffic_count", "vehicles", "vehicles counted since the previous reading", (0.0, 10_000.0)),
)

VARIABLE_NAMES: tuple[str, ...] = tuple(column.name for column in VARIABLES)

EVIDENCE_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "t_ms": pl.Int64(),
    "received_ms": pl.Int64(),
    **{name: pl.Float64() for name in VARIABLE_NAMES},
}

PRODUCTS: tuple[Product, ...] = (
    Product(
        "observations",
        "Verified observations",
        "reading",
        20,
        "Readings by variable, area and time that passed verification, each with its quality. A reading is one value "
        "of one variable of one device at one time.",
    ),
)
