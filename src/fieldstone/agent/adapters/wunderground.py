"""Weather Underground upload protocol: GET with a query, imperial units; many consoles speak it.

`baromin` is by its definition reduced to sea level, so it does not fill `pressure_hpa` (station pressure) unless the
operator says that this console sends the absolute value. `absbaromin`, which some consoles add, always does.
`rainin` is the past hour's rain; the daily total gives rain since the previous reading.
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
    "absbaromin": FormField("pressure_hpa", hectopascal),
    "windspeedmph": FormField("wind_speed_ms", metres_per_second),
    "winddir": FormField("wind_direction_deg", same),
    "solarradiation": FormField("solar_wm2", same),
    "AqPM2.5": FormField("pm2_5_ugm3", same),
    "AqPM10": FormField("pm10_ugm3", same),
}
_SILENT = frozenset(
    {"ID", "PASSWORD", "action", "dateutc", "softwaretype", "realtime", "rtfreq", "dailyrainin", "baromin"}
)


class WeatherUnderground:
    """One station's uploads."""

    success_body = "success"

    def __init__(self, *, baromin_is_absolute: bool = False) -> None:
        self._rain = RunningTotal()
        self._fields = dict(_FIELDS)
        if baromin_is_absolute:
            self._fields["baromin"] = _FIELDS["absbaromin"]

    def parse(self, fields: Mapping[str, str], received_ms: int) -> Parsed:
        """Turn one upload into a reading. Raises UsageError when `dateutc` cannot be read."""
        t_ms, is_station_time = read_time(fields.get("dateutc", ""), received_ms)
        values, ignored, unreadable = read_fields(fields, self._fields, _SILENT)
        try:
            total = read_number(fields.get("dailyrainin", ""))
        except ValueError:
            total, unreadable = None, (*unreadable, "dailyrainin")
        if total is not None:
            values["rain_mm"] = self._rain.since_previous("dailyrainin", millimetres(total))
        return Parsed(Reading(t_ms, values), is_station_time, ignored, unreadable)
