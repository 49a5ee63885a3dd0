"""The journal: one append-only, gapless, durable log; the single source of truth of a network.

Invariants: positions are 1, 2, 3 … without a gap; `received_ms` never falls; a returned `Commit` survives a power cut.
After any failed write the journal is *unhealthy*: it acknowledges nothing more, because after a failed fsync the
kernel may have dropped the pages while later fsyncs succeed. It stays readable. `recover` reopens it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fieldstone.clock import Clock
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal
from fieldstone.journal import store, tree
from fieldstone.journal.entries import Commit, Entry, EntryKind, NewEntry
from fieldstone.journal.rejections import RejectionRow, Rejections

_REMEDY = "free space or repair the disk; the journal checks and reopens itself"
_SELECT = "SELECT first, last, received_ms, root, kinds, block FROM commits"
_READ_COMMITS = 64  # rows fetched at once when rare kinds are looked for
_READ_POSITIONS = 2_000  # positions fetched at once otherwise


class Journal:
    """An open journal. Safe to use from several threads. One process may write, any number may read."""

    def __init__(self, path: Path, *, clock: Clock, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.generation = 0
        """Rises at every `recover`: whoever caches what the journal holds must then read on from what it knows."""
        self._clock = clock
        self._append_lock = threading.RLock()
        self._pinned_ms: int | None = None
        self._read_lock = threading.Lock()
        self._closed = False
        self._failure: str | None = None
        self._lock_descriptor = -1 if read_only else store.lock_for_writing(path)
        try:
            self._connection = self._connect()
            self._reader = store.connect(path, read_only=True)
            (self.journal_id,) = self._query("SELECT value FROM meta WHERE key = 'journal_id'")[0]
            self._head, self._last_received_ms = self._read_head()
        except BaseException:
            self._release()
            raise
        self._side = Rejections(path.with_name(path.stem + ".side.sqlite"), self.journal_id, read_only=read_only)

    @classmethod
    def open(cls, path: Path | str, *, clock: Clock, read_only: bool = False) -> Journal:
        """Open the journal at `path` and create it when missing (its folder too).

        Raises Retryable when another process writes to it, EnvironmentProblem when it cannot be opened, Terminal when
        it is damaged or of another format.
        """
        path = Path(path)
        if read_only and not path.is_file():
            raise EnvironmentProblem(f"no journal at {path}; `fieldstone init` and `fieldstone up` create one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, clock=clock, read_only=read_only)
        except (sqlite3.OperationalError, OSError) as error:
            raise EnvironmentProblem(f"journal {path}: {store.describe(error)}; {_REMEDY}") from error
        except sqlite3.DatabaseError as error:
            raise Terminal(f"journal {path} is not readable: {store.describe(error)}; restore a backup") from error

    # -- writing

    def append(self, entries: Sequence[NewEntry]) -> Commit:
        """Make `entries` durable in one transaction and return where they stand. Raises Retryable when it could not.

        After that error the entries are not acknowledged; they may or may not be found after `recover`.
        Raises ValueError for no entries.
        """
        if not entries:
            raise ValueError("append needs at least one entry")
        digests = tuple([hashlib.sha256(entry.body).digest() for entry in entries])
        levels = tree.levels(digests)
        kinds, block = store.pack(entries)
        with self._append_lock:
            self._check_writable()
            first, last = self._head + 1, self._head + len(entries)
            received_ms = self._next_received_ms() if self._pinned_ms is None else self._pinned_ms
            try:
                # One statement is one transaction: SQLite returns from it after the fsync.
                self._connection.execute(
                    "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?)",
                    (first, last, received_ms, levels[-1][0], kinds, block),
                )
            except (sqlite3.Error, OSError, MemoryError) as error:
                self._failure = store.describe(error)
                raise Retryable(
                    f"journal {self.path}: {len(entries)} entries are not durable ({self._failure}); {_REMEDY}"
                ) from error
            self._head, self._last_received_ms = last, received_ms
        return Commit(first, last, received_ms, digests, levels)

    @contextmanager
    def exclusive(self) -> Iterator[int]:
        """Hold off all other appends and yield the `received_ms` that appends inside the block get.

        For entries whose validity depends on when they are received: the check and the entry then state one time.
        """
        with self._append_lock:
            self._pinned_ms = self._next_received_ms()
            try:
                yield self._pinned_ms
            finally:
                self._pinned_ms = None

    def recover(self) -> bool:
        """Reopen after a failure: move the log into the main file with fresh fsyncs, re-read the tail, try a write.

        Returns whether the journal is healthy now. Entries of the failed transaction may have become durable.
        """
        with self._append_lock:
            if self._closed or self.read_only:
                return False
            if self._failure is None:
                return True
            connection = None
            try:
                self._connection.close()
                connection = self._connect()
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise sqlite3.OperationalError("a reader holds the write-ahead log; tried again shortly")
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'probe'")
                self._connection = connection
                head, received_ms = self._read_head()
                if head < self._head:
                    raise Terminal(f"the journal ends at {head}, but {self._head} was acknowledged; restore a backup")
            except (sqlite3.Error, EnvironmentProblem, Terminal) as error:
                self._failure = store.describe(error) if isinstance(error, sqlite3.Error) else str(error)
                if connection is not None:
                    connection.close()
                return False
            self._head, self._last_received_ms = head, received_ms
            self._failure = None
            self.generation += 1
            return True

    # -- reading

    @property
    def head(self) -> int:
        """Position of the last durable entry; 0 for an empty journal."""
        if self.read_only:
            self._head, self._last_received_ms = self._read_head()
        return self._head

    @property
    def last_received_ms(self) -> int:
        """`received_ms` of the last entry (Unix ms); 0 for an empty journal."""
        return self._last_received_ms

    @property
    def healthy(self) -> bool:
        """False from a failed write until `recover` succeeds, and after `close`."""
        return self._failure is None and not self._closed

    @property
    def failure(self) -> str | None:
        """What made the journal unhealthy, in words; None while it is healthy."""
        return self._failure

    def read(
        self, first: int = 1, last: int | None = None, kinds: Collection[EntryKind] | None = None
    ) -> Iterator[Entry]:
        """Yield entries of positions `first` … `last` (default: the head when called), in order, a few at a time.

        No read transaction stays open between chunks, so a slow consumer does not hold back the write-ahead log.
        """
        last = self.head if last is None else min(last, self.head)
        return self._stream(max(first, 1), last, None if kinds is None else frozenset(kinds))

    def entry(self, position: int) -> Entry | None:
        """Return the entry at `position`; None when there is none."""
        row = self._commit_row(position)
        return store.unpack(row)[position - row[0]] if row else None

    def position_at(self, received_ms: int) -> int:
        """Return the last position that was received before `received_ms` (Unix ms); 0 when there is none."""
        low, high = 0, self.head  # `low` is before that time, what follows `high` is not
        while low < high:
            row = self._commit_row((low + high + 1) // 2)
            assert row is not None, "positions are gapless"
            low, high = (row[1], max(high, row[1])) if row[2] < received_ms else (low, row[0] - 1)
        return low

    def last_report_before(
        self, position: int, subject: str, fits: Callable[[bytes], bool], *, limit: int
    ) -> Entry | None:
        """Search at most `limit` entries backwards from `position` for a report of `subject` whose body fits.

        A scan, as the hot table has no index on subjects: for rare questions only.
        """
        oldest = max(1, position - limit)
        while position > oldest:
            row = self._commit_row(position - 1)
            if row is None:
                return None
            for entry in reversed(store.unpack(row)):
                wanted = entry.kind is EntryKind.REPORT and entry.subject == subject
                if wanted and oldest <= entry.position < position and fits(entry.body):
                    return entry
            position = row[0]
        return None

    def commit_of(self, position: int) -> Commit | None:
        """Return the commit that made `position` durable, so that its receipt can be made again; None without one.

        Raises Terminal when the stored block is not what was committed.
        """
        row = self._commit_row(position)
        if row is None:
            return None
        first, last, received_ms, root = row[:4]
        digests = tuple([hashlib.sha256(entry.body).digest() for entry in store.unpack(row)])
        levels = tree.levels(digests)
        if levels[-1][0] != root:
            raise Terminal(f"journal {self.path}: entries {first} … {last} are not what was committed")
        return Commit(first, last, received_ms, digests, levels)

    # -- rejections and checkpoints (bounded, durable, off the hot path)

    def count_rejection(self, reason_code: str, subject: str = "", *, known: bool = True, count: int = 1) -> None:
        """Count a refusal by hour, reason and subject. Pass `known=False` for subjects that an attacker can make up."""
        self._side.count(self._clock.now_ms(), reason_code, subject, known=known, count=count)

    def rejections(self, start_ms: int, end_ms: int) -> list[RejectionRow]:
        """Return the counters of the hours that begin in [`start_ms`, `end_ms`), sorted by hour, reason, subject."""
        return self._side.rows(start_ms, end_ms)

    def flush_rejections(self) -> None:
        """Write the counters to disk; `GroupCommit` does it about once a second, `close` always."""
        self._side.flush()

    def save_checkpoint(self, name: str, position: int, body: bytes) -> None:
        """Keep a cache derived from entries 1 … `position`. Losing it costs time, never correctness."""
        self._side.save_checkpoint(name, position, body)

    def load_checkpoint(self, name: str) -> tuple[int, bytes] | None:
        """Return (position, body) of a checkpoint; None when there is none or it is ahead of the journal."""
        found = self._side.load_checkpoint(name)
        return found if found is not None and found[0] <= self.head else None

    # -- upkeep

    def backup(self, target: Path | str) -> int:
        """Copy the live journal to the file `target` through SQLite's online backup; return the copy's head.

        The copy is complete up to some moment during the call. Raises Retryable when it cannot be written.
        """
        target = Path(target)
        partial = target.with_name(target.name + ".partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            source = store.connect(self.path, read_only=True)
            copy = sqlite3.connect(partial, isolation_level=None)
            try:
                # All in one step: between smaller steps every concurrent commit would restart the copy.
                source.backup(copy, pages=-1)
                copy.execute("PRAGMA journal_mode=DELETE")
                (head,) = copy.execute("SELECT coalesce(max(last), 0) FROM commits").fetchone()
            finally:
                copy.close()
                source.close()
            fsync_path(partial)
            os.replace(partial, target)
            fsync_path(target.parent)
        except (sqlite3.Error, OSError) as error:
            with suppress(OSError):
                partial.unlink()
            raise Retryable(f"backup to {target} failed ({store.describe(error)}); check space and rights") from error
        return int(head)

    def close(self) -> None:
        """Write the counters, close the files and free the writer's lock. Closing twice is fine."""
        with self._append_lock, self._read_lock:
            if not self._closed:
                self._closed = True
                self._side.close()
                self._release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _connect(self) -> sqlite3.Connection:
        connection = store.connect(self.path, read_only=self.read_only)
        try:
            if not self.read_only:
                store.create_schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _read_head(self) -> tuple[int, int]:
        row = self._connection.execute("SELECT last, received_ms FROM commits ORDER BY first DESC LIMIT 1").fetchone()
        return row or (0, 0)

    def _next_received_ms(self) -> int:
        return max(self._clock.now_ms(), self._last_received_ms)

    def _check_writable(self) -> None:
        if self._closed or self.read_only:
            raise Retryable(f"journal {self.path} is {'closed' if self._closed else 'open for reading only'}")
        if self._failure is not None:
            raise Retryable(f"journal {self.path} is not healthy ({self._failure}); {_REMEDY}")

    def _query(self, sql: str, arguments: Sequence[object] = ()) -> list[Any]:
        with self._read_lock:
            if self._closed:
                raise Retryable(f"journal {self.path} is closed")
            try:
                return self._reader.execute(sql, arguments).fetchall()
            except sqlite3.OperationalError:  # perhaps a descriptor from before the disk failed
                self._reader.close()
                self._reader = store.connect(self.path, read_only=True)
                try:
                    return self._reader.execute(sql, arguments).fetchall()
                except sqlite3.OperationalError as error:
                    raise Retryable(f"journal {self.path} cannot be read ({store.describe(error)})") from error

    def _commit_row(self, position: int) -> store.CommitRow | None:
        rows = self._query(f"{_SELECT} WHERE first <= ? ORDER BY first DESC LIMIT 1", (position,))
        return rows[0] if rows and rows[0][1] >= position else None

    def _stream(self, first: int, last: int, kinds: frozenset[EntryKind] | None) -> Iterator[Entry]:
        names = None if kinds is None else {kind.value for kind in kinds}
        row = self._commit_row(first)
        at = row[0] if row else first
        while at <= last:
            if names is None or EntryKind.REPORT.value in names:
                end = min(last, at + _READ_POSITIONS)
                rows = self._query(f"{_SELECT} WHERE first BETWEEN ? AND ? ORDER BY first", (at, end))
            else:
                where = "WHERE first BETWEEN ? AND ? AND kinds <> 'report' ORDER BY first LIMIT ?"
                rows = self._query(f"{_SELECT} {where}", (at, last, _READ_COMMITS))
            if not rows:
                return
            at = rows[-1][1] + 1
            for row in rows:
                if names is None or not names.isdisjoint(row[4].split(",")):
                    for entry in store.unpack(row):
                        if first <= entry.position <= last and (kinds is None or entry.kind in kinds):
                            yield entry

    def _release(self) -> None:
        for name in ("_connection", "_reader"):
            connection = getattr(self, name, None)
            if connection is not None:
                connection.close()
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1


def fsync_path(path: Path) -> None:
    """Fsync a file or a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
