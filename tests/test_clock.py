from __future__ import annotations

import time

import pytest

from fieldstone.clock import SetClock, SystemClock


def test_the_system_clock_tells_unix_milliseconds() -> None:
    assert abs(SystemClock().now_ms() - time.time() * 1000) < 60_000


def test_a_set_clock_stands_still_and_never_runs_backwards() -> None:
    clock = SetClock(1_000)
    assert clock.now_ms() == clock.now_ms() == 1_000
    clock.set(1_000)
    clock.set(2_000)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.set(1_999)
    assert clock.now_ms() == 2_000
