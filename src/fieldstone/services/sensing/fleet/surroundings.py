"""What the stations around a device say: medians of its voters and of a wider ring, brought to the device's elevation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from fieldstone.services.sensing.fleet.frame import Bools, Floats, Frame, Series, Voters, vote_median, voters
from fieldstone.services.sensing.fleet.signals import channel, movement

LAPSE_C_PER_M = -0.0065
_GRAVITY, _GAS = 9.80665, 287.05  # m/s², J/(kg·K) for dry air

# Channel → weight in the kinship with the weather around; pressure weighs little: it is alike far away.
KIN: Mapping[str, float] = {
    "temperature_c": 0.6,
    "humidity_pct": 0.6,
    "pressure_hpa": 0.5,
    "wind_speed_ms": 1.0,
    "wind_east": 0.7,
    "wind_north": 0.7,
    "solar_wm2": 0.7,
    "pm2_5_ugm3": 1.0,
}


class Surroundings:
    """Neighbour medians of one fleet on coarse slots, computed when asked for. `allowed`: who may vote."""

    def __init__(self, frame: Frame, params: Mapping[str, Any], allowed: Bools) -> None:
        self.fine = frame
        # a short epoch gets narrower slots, so that enough of them remain to judge by
        span_s = frame.grid.slots * frame.grid.slot_ms / 1000
        self.frame = frame.coarser(int(min(params["coarse_slot_s"], span_s / (2 * params["min_slots"]))))
        self.params = params
        self.near = voters(frame, int(params["votes"]), float(params["radius_km"]), allowed=allowed)
        self.ring = voters(
            frame,
            int(params["ring_votes"]),
            float(params["ring_to_km"]),
            allowed=allowed,
            min_km=float(params["ring_from_km"]),
            cell_km=float(params["ring_cell_km"]),
        )
        self._cache: dict[tuple[str, str], Floats] = {}

    def has(self, name: str) -> bool:
        """Return whether anybody reports the channel."""
        return ("wind_direction_deg" if name in ("wind_east", "wind_north") else name) in self.frame.series

    def values(self, name: str) -> Floats:
        """Return a channel on coarse slots; pressure reduced to sea level with the temperature of the surroundings."""
        if name == "pressure_hpa":
            return self._sea_level
        return channel(self.frame, name).astype(np.float64)

    def median(self, name: str) -> Floats:
        """Return the voters' median per device and slot, at the device's elevation; NaN where too few vote."""
        return self._median(name, "near", self.near, int(self.params["min_votes"]))

    def ring_median(self, name: str) -> Floats:
        """Return the median of the wider ring."""
        return self._median(name, "ring", self.ring, int(self.params["ring_min_votes"]))

    def _median(self, name: str, which: str, by: Voters, least: int) -> Floats:
        key = (which, name)
        if key not in self._cache:
            shift = -LAPSE_C_PER_M * self.frame.elevation_m if name == "temperature_c" else None
            self._cache[key] = vote_median(_series(self.values(name)), by, least, shift)
        return self._cache[key]

    @cached_property
    def _sea_level(self) -> Floats:
        around = self.median("temperature_c")
        own = channel(self.frame, "temperature_c").astype(np.float64)
        celsius = np.where(np.isfinite(around), around, np.where(np.isfinite(own), own, 15.0))
        column_k = celsius + 273.15 - LAPSE_C_PER_M * self.frame.elevation_m[:, None] / 2
        height = self.frame.elevation_m[:, None]
        pressure = channel(self.frame, "pressure_hpa").astype(np.float64)
        return np.asarray(pressure * np.exp(_GRAVITY * height / (_GAS * np.maximum(column_k, 200.0))))

    @cached_property
    def kinship(self) -> Mapping[str, Floats]:
        """Correlation of hourly movements with the voters' median, per channel; NaN: too few slots or votes."""
        out: dict[str, Floats] = {}
        width = max(1, round(3_600_000 / self.frame.grid.slot_ms))
        width = min(width, max(1, self.frame.grid.slots // 16))
        for name in KIN:
            if self.has(name):
                own = movement(_series(self.values(name)), width)
                around = movement(_series(self.median(name)), width)
                out[name] = correlation(own, around, int(self.params["min_slots"]))
        return out

    @cached_property
    def mean_kinship(self) -> Floats:
        """Weighted mean of `kinship` over the channels, NaN where none could be judged."""
        total, weight = np.zeros(self.frame.count), np.zeros(self.frame.count)
        for name, r in self.kinship.items():
            known = np.isfinite(r)
            total += np.where(known, KIN[name] * np.nan_to_num(r), 0.0)
            weight += np.where(known, KIN[name], 0.0)
        return np.where(weight > 0, np.round(total / np.where(weight > 0, weight, 1.0), 4), np.nan)


def _series(values: Floats) -> Series:
    return np.asarray(values, dtype=np.float32)


def correlation(x: Series, y: Series, least: int) -> Floats:
    """Return the correlation of each row over common slots, NaN below `least` of them or without movement."""
    both = np.isfinite(x) & np.isfinite(y)
    n = both.sum(axis=1)
    count = np.maximum(n, 1)
    a, b = np.where(both, x, 0).astype(np.float64), np.where(both, y, 0).astype(np.float64)
    a = np.where(both, a - (a.sum(axis=1) / count)[:, None], 0)
    b = np.where(both, b - (b.sum(axis=1) / count)[:, None], 0)
    power = np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)
    r = np.einsum("ij,ij->i", a, b) / np.sqrt(np.where(power > 1e-12, power, 1.0))
    return np.where((n >= least) & (power > 1e-12), np.round(r, 4), np.nan)


def row_quantile(values: Floats, share: float, least: int) -> Floats:
    """Return the quantile of each row over its finite values (nearest rank), NaN below `least` of them."""
    ordered = np.sort(values, axis=1)
    present = np.isfinite(ordered).sum(axis=1)
    rank = np.clip(np.floor(share * (present - 1) + 0.5).astype(np.int64), 0, max(values.shape[1] - 1, 0))
    if values.shape[1] == 0:
        return np.full(values.shape[0], np.nan)
    return np.where(present >= max(least, 1), np.take_along_axis(ordered, rank[:, None], 1)[:, 0], np.nan)
