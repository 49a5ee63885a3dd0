"""Ecowitt "customized upload", protocol type Ecowitt: form POST, imperial units (aioecowitt 2025.3.1 for the names).

Only `baromabsin` fills `pressure_hpa`: the column is station pressure, and `baromrelin` is reduced to sea level.
"""

from __future__ import annotations

from collections.abc import Mapping

from fieldstone.agent.adapters.form import (
    FormField,
    Parsed,
    RunningTotal,
    celsius,
    hectopascal,
    metres_per_second,
    millimetres,
    read_fields,
    read_number,
    read_time,
    same,
)
from fieldstone.agent.buffer import Reading

_FIELDS = {
    "tempf": FormField("temperature_c", celsius),
    "humidity": FormField("humidity_pct", same),
    "baromabsin": FormField("pressure_hpa", hectopascal),
    "windspeedmph": FormField("wind_speed_ms", metres_per_second),
    "winddir": FormField("wind_direction_deg", same),
    "solarradiation": FormField("solar_wm2", same),
    "pm25_ch1": FormField("pm2_5_ugm3", same),
    "pm25_co2": FormField("pm2_5_ugm3", same),
    "pm10_co2": FormField("pm10_ugm3", same),
}
# The total that is set back least often loses least. Piezo gauges have their own names.
_RAIN_TOTALS = ("totalrainin", "yearlyrainin", "dailyrainin", "yrain_piezo", "drain_piezo")
_SILENT = frozenset({"PASSKEY", "stationtype", "model", "freq", "dateutc", "runtime", "interval", *_RAIN_TOTALS})


class Ecowitt:
    """One station's uploads."""

    success_body = "OK"

    def __init__(self) -> None:
        self._rain = RunningTotal()

    def parse(self, fields: Mapping[str, str], received_ms: int) -> Parsed:
        """Turn one upload into a reading. Raises UsageError when `dateutc` cannot be read."""
        t_ms, is_station_time = read_time(fields.get("dateutc", ""), received_ms)
        values, ignored, unreadable = read_fields(fields, _FIELDS, _SILENT)
        for name in _RAIN_TOTALS:
            try:
                total = read_number(fields.get(name, ""))
            except ValueError:
                unreadable = (*unreadable, name)
                continue
            if total is not None:
                values["rain_mm"] = self._rain.since_previous(name, millimetres(total))
                break
        return Parsed(Reading(t_ms, values), is_station_time, ignored, unreadable)
