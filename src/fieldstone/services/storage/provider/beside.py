"""Threads beside the doors: whatever goes wrong in one, it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger("fieldstone.storage")


def keep_running(
    work: Callable[[threading.Event], None], stop: threading.Event, title: str, *, pause_s: float = 5.0
) -> None:
    """Do `work` until `stop` is set, again after a pause when it fails.

    A disk that cannot be read for a moment would otherwise end scrubbing, proving or reporting until somebody notices
    and restarts a process that still answers.
    """
    while not stop.is_set():
        try:
            work(stop)
            return
        except Exception as error:
            _LOG.error("%s failed and goes on in %.0f s: %s %s", title, pause_s, type(error).__name__, error)
            stop.wait(pause_s)
