"""The compact form in which a device's epoch travels from stage 1 to stage 2: one row per device.

Each variable becomes one list of slot values on a grid that depends only on the epoch and the parameters, never on
the partition. Slot k covers [start + k·slot, start + (k+1)·slot). A slot's value is made of the readings that passed
the row-level checks (time stamp, range, spike, cross-channel; *stuck values stay in*, the fleet should see them):
the mean; the sum for `rain_mm` and `traffic_count`; the mean direction for `wind_direction_deg`; the energy mean for
`noise_dba`. A slot without an accepted reading is NaN. A device that sent nothing usable of a variable has null
instead of a list, which costs no memory; `series` turns that into a row of NaN.

A model that reports once an hour fills one slot in twelve; `coarsen` brings mixed fleets to a common, coarser step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.schema import VARIABLE_NAMES

# Losses of one device: rows and milliseconds of vouched time that a check took away from a variable ("" = all).
LOSS = pl.Struct(
    {
        "check": pl.String(),
        "variable": pl.String(),
        "reason": pl.String(),
        "rows": pl.Int64(),
        "lost_ms": pl.Int64(),
        "measured": pl.Float64(),
        "threshold": pl.Float64(),
    }
)
# The run of equal values that was still open at the end of the epoch, for the next epoch's stuck check.
RUN = pl.Struct({"variable": pl.String(), "value": pl.Float64(), "since_ms": pl.Int64(), "last_ms": pl.Int64()})

# Stage 1's table. Sorted by device, one row per device of the registry.
RESAMPLED: dict[str, pl.DataType] = {
    "device": pl.String(),
    "model": pl.String(),  # the model whose limits were applied ("generic" for an unknown one)
    "step_s": pl.Int64(),  # that model's expected interval between readings
    "slot_ms": pl.Int64(),  # width of a slot of the series below
    "expected_ms": pl.Int64(),  # time of the epoch since the device was enrolled
    "available_ms": pl.Int64(),  # time for which readings vouch (coverage.py)
    "rows": pl.Int64(),  # evidence rows in the epoch
    "longest_gap_ms": pl.Int64(),
    "delay_median_ms": pl.Int64(),  # received − observed; null without rows
    **{f"passed_ms_{name}": pl.Int64() for name in VARIABLE_NAMES},  # vouched time whose value passed every check
    **{f"series_{name}": pl.List(pl.Float32()) for name in VARIABLE_NAMES},
    "losses": pl.List(LOSS),
    "runs": pl.List(RUN),
    "row_flags": pl.List(pl.UInt16()),  # per evidence row, bit k set: its value of VARIABLE_NAMES[k] passed
}

SLOT_LADDER_S = (10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Grid:
    """Slots of an epoch: `slots` of `slot_ms` each from `start_ms`; the last may reach beyond the epoch's end."""

    start_ms: int
    slot_ms: int
    slots: int

    def slot_of(self, t_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the slot number of each time."""
        return (t_ms - self.start_ms) // self.slot_ms

    @property
    def centres_ms(self) -> NDArray[np.int64]:
        """Middle of each slot in Unix ms."""
        return self.start_ms + self.slot_ms // 2 + self.slot_ms * np.arange(self.slots, dtype=np.int64)


def grid_of(start_ms: int, end_ms: int, params: Mapping[str, Any]) -> Grid:
    """Return the grid of an epoch: `fleet_step_s`, finer for short epochs, coarser for very long ones.

    Below `fleet_min_slots` slots the step goes down the ladder, to 60 s at least; above `fleet_max_slots` it goes up.
    A year at the defaults has hourly slots, a day 5-minute slots, three hours or less 60-second slots.
    """
    span_ms = max(0, end_ms - start_ms)
    slot_s = int(params["fleet_step_s"])
    for finer in reversed([step for step in SLOT_LADDER_S if 60 <= step < slot_s]):
        if span_ms >= slot_s * 1000 * int(params["fleet_min_slots"]):
            break
        slot_s = finer
    for coarser in [step for step in SLOT_LADDER_S if step > slot_s]:
        if span_ms <= slot_s * 1000 * int(params["fleet_max_slots"]):
            break
        slot_s = coarser
    slot_ms = slot_s * 1000
    return Grid(start_ms, slot_ms, max(1, -(-span_ms // slot_ms)))


def series(device_checks: pl.DataFrame, variable: str) -> NDArray[np.float32]:
    """Return the slot values of `variable` as an array (devices, slots) in the table's order; NaN where missing."""
    column = device_checks[f"series_{variable}"]
    slots = int(column.list.len().max() or 0)  # type: ignore[arg-type]
    values = np.full((device_checks.height, slots), np.nan, dtype=np.float32)
    filled = column.is_not_null().to_numpy()
    if slots and filled.any():
        values[filled] = column.drop_nulls().explode().to_numpy().reshape(-1, slots)
    return values


def coarsen(values: NDArray[np.float32], factor: int, variable: str) -> NDArray[np.float32]:
    """Join `factor` slots into one by the variable's rule (sum, mean direction, energy mean, else mean); NaN = missing."""
    devices, slots = values.shape
    padded = np.full((devices, -(-slots // factor) * factor), np.nan, dtype=np.float64)
    padded[:, :slots] = values
    blocks = padded.reshape(devices, -1, factor)
    present = ~np.isnan(blocks)
    count = present.sum(axis=2)
    filled = np.where(present, blocks, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if variable in ("rain_mm", "traffic_count"):
            out = filled.sum(axis=2)
        elif variable == "wind_direction_deg":
            angle = np.deg2rad(filled)
            sine, cosine = (np.sin(angle) * present).sum(axis=2), (np.cos(angle) * present).sum(axis=2)
            out = np.rad2deg(np.arctan2(sine, cosine)) % 360.0
        elif variable == "noise_dba":
            out = 10.0 * np.log10((10.0 ** (filled / 10.0) * present).sum(axis=2) / count)
        else:
            out = filled.sum(axis=2) / count
    return np.where(count > 0, out, np.nan).astype(np.float32)
