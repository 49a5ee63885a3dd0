"""The SQLite file under the journal: schema, opening, and what an error means.

WAL with `synchronous=FULL`: COMMIT returns only after the write-ahead log was fsynced. One commit is one row, its
entries packed as MessagePack: that costs a quarter of a row per entry, and the row's `root` seals the block. There is
no index on subjects (a unique index on device and seq costs eleven times the insert rate); commits that hold anything
besides reports are few and are found through a partial index.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fieldstone.errors import EnvironmentProblem, Retryable, Terminal
from fieldstone.journal.entries import Entry, EntryKind, NewEntry

FORMAT_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE commits (
    first INTEGER PRIMARY KEY,  -- position of the first entry
    last INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    root BLOB NOT NULL,         -- RFC 9162 root over the SHA-256 of the bodies
    kinds TEXT NOT NULL,        -- kinds in the block, sorted, with commas
    block BLOB NOT NULL         -- MessagePack: [[kind, subject, body], …]
);
CREATE INDEX commits_rare ON commits (first) WHERE kinds <> 'report';
"""

CommitRow = tuple[int, int, int, bytes, str, bytes]

_KINDS = {kind.value: kind for kind in EntryKind}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, str, bytes]]).decode


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection that may move between threads; the caller serialises its use. Raises EnvironmentProblem."""
    try:
        mode = "ro" if read_only else "rwc"
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5.0,
        )
        if not read_only:
            connection.execute("PRAGMA page_size=8192")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=2000")
        return connection
    except sqlite3.OperationalError as error:
        raise EnvironmentProblem(
            f"journal {path} cannot be opened ({describe(error)}); check the folder, its rights and free space"
        ) from error


def create_schema(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file; check the version in an existing one. Raises Terminal on another version."""
    (present,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()
    if not present:
        connection.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
        connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT_VERSION,))
        connection.execute("INSERT INTO meta VALUES ('journal_id', ?)", (secrets.token_hex(16),))
        connection.execute("INSERT INTO meta VALUES ('probe', 0)")
        connection.execute("COMMIT")
    (version,) = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if version != FORMAT_VERSION:
        raise Terminal(f"journal has format {version}, this program reads {FORMAT_VERSION}; install a matching release")


def lock_for_writing(path: Path) -> int:
    """Take the one writer's lock beside the journal and return its file descriptor. Raises Retryable when it is taken.

    The kernel drops the lock when the process ends, however it ends.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Retryable(
            f"journal {path} is open for writing in another process; stop it first, or open the journal read-only"
        ) from None
    return descriptor


def pack(entries: Sequence[NewEntry]) -> tuple[str, bytes]:
    """Return the `kinds` and `block` columns for entries."""
    kinds = ",".join(sorted({entry.kind for entry in entries}))
    return kinds, _encode(entries)  # a NewEntry is a tuple; msgspec writes its StrEnum by value


def unpack(row: CommitRow) -> list[Entry]:
    """Return the entries of a row of `commits`. Raises Terminal when the block is damaged or of a newer release."""
    first, last, received_ms, _, _, block = row
    try:
        entries = [
            Entry(position, received_ms, _KINDS[kind], subject, body)
            for position, (kind, subject, body) in enumerate(_decode(block), start=first)
        ]
    except (msgspec.DecodeError, KeyError) as error:
        raise Terminal(f"journal entries {first} … {last} are damaged ({error}); restore a backup") from error
    if len(entries) != last - first + 1:
        raise Terminal(f"journal entries {first} … {last} are damaged ({len(entries)} found); restore a backup")
    return entries


def describe(error: Exception) -> str:
    """Return SQLite's own name of the failure with its text, such as "SQLITE_FULL: database or disk is full"."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return f"{name}: {error}"
