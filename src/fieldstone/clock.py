"""Clocks. Only the edges read one; the core is given times as arguments (DESIGN §4.1)."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time in Unix milliseconds."""

    def now_ms(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SetClock:
    """A clock that stands still until it is set: replayed observations and tests run on it."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Move to `now_ms`. Raises ValueError when that lies in the past: time never runs backwards."""
        with self._lock:
            if now_ms < self._now_ms:
                raise ValueError(f"clock at {self._now_ms} ms cannot go back to {now_ms} ms")
            self._now_ms = now_ms
