"""Sun positions against published ones."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from fieldstone.services.sensing.fleet.solar import (
    clear_sky_wm2,
    declination_rad,
    equation_of_time_min,
    sin_elevation,
    solar_hour,
)


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("when", "degrees"),
    [((2025, 6, 21, 12), 23.44), ((2025, 12, 21, 12), -23.44), ((2025, 3, 20, 9), 0.0), ((2024, 2, 29, 12), -7.8)],
)
def test_declination_at_solstices_equinox_and_leap_day(when: tuple[int, ...], degrees: float) -> None:
    # solstices and equinox by definition of the obliquity; 29 February from NOAA's solar tables
    assert np.degrees(declination_rad(ms(*when))) == pytest.approx(degrees, abs=0.5)


@pytest.mark.parametrize(("when", "minutes"), [((2025, 2, 11), -14.2), ((2025, 11, 3), 16.4), ((2025, 4, 15), 0.0)])
def test_equation_of_time_extremes(when: tuple[int, ...], minutes: float) -> None:
    assert equation_of_time_min(ms(*when)) == pytest.approx(minutes, abs=0.6)  # the Astronomical Almanac's extremes


def test_position_of_the_published_spa_example() -> None:
    # NREL SPA report (Reda, Andreas 2003): 2003-10-17 12:30:30 −7 h, 39.742476° N, 105.1786° W: zenith 50.11°
    sine = sin_elevation(39.742476, -105.1786, ms(2003, 10, 17, 19, 30, 30))
    assert 90 - np.degrees(np.arcsin(sine)) == pytest.approx(50.11, abs=0.3)


def test_solar_noon_moves_four_minutes_per_degree() -> None:
    at = ms(2025, 5, 1, 12)
    assert solar_hour(15.0, at) - solar_hour(0.0, at) == pytest.approx(1.0)


def test_clear_sky_is_dark_at_night_and_below_the_solar_constant() -> None:
    light = clear_sky_wm2(np.array([-0.5, 0.0, 0.1, 1.0]))
    assert light[0] == light[1] == 0.0
    assert 0 < light[2] < light[3] < 1361
    assert light[3] == pytest.approx(1037, abs=2)  # Haurwitz at the zenith
