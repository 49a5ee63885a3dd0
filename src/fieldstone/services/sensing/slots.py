"""Fill the slots of `series.py` from readings: means, sums, mean directions, energy means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.rows import Rows
from fieldstone.services.sensing.series import Grid

# sin, log and pow may differ in the last bit between processors; what is rounded this far does not
_SAFE_DECIMALS = 3


@dataclass(frozen=True)
class SlotPlan:
    """Where the rows of each occupied slot begin, and which (device, slot) it is; shared by all channels."""

    first: NDArray[np.int64]
    cell: NDArray[np.int64]
    devices: int
    slots: int


def plan_slots(rows: Rows, grid: Grid) -> SlotPlan:
    """Group rows, which are sorted by device and time, into slots."""
    cell = rows.device.astype(np.int64) * grid.slots + grid.slot_of(rows.t_ms)
    first = (
        np.concatenate(([0], np.flatnonzero(cell[1:] != cell[:-1]) + 1)) if len(cell) else np.zeros(0, dtype=np.int64)
    )
    return SlotPlan(first.astype(np.int64), cell[first], rows.devices, grid.slots)


def fill_slots(plan: SlotPlan, variable: str, values: NDArray[np.float64], good: NDArray[np.bool_] | None) -> pl.Series:
    """Return one list of slot values per device; null where a device has none. `good` None: all are."""
    name = f"series_{variable}"
    dense = np.full(plan.devices * plan.slots, np.nan, dtype=np.float32)
    if len(plan.first):
        dense[plan.cell] = _reduce(plan.first, variable, values, good)
    table = dense.reshape(plan.devices, plan.slots)
    filled = ~np.isnan(table).all(axis=1)
    lists = pl.Series(name, table[filled], dtype=pl.Array(pl.Float32, plan.slots)).cast(pl.List(pl.Float32))
    if filled.all():
        return lists
    picked = np.where(filled, np.cumsum(filled) - 1, -1)
    return lists.gather(pl.Series(picked).replace({-1: None}).cast(pl.UInt32)).alias(name)


def _reduce(
    first: NDArray[np.int64], variable: str, values: NDArray[np.float64], good: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    if good is None:
        count = np.diff(np.append(first, len(values)))
    else:
        count = np.add.reduceat(good.astype(np.int64), first)
        values = np.where(good, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if variable == "wind_direction_deg":
            angle = np.deg2rad(values)
            sine, cosine = np.sin(angle), np.cos(angle)
            if good is not None:
                cosine = np.where(good, cosine, 0.0)
            out = np.rad2deg(np.arctan2(np.add.reduceat(sine, first), np.add.reduceat(cosine, first))) % 360.0
            out = np.round(out, _SAFE_DECIMALS)
        elif variable == "noise_dba":
            energy = 10.0 ** (np.minimum(values, 300.0) / 10.0)
            if good is not None:
                energy = np.where(good, energy, 0.0)
            out = np.round(10.0 * np.log10(np.add.reduceat(energy, first) / count), _SAFE_DECIMALS)
        elif variable in ("rain_mm", "traffic_count"):
            out = np.add.reduceat(values, first)
        else:
            out = np.add.reduceat(values, first) / count
    return np.where(count > 0, out, np.nan)
