"""Three real stations: hourly airport observations of 7–9 May 2013, moved in time to the days of the demo.

Source: R package nycflights13 (CC0), table `weather`: ASOS stations EWR, JFK, LGA. It holds a real sensor fault: JFK
reported 13.1 °F between 57.0 and 57.2 °F on 2013-05-09 at 02:00 UTC. The verification should find it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

FIRST_MS = 1_367_884_800_000  # 2013-05-07T00:00Z
OBSERVED_AT_MS = 51 * 60_000  # ASOS stations observe at minute 51; the table keeps the hour only
MODEL = "hourly"
# Published airport coordinates (FAA): degrees, field elevation in metres.
AIRPORTS = {"EWR": (40.6925, -74.1687, 2.1), "JFK": (40.6398, -73.7789, 4.0), "LGA": (40.7772, -73.8726, 6.4)}

_MPH_MS = 0.44704
_INCH_MM = 25.4


@dataclass(frozen=True)
class Observation:
    """One hour of one airport in canonical units; `t_ms` is Unix ms of 2013."""

    airport: str
    t_ms: int
    values: dict[str, float | None]


def load() -> list[Observation]:
    """Return the observations, sorted by airport and time."""
    text = (resources.files("fieldstone.demo") / "nyc_weather.csv").read_text()
    return [_observation(row) for row in csv.DictReader(text.splitlines())]


def _observation(row: dict[str, str]) -> Observation:
    moment = datetime.fromisoformat(row["time_utc"])

    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    temp_f, wind_mph, rain_in = number("temp_f"), number("wind_speed_mph"), number("precip_in")
    values = {
        "temperature_c": None if temp_f is None else round((temp_f - 32) / 1.8, 2),
        "humidity_pct": number("humid_pct"),
        "pressure_hpa": number("pressure_hpa"),
        "wind_speed_ms": None if wind_mph is None else round(wind_mph * _MPH_MS, 3),
        "wind_direction_deg": number("wind_dir_deg"),
        "rain_mm": None if rain_in is None else round(rain_in * _INCH_MM, 3),
    }
    return Observation(row["origin"], int(moment.timestamp() * 1000) + OBSERVED_AT_MS, values)
