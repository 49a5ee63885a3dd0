"""Whose uploads get a thread: neither one gateway nor several together take them all.

An upload may be slow for a long time (32 KiB a second), and a gateway may send as many as it likes side by side. So who has
threads already gets another only up to three for each that then stays free: one gateway alone comes to three quarters, two
that act together to three sevenths each, k of them leave one thread in 3k + 1, and who has none may take the last one.
The rule is that of switches with shared memory (dynamic thresholds, Choudhury and Hahne 1998).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

_GREED = 3  # threads that one gateway may have for each that stays free


class Turns:
    """Begins work of gateways, never more than there are threads; the rest waits in order. Used from one thread."""

    def __init__(self, threads: int) -> None:
        """`threads`: what all of them share."""
        self._free = threads
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def begin(self, gateway: str, start: Callable[[], None]) -> None:
        """Call `start` now or when it is its turn; `end` has to follow when its work is done."""
        self._waiting.setdefault(gateway, deque()).append(start)
        self._go_on()

    def end(self, gateway: str) -> None:
        """Note that work is done, and begin what waited for it."""
        self._free += 1
        self._running[gateway] -= 1
        if not self._running[gateway]:
            del self._running[gateway]
        self._go_on()

    def _go_on(self) -> None:
        """Begin what may begin: of those who wait, who has least comes first."""
        while self._waiting:
            gateway = min(self._waiting, key=lambda name: self._running[name])
            if not self._may_begin(gateway):
                return
            waiting = self._waiting.pop(gateway)
            start = waiting.popleft()
            if waiting:
                self._waiting[gateway] = waiting  # behind all others that have as little
            self._running[gateway] += 1
            self._free -= 1
            start()

    def _may_begin(self, gateway: str) -> bool:
        has = self._running[gateway]
        return self._free > 0 and (not has or has + 1 <= _GREED * (self._free - 1))
