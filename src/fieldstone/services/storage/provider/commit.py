"""What is written to the index, and when: changes that must be durable at once, together; the rest within two seconds.

A new share needs no entry to be durable: its file says all of it, and a start after a crash enters what is missing
(`recovery`). Its row, like a voucher, therefore joins the next transaction, or one of its own after a moment: a
transaction for each share cost as much as signing and checking its order and receipt together.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from fieldstone.services.storage.provider import index as index_
from fieldstone.services.storage.provider.index import Index, Row
from fieldstone.services.storage.provider.refusals import refuse

_LOG = logging.getLogger("fieldstone.storage")
_MOST = 512
_SOON_S = 2.0

Apply = Callable[[sqlite3.Connection], None]


@dataclass
class Change:
    """Something to write to the index. `done` resolves to None when it is durable."""

    apply: Apply
    done: Future[None] = field(default_factory=Future)


class _Word(Enum):
    SOON = 1  # something waits that may wait for a moment
    STOP = 2


class Committer:
    """The one thread that writes to the index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._queue: queue.SimpleQueue[Change | _Word] = queue.SimpleQueue()
        self._soon: dict[Hashable, Apply] = {}
        self._is_told = False  # that something waits
        self._lock = threading.Lock()
        self._closed = False
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> Future[None]:
        """Make a change durable; the future fails with DISK_FULL or STORE_UNAVAILABLE, and then nothing has happened."""
        with self._lock:  # nothing comes behind the word to stop: nobody would ever hear of it
            if not self._closed:
                self._queue.put(change)
                return change.done
        change.done.set_exception(refuse("STORE_UNAVAILABLE", "", "the provider is stopping"))
        return change.done

    def soon(self, key: Hashable, apply: Apply) -> None:
        """Write within a moment, replacing what waits under the same key."""
        with self._lock:
            self._soon[key] = apply
        self._tell()

    def enter(self, row: Row) -> None:
        """Enter a share whose file is durable: known to `Index.get` from now on, written within a moment."""
        self._index.enter(row)
        self._tell()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._lock:
            self._closed = True
            self._queue.put(_Word.STOP)
        self._thread.join()

    def _tell(self) -> None:
        with self._lock:
            is_told, self._is_told = self._is_told, True
        if not is_told:
            self._queue.put(_Word.SOON)

    def _run(self) -> None:
        due_s: float | None = None
        while True:
            batch, words = self._next(None if due_s is None else max(0.0, due_s - time.monotonic()))
            if _Word.SOON in words and due_s is None:
                due_s = time.monotonic() + _SOON_S
            stops = _Word.STOP in words
            if batch or stops or (due_s is not None and time.monotonic() >= due_s):
                due_s = None if self._commit(batch) else time.monotonic() + _SOON_S
            if stops:
                return

    def _next(self, wait_s: float | None) -> tuple[list[Change], set[_Word]]:
        """Wait for something to do and return all there is of it."""
        batch: list[Change] = []
        words: set[_Word] = set()
        try:
            item = self._queue.get(timeout=wait_s)
            while True:
                if isinstance(item, Change):
                    batch.append(item)
                else:
                    words.add(item)
                if len(batch) == _MOST:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, words

    def _commit(self, batch: list[Change]) -> bool:
        """Write a batch and all that waits; say whether nothing waits any more."""
        with self._lock:
            soon, self._soon = self._soon, {}
            self._is_told = False
        entered = self._index.entered()
        puts: list[Apply] = [lambda writer, row=row: index_.put_row(writer, row) for row in entered]  # type: ignore[misc]
        try:
            self._write([*puts, *(change.apply for change in batch), *soon.values()])
        except Exception as error:  # a committer that ends would leave everybody waiting for ever
            _LOG.error("the index cannot be written: %s %s", type(error).__name__, error)
            with self._lock:
                if isinstance(error, sqlite3.Error):  # else one of them may be what failed, and would fail again
                    self._soon = {**soon, **self._soon}
                self._is_told = True
            code = "DISK_FULL" if "full" in str(error) else "STORE_UNAVAILABLE"
            for change in batch:
                change.done.set_exception(refuse(code, "", str(error)))
            return False
        self._index.written(entered)
        self.commits += 1
        for change in batch:
            change.done.set_result(None)
        return True

    def _write(self, actions: list[Apply]) -> None:
        if not actions:
            return
        writer = self._index.writer()
        writer.execute("BEGIN IMMEDIATE")
        try:
            for apply in actions:
                apply(writer)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
