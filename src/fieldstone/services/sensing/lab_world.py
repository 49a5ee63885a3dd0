"""A small physical world: what the air, the light and the street are like at any place and time.

Not a forecast model: fields with the right scales, cycles and couplings, so that honest neighbours agree about as much
as real stations do (17–33 km apart, hourly differences: temperature .5–.6, humidity .4–.5, pressure .93–.95, wind .1–.2;
measured on public airport data) and checks can be scored against a truth. Everything is a function of (seed, place,
time): asking twice, in another order or in smaller steps gives the same answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.services.sensing.fleet.solar import clear_sky_wm2, declination_rad, sin_elevation, solar_hour
from fieldstone.services.sensing.lab_fields import Component, Fields, sphere_km
from fieldstone.services.sensing.lab_noise import stream

Floats = NDArray[np.float64]

LAPSE_C_PER_M = -0.0065  # ICAO standard atmosphere
_HOUR, _DAY = 3600.0, 86_400.0

COMPONENTS: tuple[Component, ...] = (
    Component("temperature", 3.5, 700, 2.5 * _DAY),
    Component("temperature", 0.85, 35, 2 * _HOUR),
    Component("temperature", 0.35, 5, 1500, 96),
    Component("dew_point", 3.5, 600, 2 * _DAY),
    Component("dew_point", 0.9, 25, 2 * _HOUR),
    Component("dew_point", 0.35, 5, 1500, 96),
    Component("pressure", 8.0, 1100, 1.2 * _DAY),
    Component("pressure", 0.12, 60, 2 * _HOUR),
    Component("wind_u", 3.6, 600, 1.2 * _DAY),
    Component("wind_u", 1.5, 14, 1.2 * _HOUR),
    Component("wind_u", 0.9, 3, 700, 96),
    Component("wind_v", 3.6, 600, 1.2 * _DAY),
    Component("wind_v", 1.5, 14, 1.2 * _HOUR),
    Component("wind_v", 0.9, 3, 700, 96),
    Component("cloud", 0.8, 350, 0.8 * _DAY),
    Component("cloud", 0.7, 30, 1.5 * _HOUR),
    Component("cloud", 0.6, 3, 900, 96),
    Component("rain", 0.7, 250, 0.6 * _DAY),
    Component("rain", 0.7, 15, 1.0 * _HOUR),
    Component("particles", 0.55, 400, 1.5 * _DAY),
    Component("particles", 0.28, 20, 2 * _HOUR),
    Component("particles", 0.15, 3, 1200, 96),
    Component("street", 1.0, 1.2, np.inf, 96),  # how busy the nearest road is: fixed in place
    Component("bustle", 1.0, 8, 1.0 * _HOUR),
)


class World:
    """The world of one `seed`. `start_ms` anchors the fields in time; times before and after it are equally valid."""

    def __init__(self, seed: int, start_ms: int, *, steering_ms: float = 9.0) -> None:
        self.seed = seed
        self.start_ms = start_ms
        rng = np.random.default_rng(stream(seed, "world"))
        heading = rng.standard_normal(3)
        self._fields = Fields(seed, COMPONENTS, steering_ms / 1000 * heading / np.linalg.norm(heading))

    def observe(
        self,
        lat: ArrayLike,
        lon: ArrayLike,
        elevation_m: ArrayLike,
        times_ms: ArrayLike,
        *,
        interval_s: float = 60.0,
        smallest_km: float = 0.0,
    ) -> dict[str, Floats]:
        """Return what a perfect instrument reads, by the column names of `schema.VARIABLES`.

        Places are degrees and metres, times Unix ms. One place gives arrays (times,), N places give (N, times).
        `interval_s` is what rain and traffic are summed over. `smallest_km` leaves out finer scales, as a public
        analysis does.
        """
        single = np.ndim(lat) == 0
        la, lo, z = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (lat, lon, elevation_m))
        times = np.atleast_1d(np.asarray(times_ms, dtype=np.int64))
        raw = self._fields.evaluate(sphere_km(la, lo), (times - self.start_ms) / 1000.0, smallest_km)
        out = _compose(raw, la[:, None], lo[:, None], z[:, None], times[None, :], interval_s)
        return {name: values[0] for name, values in out.items()} if single else out


def _compose(
    raw: dict[str, Floats], lat: Floats, lon: Floats, z: Floats, times: NDArray[np.int64], interval_s: float
) -> dict[str, Floats]:
    hour = solar_hour(lon, times)
    sine = sin_elevation(lat, lon, times)
    cloud = 1 / (1 + np.exp(-1.8 * (raw["cloud"] + 0.8 * np.maximum(raw["rain"], 0) - 0.1)))
    rain_mmh = 5.0 * np.maximum(raw["rain"] - 1.05, 0.0) ** 1.3 / 0.4

    season = np.degrees(declination_rad(times)) * np.sign(lat + 1e-9) / 23.44
    climate = 27.0 - 0.0075 * lat**2 + 0.16 * np.abs(lat) * season
    clear = 1 - 0.65 * cloud
    day = np.cos((hour - 15.0) * (np.pi / 12)) + 0.25 * np.cos((hour - 14.0) * (np.pi / 6))
    stirred = 0.55 + 0.9 * np.clip(sine, 0, 1)  # convection by day
    temperature = climate + LAPSE_C_PER_M * z + raw["temperature"] * (0.8 + 0.25 * stirred) + 5.0 * clear * day
    temperature = temperature - 1.5 * np.minimum(rain_mmh / 5, 1)

    dew = climate + LAPSE_C_PER_M * z - 6.0 + raw["dew_point"] + 1.5 * np.minimum(rain_mmh / 3, 1)
    depression = np.logaddexp(0.0, (temperature - dew) * 1.2) / 1.2  # never below zero, smooth near fog
    humidity = 100 * _magnus(temperature - depression) / _magnus(temperature)

    tide = 0.6 * np.cos((hour - 10.0) * (np.pi / 6))
    sea_level = 1014.0 + raw["pressure"] + tide
    pressure = sea_level * np.maximum(1 - 0.0065 * z / 288.15, 0.01) ** 5.2559

    u, v = raw["wind_u"] + 1.5, raw["wind_v"]
    speed = np.hypot(u, v) * (0.45 + 0.45 * stirred)
    direction = np.degrees(np.arctan2(-u, -v)) % 360

    solar = clear_sky_wm2(sine) * (1 - 0.75 * cloud**3.0) * (1 + 0.10 * cloud * (1 - cloud) * 4 * (raw["cloud"] > 0))

    weekend = ((times // 86_400_000 + 3) % 7 >= 5).astype(np.float64)  # 1970-01-01 was a Thursday
    local = (times / 3_600_000 + lon / 15) % 24
    rush = np.exp(-(((local - 8.2) / 1.3) ** 2)) * (1 - 0.75 * weekend) + np.exp(-(((local - 17.6) / 1.8) ** 2)) * (
        1 - 0.4 * weekend
    )
    busy = 0.08 + 0.45 * np.exp(-(((local - 13.5) / 4.5) ** 2)) + 0.6 * rush
    flow_vph = 320 * np.exp(0.9 * raw["street"]) * busy * np.exp(0.15 * raw["bustle"])

    calm = np.exp(-speed / 4)
    pm2_5 = np.exp(np.log(9.0) + raw["particles"] + 0.35 * calm * (1 - np.clip(sine, 0, 1)) + 0.12 * rush)
    pm2_5 = pm2_5 * (1 - 0.5 * np.minimum(rain_mmh / 5, 1))
    pm10 = pm2_5 * 1.35 + 2.0 + 0.8 * speed
    noise = 10 * np.log10(
        10 ** ((34 + 2 * raw["bustle"]) / 10) + 10 ** ((22 + 2.2 * speed) / 10) + 10**2.6 * np.maximum(flow_vph, 1)
    )
    return {
        "temperature_c": temperature,
        "humidity_pct": np.clip(humidity, 1.0, 100.0),
        "pressure_hpa": np.broadcast_to(pressure, temperature.shape).copy(),
        "wind_speed_ms": speed,
        "wind_direction_deg": direction,
        "rain_mm": rain_mmh * (interval_s / 3600),
        "solar_wm2": solar,
        "pm2_5_ugm3": pm2_5,
        "pm10_ugm3": pm10,
        "noise_dba": noise,
        "traffic_count": flow_vph * (interval_s / 3600),
    }


def _magnus(temperature_c: Floats) -> Floats:
    """Return saturation vapour pressure in hPa over water (Magnus form, Sonntag 1990)."""
    return np.asarray(6.112 * np.exp(17.62 * temperature_c / (243.12 + temperature_c)))
