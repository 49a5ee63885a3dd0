"""Read every share again in the background, slowly, and say honestly what is no longer what it was.

Bytes are read past the page cache where that is possible: it is the disk that is asked. The place in the pass is kept,
so a restart goes on where the last process stopped.
"""

from __future__ import annotations

import errno
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
_UNREADABLE = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})  # of this file; all else may pass
_GONE_S, _AGAIN_S = 30.0, 900.0


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
        self._again_s = time.monotonic()
        self._doubted = b""

    def run(self, stop: threading.Event) -> None:
        """Scrub until `stop` is set."""
        while not stop.is_set():
            began = time.monotonic()
            if not self._store.is_there():
                _LOG.error("the folder of the shares is gone: is the disk still mounted?")
                stop.wait(_GONE_S)
                continue
            if began - self._again_s >= _AGAIN_S:
                self.look_again()
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

    def look_again(self, most: int = 100) -> int:
        """Look at shares that are bad or lost, some at a time; return how many are held again.

        What kept them from being read may be over (a cable, a mount, a controller), and a pass may take weeks.
        """
        store, healed = self._store, 0
        self._again_s = time.monotonic()
        rows = store.index.not_held(most, after=self._doubted)
        self._doubted = rows[-1].share if len(rows) == most else b""
        for row in rows:
            state, size = self.look(row)
            self._count(size)
            if state == "held":
                _LOG.warning("share %s is whole again", row.share.hex())
                store.mark(row.share, state)
                healed += 1
        return healed

    def look(self, row: Row) -> tuple[index_.State, int]:
        """Read a share whole; return what state it is in and how many bytes were read.

        Raises OSError when that cannot be told: no descriptors, no memory, no disk.
        """
        path = self._store.path(row.share)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if not self._store.is_there():
                raise
            return ("lost" if self._store.index.get(row.share) else row.state), 0
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            _LOG.error("share %s cannot be opened: %s", row.share.hex(), error)
            return "bad", 0
        plain, read = OpenShare(fd, row, Checked()), 0
        direct = plain
        try:
            direct = OpenShare(_open_direct(fd, str(path)), row, Checked())
            kept = plain.kept()
            for start in range(0, row.size_bytes, GROUP_BYTES):
                direct.path(start // row.leaf_bytes, kept, self._buffer)
                read += min(GROUP_BYTES, row.size_bytes - start)
        except (Damaged, OSError) as error:
            if self._store.index.get(row.share) is None:  # deleted meanwhile
                return row.state, read
            if isinstance(error, OSError) and error.errno not in _UNREADABLE:
                raise
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
