"""A thread beside the doors outlives whatever goes wrong in it."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from fieldstone.services.storage.provider.beside import keep_running


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("disk I/O error"), OverflowError(), RuntimeError(), OSError(5, "EIO")]
)
def test_what_fails_is_done_again(error: Exception) -> None:
    stop, runs = threading.Event(), []

    def work(told: threading.Event) -> None:
        runs.append(told)
        if len(runs) < 3:
            raise error

    keep_running(work, stop, "scrub", pause_s=0.0)
    assert runs == [stop] * 3


def test_who_was_told_to_stop_does_not_begin_again() -> None:
    stop = threading.Event()

    def work(told: threading.Event) -> None:
        told.set()
        raise RuntimeError

    keep_running(work, stop, "scrub", pause_s=0.0)
