"""Copied streams with lag, scale, offset and noise; and honest neighbours that are no copies."""

from __future__ import annotations

import numpy as np
import pytest

from fieldstone.services.sensing.fleet.copies import Judge, screen
from fieldstone.services.sensing.fleet.frame import Frame, voters
from fieldstone.services.sensing.fleet.signals import movement, signs, unit
from tests.services.sensing.fleet.fleets import RULES, frame


def honest(n: int = 40, slots: int = 288, shared: float = 0.6, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random walks of which neighbours share a part, as air does."""
    rng = np.random.default_rng(seed)

    def walk(sd: float, start: float) -> np.ndarray:
        common = rng.standard_normal((1, slots)) * shared
        return start + np.cumsum(sd * (common + rng.standard_normal((n, slots))), axis=1) * 0.5

    return {
        "temperature_c": np.round(walk(0.2, 12), 1),
        "humidity_pct": np.round(walk(1.0, 60)),
        "wind_speed_ms": np.round(np.abs(walk(0.4, 20)), 1),
    }


def found(fleet: Frame) -> set[tuple[int, int]]:
    pairs = Judge(fleet, voters(fleet, 8, 25.0), RULES).certain(*screen(fleet, RULES))
    return set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))


def test_honest_neighbours_are_no_copies() -> None:
    assert found(frame(honest())) == set()


@pytest.mark.parametrize("lag", [0, 1, 5, 11])
@pytest.mark.parametrize(("gain", "shift", "noise"), [(1.0, 0.0, 0.0), (0.7, 3.0, 0.0), (1.3, -2.0, 0.1)])
def test_a_copy_is_found(lag: int, gain: float, shift: float, noise: float) -> None:
    series = honest()
    rng = np.random.default_rng(1)
    for values in series.values():
        veil = noise * values[0].std() * 0.1 * rng.standard_normal(values.shape[1])
        values[33, lag:] = gain * values[2, : values.shape[1] - lag] + shift + veil[lag:]
    assert found(frame(series)) == {(2, 33)}


def test_the_lag_says_who_follows() -> None:
    series = honest()
    for values in series.values():
        values[5, 4:] = values[30, :-4]
    fleet = frame(series)
    pairs = Judge(fleet, voters(fleet, 8, 25.0), RULES).certain(*screen(fleet, RULES))
    assert (pairs.i.tolist(), pairs.j.tolist(), pairs.lag.tolist()) == ([5], [30], [-4])


def test_a_copy_with_gaps_and_missing_channels_is_found() -> None:
    series = honest()
    for values in series.values():
        values[7] = values[20]
        values[7, 40:70] = np.nan
    series["humidity_pct"][7] = np.nan
    assert found(frame(series)) == {(7, 20)}


def test_a_copy_of_half_the_day_is_found_with_its_share() -> None:
    series = honest(slots=288)
    for values in series.values():
        values[7, 144:] = values[20, 144:]
    fleet = frame(series)
    pairs = Judge(fleet, voters(fleet, 8, 25.0), RULES).certain(*screen(fleet, RULES))
    assert (7, 20) in set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))


def test_constant_and_empty_series_are_nobodys_copies() -> None:
    series = honest()
    for values in series.values():
        values[3:6] = 5.0
        values[8:11] = np.nan
    assert found(frame(series)) == set()


def test_too_short_an_epoch_is_not_judged() -> None:
    series = {name: values[:, :20] for name, values in honest().items()}
    for values in series.values():
        values[3] = values[4]
    assert found(frame(series)) == set()


def test_movement_forgets_level_and_scale_but_not_gaps() -> None:
    values = np.cumsum(np.random.default_rng(2).standard_normal((1, 60)), axis=1).astype(np.float32)
    values[0, 30] = np.nan
    one, other = movement(values, 2), movement(7 * values + 100, 2)
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert np.isnan(one[0, 29:32]).all() and np.isfinite(one[0, 40])


def test_signs_are_the_same_on_every_machine() -> None:
    matrix = signs("copies/temperature_c", 4, 8) * np.sqrt(8)
    assert (matrix > 0).astype(int).sum() == 13  # the bits of SHAKE-256: a fixed number
    assert set(np.unique(np.round(matrix, 5))) == {-1.0, 1.0}


def test_unit_rows_have_length_one_or_zero() -> None:
    rows = unit(np.array([[3.0, np.nan, 4.0], [np.nan, np.nan, np.nan]], dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1.0, 0.0])
