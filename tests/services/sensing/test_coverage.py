"""Vouched time: exact, bounded by the epoch, indifferent to jitter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.sensing.coverage import longest_gap, vouched

END = 10_000


@given(
    st.lists(st.integers(0, END - 1), unique=True, min_size=1).map(sorted),
    st.integers(1, 20_000),
    st.integers(0, END - 1),
)
def test_vouched_time_is_the_union_of_the_readings_reach(times: list[int], hold: int, begin: int) -> None:
    times = [t for t in times if t >= begin] or [begin]
    covered = np.zeros(END, dtype=bool)
    for t in times:
        covered[t : min(t + hold, END)] = True
    covered[max(begin, times[0] - hold) : times[0]] = True
    got = vouched(np.array(times), np.zeros(len(times), np.int32), np.array([begin]), END, np.array([hold]))
    assert got.sum() == covered.sum()
    assert got.sum() <= END - begin


@given(st.lists(st.integers(0, END - 1), unique=True, max_size=30).map(sorted))
def test_devices_do_not_touch_each_other(times: list[int]) -> None:
    one = vouched(np.array(times, np.int64), np.zeros(len(times), np.int32), np.array([0]), END, np.array([500]))
    twice = np.array(times + times, np.int64)
    device = np.repeat(np.array([0, 2], np.int32), len(times))
    both = vouched(twice, device, np.zeros(3, np.int64), END, np.array([500, 1, 500]))
    np.testing.assert_array_equal(both, np.concatenate((one, one)))


def test_longest_gap_counts_the_edges() -> None:
    device = np.array([0, 0, 1], np.int32)
    times = np.array([4_000, 5_000, 9_000])
    assert longest_gap(times, device, np.array([0, 2_000, 0]), END).tolist() == [5_000, 7_000, 10_000]
