"""Spikes: of two readings that differ by more than the channel can move, find the wrong one.

The wrong one is the reading farther from the median of its surroundings (a window of *time*, not of rows). Readings
between a jump away and the jump back are wrong too, and so are equal readings that follow. Without a median both
are suspicious. A device of which a large share of intervals jumps has no median to trust: its jumping readings are
noise. Rule: public WeatherXM QoD text; the share rule and the run between two jumps are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fieldstone.services.sensing.flags import Flags
from fieldstone.services.sensing.limits import Limits, per_row
from fieldstone.services.sensing.rows import Rows
from fieldstone.services.sensing.value_checks import TOLERANCE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_HALF_WINDOW = 64  # readings on each side that a median looks at, at most
MIN_JUMPS_FOR_NOISE = 8
BLOCK = 20_000  # medians computed at a time; bounds memory


def check_spikes(rows: Rows, variable: str, flags: Flags, limits: Limits) -> None:
    """Mark SPIKE, UNIDENTIFIED_SPIKE and NOISY readings of one channel."""
    jump = limits.channel(variable, "jump")
    if not np.isfinite(jump).any():
        return
    x, where = rows.values[variable], None
    if flags.code.any() or np.isnan(x).any():
        where = np.flatnonzero((flags.code == 0) & ~np.isnan(x))
        x = x[where]
    device = rows.device if where is None else rows.device[where]
    if len(x) < 2:
        return
    t_ms = rows.t_ms if where is None else rows.t_ms[where]
    step = np.abs(np.diff(x))
    left = np.flatnonzero(step > per_row(jump, device[1:]) * (1 + TOLERANCE))
    left = left[device[left] == device[left + 1]]
    if len(left) == 0:
        return
    of = device[left]
    since_s = (t_ms[left + 1] - t_ms[left]) / 1000.0
    limit = jump[of] * np.maximum(1.0, since_s / limits.channel(variable, "jump_s")[of])
    limit = np.fmin(limit, limits.channel(variable, "jump_max")[of])
    real = (step[left] > limit * (1 + TOLERANCE)) & (since_s <= limits.model("jump_gap_s")[of])
    left, of, limit = left[real], of[real], limit[real]
    if len(left) == 0:
        return
    intervals = np.bincount(device, minlength=rows.devices)
    jumps = np.bincount(of, minlength=rows.devices)
    share = float(limits.params["spike_noisy_ppm"]) / 1e6
    noisy = (jumps >= MIN_JUMPS_FOR_NOISE) & (jumps > share * intervals)
    back = np.arange(len(x), dtype=np.int64) if where is None else where
    loud = noisy[of]
    if loud.any():
        pairs = np.unique(np.concatenate((left[loud], left[loud] + 1)))
        flags.fail(back[pairs], "NOISY", (jumps / np.maximum(intervals, 1))[device[pairs]], share)
        left, of, limit = left[~loud], of[~loud], limit[~loud]
    if len(left):
        _judge(x, t_ms, device, left, limit, flags, back, limits)


def _judge(
    x: Floats,
    t_ms: Ints,
    device: NDArray[np.int32],
    left: Ints,
    limit: Floats,
    flags: Flags,
    back: Ints,
    limits: Limits,
) -> None:
    right = left + 1
    points = np.unique(np.concatenate((left, right)))
    median = np.full(len(x), np.nan)
    window_s, step_s = _windows(t_ms, device, points, limits)
    median[points] = _medians(x, t_ms, device, points, limits, window_s, step_s)
    size = np.abs(x[right] - x[left])
    known = ~np.isnan(median[left]) & ~np.isnan(median[right])
    unknown = np.concatenate((left[~known], right[~known]))
    if len(unknown):
        twice = np.concatenate((size[~known], size[~known]))
        flags.fail(back[unknown], "UNIDENTIFIED_SPIKE", twice, np.concatenate((limit[~known], limit[~known])))
    left, right, limit, size = left[known], right[known], limit[known], size[known]
    if len(left) == 0:
        return
    right_wrong = np.abs(x[right] - median[right]) >= np.abs(x[left] - median[left])
    first = np.where(right_wrong, right, left)
    last = first.copy()
    # from a jump away to the jump back: everything between is wrong
    away_and_back = np.flatnonzero(
        right_wrong[:-1]
        & ~right_wrong[1:]
        & (device[left[:-1]] == device[left[1:]])
        & (t_ms[left[1:]] - t_ms[right[:-1]] <= window_s[device[left[:-1]]] * 500)
    )
    last[away_and_back] = left[away_and_back + 1]
    # equal readings that follow the wrong one
    same = np.zeros(len(x), dtype=np.bool_)
    same[:-1] = (x[1:] == x[:-1]) & (device[1:] == device[:-1])
    changes = np.flatnonzero(~same)
    last = np.maximum(last, np.where(right_wrong, changes[np.searchsorted(changes, first)], last))
    lengths = last - first + 1
    rows = np.repeat(first - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())
    rows, kept = np.unique(rows, return_index=True)
    flags.fail(back[rows], "SPIKE", np.repeat(size, lengths)[kept], np.repeat(limit, lengths)[kept])


def _windows(t_ms: Ints, device: NDArray[np.int32], points: Ints, limits: Limits) -> tuple[Floats, Floats]:
    """Return per device the median's window and the interval between readings, in seconds.

    A station that reports more slowly than its model gets a window wide enough for `median_min_readings`.
    """
    window_s, step_s = limits.model("median_window_s").copy(), limits.model("step_s").copy()
    wanted = np.unique(device[points])
    begin, end = np.searchsorted(device, wanted, side="left"), np.searchsorted(device, wanted, side="right")
    for who, low, high in zip(wanted.tolist(), begin.tolist(), end.tolist(), strict=True):  # few devices come here
        if high - low > 1:
            step_s[who] = max(step_s[who], float(np.median(np.diff(t_ms[low:high]))) / 1000)
    return np.maximum(window_s, limits.params["median_min_readings"] * step_s), step_s


def _medians(
    x: Floats,
    t_ms: Ints,
    device: NDArray[np.int32],
    points: Ints,
    limits: Limits,
    window_s: Floats,
    step_s: Floats,
) -> Floats:
    """Return the median of the surroundings of each point; NaN when too few readings are there."""
    window_ms = window_s * 1000
    expected = window_s / step_s
    half = np.minimum(np.ceil(expected / 2), MAX_HALF_WINDOW).astype(np.int64)
    needed = np.maximum(3, limits.model("median_share") * np.minimum(expected, 2 * half + 1))
    reach = int(half[np.unique(device[points])].max())
    offsets = np.arange(-reach, reach + 1)
    found = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        of = device[block]
        reach_of = half[of]
        # near the ends of a device's rows the window slides inwards, so that the first reading has a median too
        centre = np.minimum(block, np.searchsorted(device, of, side="right") - 1 - reach_of)
        centre = np.maximum(centre, np.searchsorted(device, of, side="left") + reach_of)
        near = centre[:, None] + offsets
        inside = (near < len(x)) & (np.abs(offsets) <= reach_of[:, None])
        near = np.clip(near, 0, len(x) - 1)
        inside &= (device[near] == of[:, None]) & (np.abs(t_ms[near] - t_ms[block][:, None]) <= window_ms[of][:, None])
        values = np.sort(np.where(inside, x[near], np.inf), axis=1)
        count = inside.sum(axis=1)
        row = np.arange(len(block))
        middle = (values[row, np.maximum(count - 1, 0) // 2] + values[row, count // 2]) / 2
        found[start : start + BLOCK] = np.where(count >= needed[of], middle, np.nan)
    return found
