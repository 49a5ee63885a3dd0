"""The fleet as arrays: who stands where, what each reported on the common grid, and who may judge whom.

Votes: a station is judged by its nearest neighbours, one per operator (the nearest), never by its own operator's
devices. So nobody is penalised on the votes of one operator, and a farm has one vote. Stations that an earlier check
found to be copies do not vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[attr-defined]

from fieldstone.services.contract import EpochInput
from fieldstone.services.sensing.schema import VARIABLE_NAMES
from fieldstone.services.sensing.series import Grid, coarsen, grid_of, series

Floats = NDArray[np.float64]
Series = NDArray[np.float32]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

EARTH_KM = 6371.0
_BLOCK = 512  # devices gathered at a time: 512 · 8 neighbours · 288 slots · 8 bytes = 9 MB


@dataclass(frozen=True)
class Frame:
    """`series`: variable → (devices, slots), NaN where missing, only variables that somebody reported. Sorted by device."""

    devices: tuple[str, ...]
    operators: Indices  # numbered
    lat: Floats
    lon: Floats
    elevation_m: Floats
    enrolled_ms: Indices
    grid: Grid
    series: Mapping[str, Series]

    @property
    def count(self) -> int:
        return len(self.devices)

    @cached_property
    def places_km(self) -> Floats:
        """Positions on the sphere, (devices, 3)."""
        phi, lam = np.radians(self.lat), np.radians(self.lon)
        return np.asarray(
            EARTH_KM * np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
        )

    def distance_km(self, i: Indices, j: Indices) -> Floats:
        """Return chord distances between devices i and j (0.02 % short of the arc at 500 km)."""
        return np.asarray(np.linalg.norm(self.places_km[i] - self.places_km[j], axis=-1))

    def get(self, variable: str) -> Series:
        """Return the series of a variable, all NaN when nobody reports it."""
        found = self.series.get(variable)
        return np.full((self.count, self.grid.slots), np.nan, dtype=np.float32) if found is None else found

    def coarser(self, slot_s: int) -> Frame:
        """Return the frame with slots of at least `slot_s` seconds."""
        factor = max(1, round(slot_s * 1000 / self.grid.slot_ms))
        if factor == 1:
            return self
        joined = {name: coarsen(values, factor, name) for name, values in self.series.items()}
        grid = Grid(self.grid.start_ms, self.grid.slot_ms * factor, -(-self.grid.slots // factor))
        return replace(self, grid=grid, series=joined)


def frame_of(whole: EpochInput, device_checks: pl.DataFrame) -> Frame:
    """Return the fleet of an epoch from stage 1's table. Devices that are not in the registry are left out."""
    grid = grid_of(whole.start_ms, whole.end_ms, whole.params)
    registry = whole.registry.unique("device", keep="first", maintain_order=True)
    table = device_checks.join(registry.drop("model"), on="device", how="inner").sort("device")
    found: dict[str, Series] = {}
    for name in VARIABLE_NAMES:
        if table.height and table[f"series_{name}"].is_not_null().any():
            values = series(table, name)
            if values.shape[1] == grid.slots and np.isfinite(values).any():
                found[name] = np.where(np.isfinite(values), values, np.float32(np.nan))
    operators = table["operator"].fill_null("").rank("dense").to_numpy().astype(np.int64)

    def numbers(name: str) -> Floats:
        values = table[name].cast(pl.Float64).fill_null(0.0).to_numpy().astype(np.float64)
        return np.asarray(np.clip(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), -20_000.0, 20_000.0))

    return Frame(
        devices=tuple(table["device"].to_list()),
        operators=operators,
        lat=numbers("lat"),
        lon=numbers("lon"),
        elevation_m=numbers("elevation_m"),
        enrolled_ms=table["enrolled_ms"].fill_null(0).to_numpy().astype(np.int64),
        grid=grid,
        series=found,
    )


@dataclass(frozen=True)
class Voters:
    """For each device its voters: `index` (devices, k), nearest first; −1 where there is none."""

    index: Indices
    distance_km: Floats

    @cached_property
    def count(self) -> Indices:
        return np.asarray((self.index >= 0).sum(axis=1), dtype=np.int64)


