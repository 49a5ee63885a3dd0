"""Live challenges: one disk behind several names, bytes fetched from elsewhere; and where latency tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.live import fetched_from_elsewhere, shared_bottleneck


def times(seed: int, base: float, jitter: float, count: int = 20) -> list[float]:
    dice = np.random.default_rng(seed)
    return (base + dice.gamma(2.0, jitter, count)).tolist()


def test_three_names_on_one_disk_slow_each_other_down() -> None:
    """128 seeks of 8 ms: one second alone, three in turn."""
    hits = [shared_bottleneck(times(s, 1_040, 40), times(s + 500, 3_040, 90)).is_shared for s in range(200)]
    assert all(hits)


def test_own_disks_do_not_even_on_bad_lines() -> None:
    alarms = [shared_bottleneck(times(s, 1_040, 150), times(s + 500, 1_040, 150)).is_shared for s in range(1_000)]
    assert not any(alarms)


def test_a_line_that_gets_a_third_slower_in_the_evening_is_no_disk() -> None:
    assert not any(shared_bottleneck(times(s, 900, 60), times(s + 9, 1_200, 80)).is_shared for s in range(200))


def test_flash_behind_one_machine_is_not_seen() -> None:
    """The stated limit: 128 reads of 0.1 ms hide in the jitter of any line."""
    hits = [shared_bottleneck(times(s, 53, 15), times(s + 500, 79, 15)).is_shared for s in range(200)]
    assert sum(hits) < 60


def test_few_measurements_prove_nothing() -> None:
    assert not shared_bottleneck([1.0] * 11, [9.0] * 11).is_shared
    assert shared_bottleneck([1.0] * 12, [9.0] * 12).is_shared


@given(st.lists(st.floats(0, 1e6), min_size=8, max_size=30))
def test_the_same_times_are_never_a_bottleneck(sample: list[float]) -> None:
    assert not shared_bottleneck(sample, sample).is_shared
    assert shared_bottleneck(sample, sample).z == pytest.approx(0, abs=1e-6)


def test_flash_that_answers_like_the_other_side_of_the_planet() -> None:
    """16 reads of 0.2 ms need 3 ms; a fetch over 80 ms does not fit in three times that."""
    near, far = times(1, 45, 2), times(2, 125, 6)
    ping = times(3, 40, 1)
    assert fetched_from_elsewhere(far, ping, questions=16, seek_ms=0.2).is_far
    assert not fetched_from_elsewhere(near, ping, questions=16, seek_ms=0.2).is_far
    assert not fetched_from_elsewhere(far, ping, questions=128, seek_ms=8.0).is_far  # the limit: a disk is slower
    assert not fetched_from_elsewhere(far[:11], ping, questions=16, seek_ms=0.2).is_far


def test_impossible_measurements_are_refused() -> None:
    with pytest.raises(UsageError):
        shared_bottleneck([-1.0], [1.0])
    with pytest.raises(UsageError):
        fetched_from_elsewhere([1.0], [1.0], questions=0, seek_ms=1)
