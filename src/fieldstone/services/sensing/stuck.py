"""Stuck sensors: runs of equal values that last longer than the weather allows.

Equal means closer than a twentieth of the channel's resolution, so a wiggle below the resolution does not help. A run is
measured in time, may be interrupted by failed readings, ends at a hole in the data, and continues across epochs
(`carry`). A station whose observed steps are coarser than the nominal resolution gets a window stretched in proportion.

Exceptions, after the public WeatherXM QoD text: temperature and humidity in fog; amounts, darkness and other rest
(`idle`); wind direction in calm; calm itself in damp air or while the direction turns; frost (reason FROZEN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fieldstone.services.sensing.flags import Flags
from fieldstone.services.sensing.limits import Limits, per_row
from fieldstone.services.sensing.rows import Rows
from fieldstone.units import HOUR_MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

WIND = ("wind_speed_ms", "wind_direction_deg")
CARRY = "station_runs"
CARRY_SCHEMA: dict[str, pl.DataType] = {
    "device": pl.String(),
    "variable": pl.String(),
    "value": pl.Float64(),
    "since_ms": pl.Int64(),
    "last_ms": pl.Int64(),
}


@dataclass(frozen=True)
class OpenRuns:
    """The last run of each device in one channel: position of the device, value, first and last time in ms."""

    place: Ints
    value: Floats
    since_ms: Ints
    last_ms: Ints


NO_RUNS = OpenRuns(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def check_stuck(rows: Rows, variable: str, flags: dict[str, Flags], limits: Limits, before: OpenRuns) -> OpenRuns:
    """Mark STUCK and FROZEN readings of one channel; `before` are the runs open at the end of the previous epoch."""
    window_min = limits.channel(variable, "constant_min")
    mine = flags[variable]
    x, t_ms, device = rows.values[variable], rows.t_ms, rows.device
    where = np.arange(len(x), dtype=np.int64)
    if mine.code.any() or np.isnan(x).any():
        where = np.flatnonzero((mine.code == 0) & ~np.isnan(x))
        x, t_ms, device = x[where], t_ms[where], device[where]
    if len(where) == 0 or not np.isfinite(window_min).any():
        return NO_RUNS
    equal_below = limits.channel(variable, "resolution") / 20
    hole_ms = np.maximum(limits.model("step_s") * 1000 * limits.params["stuck_gap_steps"], HOUR_MS)
    step = np.abs(np.diff(x))
    breaks = step > per_row(equal_below, device[1:])
    breaks |= (device[1:] != device[:-1]) | (np.diff(t_ms) > per_row(hole_ms, device[1:]))
    first = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    last = np.append(first[1:], len(x)) - 1
    since_ms, of = t_ms[first].copy(), device[first]
    opening = np.concatenate(([True], of[1:] != of[:-1]))
    _continue(since_ms, x[first], of, opening, before, equal_below, hole_ms)
    lasted_min = (t_ms[last] - since_ms) / 60_000.0
    long = np.flatnonzero(lasted_min > window_min[of])
    if len(long):
        idle = limits.channel(variable, "idle")[of[long]]
        long = long[~(x[first[long]] <= idle)]
    if len(long):
        allowed = window_min[of[long]] * _stretch(x, device, step, of[long], limits, variable)
        over = lasted_min[long] > allowed
        long, allowed = long[over], allowed[over]
    if len(long):
        verdict = _weather(rows, variable, flags, limits, where[first[long]], where[last[long]], lasted_min[long])
        lengths = last[long] - first[long] + 1
        spread = np.repeat(np.arange(len(long)), lengths)
        member = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[long][spread]
        for reason in ("STUCK", "FROZEN"):
            hit = (verdict == reason)[spread]
            mine.fail(where[member[hit]], reason, lasted_min[long][spread][hit], allowed[spread][hit])
    closing = np.flatnonzero(np.concatenate((of[1:] != of[:-1], [True])))
    return OpenRuns(of[closing].astype(np.int64), x[first[closing]], since_ms[closing], t_ms[last[closing]])


def _continue(
    since_ms: Ints, value: Floats, of: NDArray[np.int32], opening: Mask, before: OpenRuns, equal: Floats, hole: Floats
) -> None:
    """Let a device's first run begin where the previous epoch's last one did, when value and time fit."""
    start = np.flatnonzero(opening)
    _, mine, theirs = np.intersect1d(of[start], before.place, assume_unique=True, return_indices=True)
    run, who = start[mine], before.place[theirs]
    fits = np.abs(value[run] - before.value[theirs]) <= equal[who]
    fits &= (since_ms[run] > before.last_ms[theirs]) & (since_ms[run] - before.last_ms[theirs] <= hole[who])
    since_ms[run[fits]] = before.since_ms[theirs[fits]]


def _stretch(
    x: Floats, device: NDArray[np.int32], step: Floats, of: NDArray[np.int32], limits: Limits, variable: str
) -> Floats:
    """Return how much longer a coarse instrument may stay on one value: observed by nominal resolution, bounded."""
    resolution = limits.channel(variable, "resolution")
    wanted = np.unique(of)
    begin, end = np.searchsorted(device, wanted, side="left"), np.searchsorted(device, wanted, side="right")
    factor = np.ones(len(resolution))
    for who, low, high in zip(wanted.tolist(), begin.tolist(), end.tolist(), strict=True):  # few devices come here
        moves = step[low : high - 1]
        moves = moves[moves > resolution[who] / 20]
        if len(moves) >= limits.params["stuck_min_steps"]:
            factor[who] = min(max(float(moves.min()) / resolution[who], 1.0), float(limits.params["stuck_max_stretch"]))
    return factor[of]


def _weather(
    rows: Rows, variable: str, flags: dict[str, Flags], limits: Limits, first: Ints, last: Ints, lasted_min: Floats
) -> NDArray[np.str_]:
    """Return STUCK, FROZEN or "" (excused) for each run of rows first … last."""
    params = limits.params
    verdict = np.full(len(first), "STUCK", dtype="U6")
    humidity = _mean(rows, "humidity_pct", flags, first, last)
    if variable in ("temperature_c", "humidity_pct"):
        if variable == "humidity_pct":  # a run is its own mean
            humidity = rows.values[variable][first]
        verdict[humidity >= params["fog_humidity_pct"]] = ""
        return verdict
    if variable not in WIND:
        return verdict
    frozen = _mean(rows, "temperature_c", flags, first, last) <= params["frozen_c"]
    if variable == "wind_direction_deg":
        verdict[_mean(rows, "wind_speed_ms", flags, first, last) <= params["calm_ms"]] = ""
    else:
        calm = rows.values[variable][first] <= params["calm_ms"]
        damp = ~(humidity < params["dry_humidity_pct"])  # also when humidity is unknown
        turning = _varies(rows, "wind_direction_deg", first, last)
        verdict[calm & (turning | damp) & (lasted_min <= params["stuck_max_min"])] = ""
    verdict[(verdict == "STUCK") & frozen] = "FROZEN"
    return verdict


def _mean(rows: Rows, variable: str, flags: dict[str, Flags], first: Ints, last: Ints) -> Floats:
    """Return the mean of another channel over each run; NaN where it has no good reading."""
    if variable not in rows.values:
        return np.full(len(first), np.nan)
    values = rows.values[variable]
    good = ~np.isnan(values) & flags[variable].good_for_series()
    ends = np.minimum(last + 1, len(values))
    total, count = np.empty(len(first)), np.empty(len(first))
    for run, (low, high) in enumerate(zip(first.tolist(), ends.tolist(), strict=True)):  # few runs come here
        inside = good[low:high]
        total[run], count[run] = values[low:high][inside].sum(), inside.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count


def _varies(rows: Rows, variable: str, first: Ints, last: Ints) -> Mask:
    """Return where another channel takes at least three values during a run."""
    if variable not in rows.values:
        return np.zeros(len(first), dtype=np.bool_)
    values = rows.values[variable]
    runs = zip(first.tolist(), last.tolist(), strict=True)
    return np.array(
        [len(np.unique(part[~np.isnan(part)])) >= 3 for part in (values[a : b + 1] for a, b in runs)], dtype=bool
    )


def open_runs(carry: pl.DataFrame | None, registry: pl.DataFrame) -> dict[str, OpenRuns]:
    """Read the carried runs of the devices in `registry`, by channel, each sorted by position."""
    if carry is None or carry.is_empty():
        return {}
    places = registry.select("device").with_row_index("place")
    known = (
        carry.join(places, on="device")
        .sort("variable", "place")
        .unique(("variable", "place"), keep="first", maintain_order=True)
    )
    return {
        str(name[0]): OpenRuns(
            part["place"].cast(pl.Int64).to_numpy(),
            part["value"].to_numpy(),
            part["since_ms"].to_numpy(),
            part["last_ms"].to_numpy(),
        )
        for name, part in known.group_by("variable", maintain_order=True)
    }
