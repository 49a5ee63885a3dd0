"""The event loop of the doors: uvloop where it is installed (extra `intake`), asyncio's own otherwise.

Per request, asyncio spends about as much in Python on its selector, handles and transports as the door does on checks;
uvloop does that in C. Both carry the same protocol (`intake.lane`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what `asyncio.Runner(loop_factory=…)` takes; None for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
