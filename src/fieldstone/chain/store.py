"""The embedded chain's storage: one SQLite file, one transaction per block, `synchronous=FULL`.

py-evm sees a plain key-value store. Beside it stands the index that a JSON-RPC node needs (`fieldstone.chain.index`),
written in the same transaction as the block, so that the two can never disagree.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fieldstone.chain.index import SCHEMA
from fieldstone.errors import EnvironmentProblem, Retryable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class SqliteStore:
    """A key-value store for py-evm (`__getitem__`, `__setitem__`, `__delitem__`, `__contains__`) with real transactions.

    Not thread-safe by itself: the chain holds one lock around every use. Writing outside `transaction` is refused,
    because a half-written block must never be readable.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises EnvironmentProblem when another process has it open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock_file(path, "the embedded chain")
        try:
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.executescript(_SCHEMA + SCHEMA)
        except sqlite3.Error as error:
            self._lock.close()
            raise EnvironmentProblem(f"{path} cannot be opened as an embedded chain: {error}") from error
        self._writable = False

    def close(self) -> None:
        """Close the file and let another process open it."""
        self.db.close()
        self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written inside durable at once, or nothing of it. Raises Retryable when the disk fails."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            self._writable = True
            yield
            self.db.execute("COMMIT")
        except BaseException as error:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise Retryable(f"the embedded chain could not write its block: {error}") from error
            raise
        finally:
            self._writable = False

    def __getitem__(self, key: bytes) -> bytes:
        row = self.db.execute("SELECT v FROM kv WHERE k = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        value: bytes = row[0]
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._check_writable()
        self.db.execute("INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v", (key, value))

    def __delitem__(self, key: bytes) -> None:
        self._check_writable()
        if self.db.execute("DELETE FROM kv WHERE k = ?", (key,)).rowcount == 0:
            raise KeyError(key)

    def __contains__(self, key: bytes) -> bool:
        return self.db.execute("SELECT 1 FROM kv WHERE k = ?", (key,)).fetchone() is not None

    def get_meta(self, name: str) -> str | None:
        """Return a setting of the file, or None."""
        row = self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Write a setting of the file, inside a transaction."""
        self._check_writable()
        self.db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )

    def _check_writable(self) -> None:
        if not self._writable:
            raise RuntimeError("the embedded chain writes only inside a block's transaction")


def lock_file(path: Path, what: str) -> IO[bytes]:
    """Take the lock beside `path` for this process; the kernel gives it back on any kind of exit, SIGKILL included.

    Raises EnvironmentProblem when another process holds it: two writers would give two transactions one nonce.
    """
    handle = open(path.with_name(path.name + ".lock"), "ab")  # noqa: SIM115 — held for the life of the owner
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise EnvironmentProblem(f"{what} at {path} is in use by another process (this one is {os.getpid()})") from None
    return handle
