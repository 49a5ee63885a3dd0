"""Time for which readings vouch, in whole milliseconds.

A reading vouches until the device's next reading, at most `hold_s` of its model; the first one also for up to
`hold_s` before it, back to the epoch's start or the enrolment. So jitter costs nothing, gaps cost what they last, and
a flood of readings earns no more than the time it spans.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def vouched(t_ms: Ints, device: NDArray[np.int32], begin_ms: Ints, end_ms: int, hold_ms: Ints) -> Ints:
    """Return each row's vouched time. `begin_ms`, `hold_ms` per device; rows sorted by device and time, times unique."""
    if len(t_ms) == 0:
        return np.zeros(0, dtype=np.int64)
    hold = hold_ms[device] if (hold_ms != hold_ms[0]).any() else hold_ms[0]
    until_next = np.empty(len(t_ms), dtype=np.int64)
    np.subtract(t_ms[1:], t_ms[:-1], out=until_next[:-1])
    last = np.append(np.flatnonzero(device[1:] != device[:-1]), len(t_ms) - 1)
    until_next[last] = end_ms - t_ms[last]
    time = np.minimum(until_next, hold)
    first = np.append(0, last[:-1] + 1)
    of = device[first]
    time[first] += np.minimum(t_ms[first] - begin_ms[of], hold_ms[of])
    return time


def longest_gap(t_ms: Ints, device: NDArray[np.int32], begin_ms: Ints, end_ms: int) -> Ints:
    """Return per device the longest time without a reading, counting the edges of the epoch."""
    longest = np.maximum(end_ms - begin_ms, 0)
    if len(t_ms) == 0:
        return longest
    first = np.append(0, np.flatnonzero(device[1:] != device[:-1]) + 1)
    last = np.append(first[1:], len(t_ms)) - 1
    step = np.zeros(len(t_ms), dtype=np.int64)
    step[1:] = t_ms[1:] - t_ms[:-1]
    of = device[first]
    step[first] = t_ms[first] - begin_ms[of]
    longest[of] = np.maximum(np.maximum.reduceat(step, first), end_ms - t_ms[last])
    return longest