def voters(
    frame: Frame,
    votes: int,
    radius_km: float,
    *,
    allowed: Bools | None = None,
    min_km: float = 0.0,
    cell_km: float = 0.0,
) -> Voters:
    """Return the nearest `votes` devices of other operators within `radius_km`, one per operator.

    `allowed` marks the devices that may vote. With `cell_km` there is also one vote per cube of that size, so that a
    crowd in one place, whatever its addresses, is one vote among many places.
    """
    n = frame.count
    none = Voters(np.full((n, votes), -1, dtype=np.int64), np.full((n, votes), np.inf))
    pool = np.flatnonzero(allowed) if allowed is not None else np.arange(n)
    if n < 2 or pool.size < 1:
        return none
    look = min(pool.size, 6 * votes + 1)
    cube = np.floor(frame.places_km / cell_km).astype(np.int64) if cell_km > 0 else np.zeros((n, 3), dtype=np.int64)
    cell = (cube[:, 0] * 8192 + cube[:, 1]) * 8192 + cube[:, 2]
    tree = cKDTree(frame.places_km[pool])
    distance, nearest = tree.query(frame.places_km, k=look, distance_upper_bound=radius_km)
    distance, nearest = distance.reshape(n, look), nearest.reshape(n, look)
    real = np.isfinite(distance)
    index = np.where(real, pool[np.where(real, nearest, 0)], -1)
    # equal distances (stations on one roof) would leave the order to the tree: sort by (distance, device)
    order = np.lexsort((index, np.where(real, np.round(distance, 6), np.inf)), axis=1)
    index, distance = np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)
    out_index, out_distance = none.index.copy(), none.distance_km.copy()
    for begin in range(0, n, _BLOCK):
        rows = slice(begin, min(n, begin + _BLOCK))
        ids, far = index[rows], distance[rows]
        operator = np.where(ids >= 0, frame.operators[ids], -1)
        own = operator == frame.operators[rows][:, None]
        fit = (ids >= 0) & ~own & (far >= min_km)
        same = operator[:, :, None] == operator[:, None, :]
        if cell_km > 0:
            crowd = np.where(ids >= 0, cell[ids], -1)
            same |= crowd[:, :, None] == crowd[:, None, :]
        same &= fit[:, None, :]
        earlier = np.tril(np.ones((look, look), dtype=bool), -1)
        fit &= ~(same & earlier).any(axis=2)
        first = np.argsort(~fit, axis=1, kind="stable")[:, :votes]
        keep = np.take_along_axis(fit, first, 1)
        width = first.shape[1]
        out_index[rows, :width] = np.where(keep, np.take_along_axis(ids, first, 1), -1)
        out_distance[rows, :width] = np.where(keep, np.take_along_axis(far, first, 1), np.inf)
    return Voters(out_index, out_distance)


def vote_median(values: Series, by: Voters, min_votes: int, shift: Floats | None = None) -> Floats:
    """Return the median of the voters' values per device and slot; NaN with fewer than `min_votes`.

    `shift` (devices,): added to a voter's value and subtracted again for the judged one: +0.0065·z for temperature.
    """
    n, slots = values.shape
    out = np.full((n, slots), np.nan)
    if slots == 0 or n == 0:
        return out
    moved = values.astype(np.float64) + (shift[:, None] if shift is not None else 0.0)
    for begin in range(0, n, _BLOCK):
        rows = slice(begin, min(n, begin + _BLOCK))
        ids = by.index[rows]
        seen = np.where((ids >= 0)[:, :, None], moved[ids], np.nan)
        ordered = np.sort(np.swapaxes(seen, 1, 2), axis=2)  # NaN last
        present = np.isfinite(ordered).sum(axis=2)
        low = np.maximum((present - 1) // 2, 0)[:, :, None]
        high = np.minimum(present // 2, ordered.shape[2] - 1)[:, :, None]
        middle = (np.take_along_axis(ordered, low, 2) + np.take_along_axis(ordered, high, 2))[:, :, 0] / 2
        out[rows] = np.where(present >= min_votes, middle, np.nan)
    return out - shift[:, None] if shift is not None else out


def dense(frame: Frame) -> Frame:
    """Return the frame with slots so wide that most devices fill them.

    Movements are differences of neighbouring slots: a fleet that reports every ten minutes has none on five-minute slots.
    Only when more than half of the devices with data fill less than 90 % of their slots, and at most twelvefold.
    """
    if not frame.series or not frame.grid.slots:
        return frame
    filled = np.max([np.isfinite(values).mean(axis=1) for values in frame.series.values()], axis=0)
    filled = np.sort(filled[filled > 0])
    if filled.size == 0 or (middle := float(filled[filled.size // 2])) >= 0.9:
        return frame
    factor = int(min(12, np.ceil(round(1 / middle, 2))))
    return frame.coarser(frame.grid.slot_ms * factor // 1000)


def fleet_params(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of the fleet checks, completed with the defaults of rule version 1."""
    from fieldstone.services.sensing.rules.fleet_v1 import PARAMETERS

    return {name: setting.value for name, setting in PARAMETERS.items()} | dict(params.get("fleet", {}))
