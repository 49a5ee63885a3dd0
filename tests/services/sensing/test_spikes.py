"""Of two values that differ too much, the wrong one is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fieldstone.services.sensing import service
from tests.services.sensing.stations import epoch, every, losses, readings, registry, weather

STEP = every(16)


def spiked(values: np.ndarray, times: np.ndarray = STEP, model: str = "WS1000") -> dict:
    found = losses(epoch(weather("a", times, temperature_c=values), registry("a", model=model)))
    return {reason: row for (variable, reason), row in found.items() if variable == "temperature_c"}


def quiet(count: int = len(STEP)) -> np.ndarray:
    return 12.0 + 0.1 * (np.arange(count) % 3)


@pytest.mark.parametrize("place", [0, 1, 1000, len(STEP) - 2, len(STEP) - 1])
def test_a_single_spike_is_one_row_wherever_it_stands(place: int) -> None:
    values = quiet()
    values[place] += 20
    found = spiked(values)
    assert set(found) == {"SPIKE"}
    assert found["SPIKE"]["rows"] == 1
    assert found["SPIKE"]["measured"] == pytest.approx(20, abs=0.3)


def test_the_run_between_jump_away_and_jump_back_is_wrong() -> None:
    values = quiet()
    values[1000:1008] += 20 + 0.2 * np.arange(8)
    assert spiked(values)["SPIKE"]["rows"] == 8


def test_equal_values_after_the_wrong_one_are_wrong() -> None:
    values = quiet()
    values[1000:1005] = 40.0
    values[1005:1012] = 40.9 - np.arange(7) * 1.9  # creeps back without a jump
    found = spiked(values)
    assert found["SPIKE"]["rows"] >= 5


def test_the_jump_is_measured_in_time_not_in_rows() -> None:
    """4 °C within 16 s is a spike; the same change across a hole of 20 minutes is weather."""
    times = np.concatenate((STEP[:1000], STEP[1080:]))
    values = np.concatenate((quiet(1000), quiet(len(STEP) - 1080) + 4))
    assert spiked(values, times) == {}
    whole = np.concatenate((quiet(1000), quiet(len(STEP) - 1000) + 4))
    assert set(spiked(whole)) == {"SPIKE"}


def test_without_a_median_both_are_suspicious() -> None:
    found = spiked(np.array([10.0, 30.0]), STEP[:2])
    assert found["UNIDENTIFIED_SPIKE"]["rows"] == 2


def test_noise_has_no_median_to_trust() -> None:
    random = np.random.default_rng(1)
    found = spiked(np.round(12 + 6 * random.standard_normal(len(STEP)), 1))
    assert set(found) == {"NOISY"}
    assert found["NOISY"]["rows"] > 0.9 * len(STEP)


def test_a_value_on_the_limit_passes_after_a_change_of_units() -> None:
    """9 °F is exactly 5 °C: a limit of 5 must not flag it by a rounding error."""
    times = every(3600)
    fahrenheit = np.where(np.arange(24) % 2, 59.0, 50.0)
    whole = epoch(
        readings("a", times, temperature_c=(fahrenheit - 32) / 1.8, humidity_pct=50.0, wind_speed_ms=3.0),
        registry("a", model="hourly"),
    )
    tight = epoch_with(whole, "models.hourly.variables.temperature_c.jump", 5.0)
    assert ("temperature_c", "SPIKE") not in losses(tight)
    below = epoch_with(whole, "models.hourly.variables.temperature_c.jump", 4.9)
    assert any(variable == "temperature_c" for variable, _ in losses(below))


def epoch_with(whole, key: str, value: float):
    return dataclasses.replace(whole, params=service.with_overrides(whole.params, {key: value}))


def test_wind_direction_never_jumps() -> None:
    direction = np.where(np.arange(len(STEP)) % 2, 359.0, 1.0)
    found = losses(epoch(weather("a", STEP, wind_direction_deg=direction), registry("a", model="WS1000")))
    assert found == {}
