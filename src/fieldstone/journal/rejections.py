"""Counters of refused messages, and checkpoints of caches, in a small file beside the journal.

Nothing here may slow a commit or fail one: the file has its own connection and `synchronous=NORMAL`, and a write that
fails is tried again at the next flush. A crash loses at most the counts since the last flush.

The table cannot be grown without bound by someone who makes up subjects: per hour and reason at most
`MAX_KNOWN` enrolled subjects and `MAX_UNKNOWN` others get a row, the rest is counted under "other".
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from fieldstone.units import HOUR_MS

MAX_KNOWN = 100_000
MAX_UNKNOWN = 50
MAX_SUBJECT_LENGTH = 100
KEEP_HOURS = 24 * 90
OTHER = "other"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rejections (
    hour_ms INTEGER, reason TEXT, subject TEXT, count INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (hour_ms, reason, subject)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (
    name TEXT PRIMARY KEY, journal_id TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL
);
"""
_UPSERT = """
INSERT INTO rejections VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count, last_ms = max(last_ms, excluded.last_ms)
"""


@dataclass(frozen=True, slots=True)
class RejectionRow:
    """How often one reason met one subject in the hour that begins at `hour_ms`; `last_ms` is the latest time."""

    hour_ms: int
    reason: str
    subject: str
    count: int
    last_ms: int


class Rejections:
    """The counters. Safe to use from several threads."""

    def __init__(self, path: Path, journal_id: str, *, read_only: bool = False) -> None:
        self._path = path
        self._journal_id = journal_id
        self._read_only = read_only
        self._lock = threading.Lock()  # guards the pending counts: held for microseconds, by the hot path too
        self._disk_lock = threading.Lock()
        self._pending: dict[tuple[int, str, str], list[int]] = {}
        self._rows: dict[tuple[int, str, bool], set[str]] = {}
        self._connection: sqlite3.Connection | None = None

    def count(self, now_ms: int, reason: str, subject: str, *, known: bool, count: int = 1) -> None:
        """Add `count` refusals at `now_ms`."""
        hour_ms = now_ms - now_ms % HOUR_MS
        subject = subject[:MAX_SUBJECT_LENGTH]
        with self._lock:
            seen = self._rows.get((hour_ms, reason, known))
            if seen is None:
                for key in [key for key in self._rows if key[0] < hour_ms]:
                    del self._rows[key]
                seen = self._rows.setdefault((hour_ms, reason, known), set())
            if subject not in seen:
                if len(seen) < (MAX_KNOWN if known else MAX_UNKNOWN):
                    seen.add(subject)
                else:
                    subject = OTHER
            cell = self._pending.setdefault((hour_ms, reason, subject), [0, 0])
            cell[0] += count
            cell[1] = max(cell[1], now_ms)

    def rows(self, start_ms: int, end_ms: int) -> list[RejectionRow]:
        """Return counters of the hours that begin in [start_ms, end_ms), those not yet on disk included."""
        self.flush()
        merged: dict[tuple[int, str, str], list[int]] = {}
        with self._disk_lock:
            connection = self._open()
            if connection is not None:
                found = connection.execute(
                    "SELECT * FROM rejections WHERE hour_ms >= ? AND hour_ms < ?", (start_ms, end_ms)
                ).fetchall()
                merged = {(hour_ms, reason, subject): [count, last] for hour_ms, reason, subject, count, last in found}
        with self._lock:
            for key, (count, last_ms) in self._pending.items():
                if start_ms <= key[0] < end_ms:
                    cell = merged.setdefault(key, [0, 0])
                    cell[0] += count
                    cell[1] = max(cell[1], last_ms)
        return [RejectionRow(*key, *cell) for key, cell in sorted(merged.items())]

    def flush(self) -> None:
        """Write pending counts. A failure keeps them for the next flush."""
        if self._read_only or not self._pending:
            return
        with self._disk_lock:
            with self._lock:
                taken, self._pending = self._pending, {}
            try:
                connection = self._open()
                assert connection is not None
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_UPSERT, [(*key, *cell) for key, cell in taken.items()])
                newest_ms = max(key[0] for key in taken)
                connection.execute("DELETE FROM rejections WHERE hour_ms < ?", (newest_ms - KEEP_HOURS * HOUR_MS,))
                connection.execute("COMMIT")
            except sqlite3.Error:
                self._drop_connection()
                with self._lock:
                    for key, (count, last_ms) in taken.items():
                        cell = self._pending.setdefault(key, [0, 0])
                        cell[0] += count
                        cell[1] = max(cell[1], last_ms)

    def save_checkpoint(self, name: str, position: int, body: bytes) -> None:
        """Replace the checkpoint `name`. A failure keeps the older one."""
        if self._read_only:
            return
        with self._disk_lock:
            try:
                connection = self._open()
                assert connection is not None
                connection.execute(
                    "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", (name, self._journal_id, position, body)
                )
            except sqlite3.Error:
                self._drop_connection()

    def load_checkpoint(self, name: str) -> tuple[int, bytes] | None:
        """Return (position, body); None when there is none of this journal or it cannot be read."""
        with self._disk_lock:
            try:
                connection = self._open()
                if connection is None:
                    return None
                row: tuple[int, bytes] | None = connection.execute(
                    "SELECT position, body FROM checkpoints WHERE name = ? AND journal_id = ?", (name, self._journal_id)
                ).fetchone()
                return row
            except sqlite3.Error:
                self._drop_connection()
                return None

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        with self._disk_lock:
            self._drop_connection()

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is None:
            if self._read_only and not self._path.is_file():
                return None
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5.0)
            if not self._read_only:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.executescript(_SCHEMA)
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # a broken disk; the next flush opens again
                connection.close()
