"""Whose uploads get a thread: of many gateways none takes them all.

An upload may be slow for a long time (32 KiB a second), and a gateway may send as many as it likes side by side. One that
sends them slowly on purpose keeps most threads, but not the last quarter, so others' shares go on coming in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable


class Turns:
    """Begins work of gateways, so many at a time of each; the rest waits in order. Used from one thread."""

    def __init__(self, threads: int) -> None:
        """`threads`: what all of them share."""
        self._most = max(1, threads - max(1, threads // 4))
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def begin(self, gateway: str, start: Callable[[], None]) -> None:
        """Call `start` now or when it is its turn; `end` has to follow when its work is done."""
        if self._running[gateway] < self._most:
            self._running[gateway] += 1
            start()
        else:
            self._waiting.setdefault(gateway, deque()).append(start)

    def end(self, gateway: str) -> None:
        """Note that work is done, and begin what waited for it."""
        waiting = self._waiting.get(gateway)
        if waiting:
            start = waiting.popleft()
            if not waiting:
                del self._waiting[gateway]
            start()
            return
        self._running[gateway] -= 1
        if not self._running[gateway]:
            del self._running[gateway]
