"""Where the sun stands, and how much light a clear sky gives.

Sun position: the low-precision series of Spencer (1971) as published by NOAA's solar calculator; within about 0.3° of
the full algorithm between 1950 and 2050, that is 1.2 minutes of solar time. Clear sky: Haurwitz (1945).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fieldstone.units import DAY_MS

Floats = NDArray[np.float64]


def _day_angle(times_ms: NDArray[np.int64]) -> Floats:
    """Return the angle of the year in radians; leap years included because the year's own length divides."""
    moments = times_ms.astype("datetime64[ms]")
    year = moments.astype("datetime64[Y]")
    begin = year.astype("datetime64[ms]")
    length = (year + 1).astype("datetime64[ms]") - begin
    return np.asarray(2 * np.pi * ((moments - begin) / length), dtype=np.float64)


def declination_rad(times_ms: ArrayLike) -> Floats:
    """Return the sun's declination in radians."""
    g = _day_angle(np.asarray(times_ms, dtype=np.int64))
    return np.asarray(
        0.006918
        - 0.399912 * np.cos(g)
        + 0.070257 * np.sin(g)
        - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g)
        + 0.00148 * np.sin(3 * g)
    )


def equation_of_time_min(times_ms: ArrayLike) -> Floats:
    """Return apparent minus mean solar time in minutes."""
    g = _day_angle(np.asarray(times_ms, dtype=np.int64))
    return np.asarray(
        229.18
        * (0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g))
    )


def solar_hour(lon: ArrayLike, times_ms: ArrayLike) -> Floats:
    """Return apparent solar time in hours, 0 … 24; 12 is solar noon. Broadcasts `lon` (degrees) against the times."""
    times = np.asarray(times_ms, dtype=np.int64)
    hours = (times % DAY_MS) / 3_600_000 + equation_of_time_min(times) / 60
    return np.asarray((hours + np.asarray(lon, dtype=np.float64) / 15) % 24)


def sin_elevation(lat: ArrayLike, lon: ArrayLike, times_ms: ArrayLike) -> Floats:
    """Return the sine of the sun's elevation. Broadcasts places (degrees) against Unix milliseconds."""
    phi = np.radians(np.asarray(lat, dtype=np.float64))
    delta = declination_rad(times_ms)
    hour_angle = (solar_hour(lon, times_ms) - 12) * (np.pi / 12)
    return np.asarray(np.sin(phi) * np.sin(delta) + np.cos(phi) * np.cos(delta) * np.cos(hour_angle))


def clear_sky_wm2(sine_elevation: ArrayLike) -> Floats:
    """Return clear-sky global horizontal irradiance in W/m² (Haurwitz: 1098·sin h·exp(−0.057/sin h))."""
    s = np.clip(np.asarray(sine_elevation, dtype=np.float64), 1e-4, 1.0)
    return np.where(np.asarray(sine_elevation) > 0, 1098.0 * s * np.exp(-0.057 / s), 0.0)
