"""What comes to the door and is no request: counted by name, where the HTTP server would write a line for each.

Scanners and wrong ports send such bytes all day. uvicorn has no other sign of them than its log's messages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fieldstone.services.storage.s3.server.metrics import Metrics

# how uvicorn's message begins → name of the rejection; "" is said together with another one
NAMES = {
    "Invalid HTTP request received": "not_http",
    "Unsupported upgrade request": "upgrade",
    "No supported WebSocket library": "",
    "ASGI callable returned without completing response": "answer_cut",
}


class _Counting(logging.Filter):
    def __init__(self, metrics: Metrics, level: int) -> None:
        super().__init__()
        self._metrics = metrics
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Count what has a name, let everything else pass that would have passed without us."""
        for beginning, name in NAMES.items():
            if record.msg.startswith(beginning):
                if name:
                    self._metrics.rejected[name] += 1
                return False
        return record.levelno >= self._level


@contextmanager
def counted(metrics: Metrics) -> Iterator[None]:
    """Count uvicorn's rejections of this process while open."""
    logger = logging.getLogger("uvicorn.error")
    before, counting = logger.level, _Counting(metrics, logger.getEffectiveLevel())
    logger.addFilter(counting)
    logger.setLevel(min(logging.WARNING, logger.getEffectiveLevel()))  # counted also where the log wants errors only
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeFilter(counting)
