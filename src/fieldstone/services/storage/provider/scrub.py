"""Read every share again in the background, slowly, and say honestly what is no longer what it was.

Bytes are read past the page cache where that is possible: it is the disk that is asked. The place in the pass is kept,
so a restart goes on where the last process stopped.
"""

from __future__ import annotations

import logging
import mmap
import os
import sqlite3
import threading
import time
from collections.abc import Callable

from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.reading import Checked, OpenShare
from fieldstone.services.storage.provider.sharefile import GROUP_BYTES, Damaged
from fieldstone.services.storage.provider.store import Store

_LOG = logging.getLogger("fieldstone.storage")
_CURSOR, _FINISHED = "scrub_cursor", "scrub_finished_ms"
_DIRECT = getattr(os, "O_DIRECT", 0)


class Scrub:
    """Passes over a store, one share after another."""

    def __init__(
        self,
        store: Store,
        *,
        bytes_per_s: float = 8 * 1_048_576,
        pause_s: float = 3_600.0,
        count: Callable[[int], None] = lambda size: None,
    ) -> None:
        """`pause_s`: between two passes; `count` is told how many bytes were read."""
        self._store = store
        self._bytes_per_s = bytes_per_s
        self._pause_s = pause_s
        self._count = count
        self._cursor = bytes.fromhex(store.index.note(_CURSOR) or "")
        self._buffer = mmap.mmap(-1, GROUP_BYTES)

    def run(self, stop: threading.Event) -> None:
        """Scrub until `stop` is set."""
        while not stop.is_set():
            began = time.monotonic()
            size = self.step()
            if size is None:
                stop.wait(self._pause_s)
                continue
            stop.wait(max(0.0, size / self._bytes_per_s - (time.monotonic() - began)))

    def step(self) -> int | None:
        """Look at the next share; return the bytes read, None at the end of a pass."""
        store = self._store
        page = store.index.after(self._cursor, 1)
        if not page:
            self._cursor = b""
            self._note(store.clock.now_ms())
            return None
        row = page[0]
        state, size = self.look(row)
        if state != row.state:
            store.mark(row.share, state)
        self._count(size)
        self._cursor = row.share
        self._note(None)
        return size

    def look(self, row: Row) -> tuple[index_.State, int]:
        """Read a share whole; return what state it is in and how many bytes were read."""
        path = self._store.path(row.share)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ("lost" if self._store.index.get(row.share) else row.state), 0
        except OSError as error:
            _LOG.error("share %s cannot be opened: %s", row.share.hex(), error)
            return "bad", 0
        plain = OpenShare(fd, row, Checked())
        direct = OpenShare(_open_direct(fd, str(path)), row, Checked())
        read = 0
        try:
            kept = plain.kept()
            for start in range(0, row.size_bytes, GROUP_BYTES):
                direct.path(start // row.leaf_bytes, kept, self._buffer)
                read += min(GROUP_BYTES, row.size_bytes - start)
        except (Damaged, OSError) as error:
            if self._store.index.get(row.share) is None:  # deleted meanwhile
                return row.state, read
            _LOG.error("share %s: %s", row.share.hex(), error)
            return "bad", read
        finally:
            plain.close()
            direct.close()
        return "held", read

    def _note(self, finished_ms: int | None) -> None:
        cursor = self._cursor

        def apply(writer: sqlite3.Connection) -> None:
            index_.put_note(writer, _CURSOR, cursor.hex())
            if finished_ms is not None:
                index_.put_note(writer, _FINISHED, str(finished_ms))

        self._store.committer.soon(_CURSOR, apply)


def _open_direct(fd: int, path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | _DIRECT)
    except OSError:
        return os.dup(fd)
