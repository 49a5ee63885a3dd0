"""The grid of an epoch, and joining slots."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fieldstone.services.sensing.rules.v1 import default_params
from fieldstone.services.sensing.series import coarsen, grid_of, series

PARAMS = default_params(1)
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("span_ms", "slot_s", "slots"),
    [
        (0, 60, 1),
        (1, 60, 1),
        (600_000, 60, 10),
        (3 * HOUR_MS, 60, 180),
        (24 * HOUR_MS, 300, 288),
        (31 * 24 * HOUR_MS, 300, 8_928),
        (366 * 24 * HOUR_MS, 3_600, 8_784),
    ],
)
def test_the_grid_fits_the_epoch(span_ms: int, slot_s: int, slots: int) -> None:
    grid = grid_of(5_000, 5_000 + span_ms, PARAMS)
    assert (grid.slot_ms, grid.slots) == (slot_s * 1000, slots)
    last = np.array([5_000 + max(span_ms - 1, 0)])
    assert 0 <= grid.slot_of(last)[0] < slots


def test_coarsen_joins_by_the_rule_of_the_channel() -> None:
    values = np.array([[1, 3, np.nan, 5, np.nan, np.nan, 7]], dtype=np.float32)
    np.testing.assert_array_equal(coarsen(values, 2, "temperature_c"), [[2, 5, np.nan, 7]])
    np.testing.assert_array_equal(coarsen(values, 2, "rain_mm"), [[4, 5, np.nan, 7]])
    wrapped = coarsen(np.array([[350, 10]], dtype=np.float32), 2, "wind_direction_deg")[0, 0]
    assert min(wrapped, 360 - wrapped) < 1e-3
    assert coarsen(np.array([[60, 70]], dtype=np.float32), 2, "noise_dba")[0, 0] == pytest.approx(67.40, abs=0.005)


def test_a_device_without_a_channel_is_a_row_of_nan() -> None:
    table = pl.DataFrame({"series_rain_mm": [None, [1.0, 2.0]]}, schema={"series_rain_mm": pl.List(pl.Float32)})
    values = series(table, "rain_mm")
    assert np.isnan(values[0]).all() and values[1].tolist() == [1.0, 2.0]
    nothing = pl.DataFrame({"series_rain_mm": [None]}, schema={"series_rain_mm": pl.List(pl.Float32)})
    assert series(nothing, "rain_mm").shape == (1, 0)
