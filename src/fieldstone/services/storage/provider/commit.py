"""Group commit: whatever waits becomes durable together, with one index transaction and one sync a folder.

What is only worth keeping soon (vouchers) joins the next commit, or makes one of its own after a moment.
"""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from fieldstone.services.storage.provider.index import Index
from fieldstone.services.storage.provider.refusals import disk_refusal, refuse

_LOG = logging.getLogger("fieldstone.storage")
_MOST = 512
_SOON_S = 0.1

Apply = Callable[[sqlite3.Connection], None]


@dataclass
class Change:
    """One step to make durable: move a file in place (`source` → `target`), then write to the index.

    `undo` is called when the index could not be written; `done` resolves to None when all is durable.
    """

    apply: Apply
    source: Path | None = None
    target: Path | None = None
    undo: Callable[[], None] | None = None
    done: Future[None] = field(default_factory=Future)


class Committer:
    """The one thread that writes to the index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._queue: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._soon: dict[Hashable, Apply] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> Future[None]:
        """Make a change durable; the future fails with DISK_FULL or STORE_UNAVAILABLE, and then nothing has happened."""
        if self._closed:
            change.done.set_exception(refuse("STORE_UNAVAILABLE", "", "the provider is stopping"))
        else:
            self._queue.put(change)
        return change.done

    def soon(self, key: Hashable, apply: Apply) -> None:
        """Write within a moment, replacing what waits under the same key."""
        with self._lock:
            first = not self._soon
            self._soon[key] = apply
        if first:
            self._queue.put(Change(lambda writer: None))

    def close(self) -> None:
        """Write what waits, then stop."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            if batch[0] is not None and batch[0].target is None and self._soon and self._queue.empty():
                threading.Event().wait(_SOON_S)  # only vouchers: let more come
            while len(batch) < _MOST and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._commit([change for change in batch if change is not None])
            if None in batch:
                return

    def _commit(self, batch: list[Change]) -> None:
        ready: list[Change] = []
        folders: set[Path] = set()
        for change in batch:
            try:
                if change.source is not None and change.target is not None:
                    folders.add(_place(change.source, change.target))
                ready.append(change)
            except OSError as error:
                _undo(change)
                change.done.set_exception(disk_refusal(error))
        with self._lock:
            soon, self._soon = self._soon, {}
        try:
            for folder in folders:
                sync_folder(folder)
            self._write([*(change.apply for change in ready), *soon.values()])
        except (OSError, sqlite3.Error) as error:
            _LOG.error("nothing can be made durable: %s", error)
            with self._lock:
                self._soon = {**soon, **self._soon}
            for change in ready:
                _undo(change)
                is_full = isinstance(error, sqlite3.Error) and "full" in str(error)
                refusal = disk_refusal(error) if isinstance(error, OSError) else None
                change.done.set_exception(
                    refusal or refuse("DISK_FULL" if is_full else "STORE_UNAVAILABLE", "", str(error))
                )
            return
        self.commits += 1
        for change in ready:
            change.done.set_result(None)

    def _write(self, actions: list[Apply]) -> None:
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


def _place(source: Path, target: Path) -> Path:
    os.rename(source, target)
    return target.parent


def _undo(change: Change) -> None:
    if change.undo is not None:
        try:
            change.undo()
        except OSError as error:
            _LOG.error("an unfinished share could not be removed: %s", error)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
