"""What is held, in one small SQLite file: shares, vouchers, used orders, notes. WAL, `synchronous=FULL`.

One connection writes, always in the committer's thread (`commit`); any thread may read through a connection of its own.
Shares that came a moment ago are not written yet (`enter`), but found like all others.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from fieldstone.errors import EnvironmentProblem

State = Literal["held", "bad", "lost"]

_SCHEMA = """
PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS shares (
  share BLOB PRIMARY KEY, gateway TEXT NOT NULL, size_bytes INTEGER NOT NULL, leaf_bytes INTEGER NOT NULL,
  root BLOB NOT NULL, stored_ms INTEGER NOT NULL, order_digest BLOB NOT NULL, disk_bytes INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'held', checked_ms INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS not_held ON shares (state) WHERE state != 'held';
CREATE TABLE IF NOT EXISTS vouchers (
  gateway TEXT PRIMARY KEY, egress_bytes INTEGER NOT NULL, message BLOB NOT NULL,
  reported_bytes INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deleted (
  order_digest BLOB PRIMARY KEY, share BLOB NOT NULL, deleted_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delete_orders (
  share BLOB PRIMARY KEY, message BLOB NOT NULL, deleted_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deleted_share ON deleted (share);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "share, gateway, size_bytes, leaf_bytes, root, stored_ms, order_digest, disk_bytes, state, checked_ms"
_LOOK_UP = (
    "SELECT EXISTS (SELECT 1 FROM deleted WHERE deleted.share = ?1)"
    " OR EXISTS (SELECT 1 FROM delete_orders WHERE delete_orders.share = ?1),"
    " EXISTS (SELECT 1 FROM deleted WHERE order_digest = ?2),"
    f" {_COLUMNS} FROM (SELECT 1) LEFT JOIN shares ON share = ?1"
)


class Row(NamedTuple):
    """One share. `disk_bytes`: its file's length; `state` bad: wrong bytes on disk, lost: no file."""

    share: bytes
    gateway: str
    size_bytes: int
    leaf_bytes: int
    root: bytes
    stored_ms: int
    order_digest: bytes
    disk_bytes: int
    state: State = "held"
    checked_ms: int = 0


class Totals(NamedTuple):
    """Counts and bytes of shares; `used_bytes` is what their files take."""

    shares: int
    used_bytes: int
    share_bytes: int
    bad: int
    lost: int


class Index:
    """Reads from any thread. Writing methods take the committer's connection."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises EnvironmentProblem."""
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._entered: dict[bytes, Row] = {}  # held, but not written yet
        try:
            self._connection().executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise EnvironmentProblem(f"the index {path} cannot be opened: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
            with self._lock:
                self._opened.append(connection)
        return connection

    def writer(self) -> sqlite3.Connection:
        """Return the calling thread's connection for writing: the committer's, or `Store`'s while it opens."""
        return self._connection()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def enter(self, row: Row) -> None:
        """Know a share from now on; the committer writes it soon. Its file must be durable."""
        self._entered[row.share] = row

    @property
    def waiting(self) -> int:
        """How many shares are not written yet."""
        return len(self._entered)

    def entered(self) -> list[Row]:
        """Return the shares that are not written yet."""
        return list(self._entered.values())

    def written(self, rows: Sequence[Row]) -> None:
        """Note that rows that `entered` returned are durable; before anybody hears of what was written after them."""
        for row in rows:
            del self._entered[row.share]

    def get(self, share: bytes) -> Row | None:
        """Return a share's row."""
        entered = self._entered.get(share)
        if entered is not None:
            return entered
        row = self._connection().execute(f"SELECT {_COLUMNS} FROM shares WHERE share = ?", (share,)).fetchone()
        return Row(*row) if row else None

    def after(self, share: bytes, most: int) -> list[Row]:
        """Return the next rows in order of their ids."""
        entered = [row for row in self.entered() if row.share > share]
        rows = self._connection().execute(
            f"SELECT {_COLUMNS} FROM shares WHERE share > ? ORDER BY share LIMIT ?", (share, most)
        )
        found = {row.share: row for row in [*entered, *(Row(*row) for row in rows)]}
        return [found[share] for share in sorted(found)[:most]]

    def rows(self) -> Iterator[Row]:
        """Yield all rows in order of their ids."""
        page = self.after(b"", 1_000)
        while page:
            yield from page
            page = self.after(page[-1].share, 1_000)

    def not_held(self, most: int = 1_000, after: bytes = b"") -> list[Row]:
        """Return the next shares that are bad or lost in order of their ids."""
        query = f"SELECT {_COLUMNS} FROM shares WHERE state != 'held' AND share > ? ORDER BY share LIMIT ?"
        rows = self._connection().execute(query, (after, most))
        return [Row(*row) for row in rows]

    def totals(self) -> Totals:
        """Add up all shares."""
        entered = self.entered()
        row = (
            self._connection()
            .execute(
                "SELECT count(*), coalesce(sum(CASE state WHEN 'lost' THEN 0 ELSE disk_bytes END), 0),"
                " coalesce(sum(CASE state WHEN 'held' THEN size_bytes ELSE 0 END), 0),"
                " coalesce(sum(state = 'bad'), 0), coalesce(sum(state = 'lost'), 0) FROM shares"
                f" WHERE share NOT IN ({','.join('?' * len(entered))})",
                [row.share for row in entered],
            )
            .fetchone()
        )
        shares, used_bytes, share_bytes, bad, lost = row
        used_bytes += sum(row.disk_bytes for row in entered)
        share_bytes += sum(row.size_bytes for row in entered)
        return Totals(shares + len(entered), used_bytes, share_bytes, bad, lost)

    def look_up(self, share: bytes, order_digest: bytes) -> tuple[Row | None, bool, bool]:
        """Return a share's row, whether it was deleted before, and whether by then this order had been used for it.

        One statement: each costs a few system calls, and most of the time nothing is found.
        """
        entered = self._entered.get(share)  # before the table: it may be written there, and forgotten here, in between
        found = self._connection().execute(_LOOK_UP, (share, order_digest)).fetchone()
        row = entered or (Row(*found[2:]) if found[2] is not None else None)
        return row, bool(found[0]), bool(found[1])

    def deleted_ms(self, share: bytes) -> int:
        """Return when a share was deleted last; 0: not that we remember."""
        query = "SELECT coalesce(max(deleted_ms), 0) FROM deleted WHERE share = ?"
        return int(self._connection().execute(query, (share,)).fetchone()[0])

    def delete_order(self, share: bytes) -> bytes | None:
        """Return the signed order by which a share was deleted, if it is remembered."""
        row = self._connection().execute("SELECT message FROM delete_orders WHERE share = ?", (share,)).fetchone()
        return row[0] if row else None

    def vouchers(self) -> list[tuple[str, int, bytes, int]]:
        """Return (gateway, egress_bytes, order, bytes reported) per gateway."""
        query = "SELECT gateway, egress_bytes, message, reported_bytes FROM vouchers ORDER BY gateway"
        return list(self._connection().execute(query))

    def note(self, name: str) -> str | None:
        """Return a note."""
        row = self._connection().execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None


def put_row(writer: sqlite3.Connection, row: Row) -> None:
    """Insert or replace a share."""
    writer.execute(f"INSERT OR REPLACE INTO shares ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", row)


def set_state(writer: sqlite3.Connection, row: Row, state: State, now_ms: int) -> bool:
    """Note what looking at a share's bytes gave; say whether it was still as in `row`."""
    known = (state, now_ms, row.share, row.state, row.checked_ms)
    query = "UPDATE shares SET state = ?, checked_ms = ? WHERE share = ? AND state = ? AND checked_ms = ?"
    return writer.execute(query, known).rowcount > 0


def delete_row(writer: sqlite3.Connection, row: Row, order_digest: bytes, now_ms: int, message: bytes = b"") -> State:
    """Remove a share and remember the orders that must not work again; the signed one (`message`) is evidence.

    Returns the state that it was in.
    """
    state: State = writer.execute("SELECT state FROM shares WHERE share = ?", (row.share,)).fetchone()[0]
    now_ms = max(now_ms, row.stored_ms)  # whatever a clock does: a file that comes back is older than this
    if message:
        writer.execute("INSERT OR REPLACE INTO delete_orders VALUES (?, ?, ?)", (row.share, message, now_ms))
    writer.execute("DELETE FROM shares WHERE share = ?", (row.share,))
    used: Sequence[bytes] = (row.order_digest, order_digest)
    writer.executemany("INSERT OR REPLACE INTO deleted VALUES (?, ?, ?)", [(one, row.share, now_ms) for one in used])
    return state


def put_note(writer: sqlite3.Connection, name: str, value: str) -> None:
    """Write a note."""
    writer.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))


def put_voucher(writer: sqlite3.Connection, gateway: str, egress_bytes: int, message: bytes) -> None:
    """Keep a gateway's newest voucher; an older one never replaces it."""
    writer.execute(
        "INSERT INTO vouchers (gateway, egress_bytes, message) VALUES (?, ?, ?) ON CONFLICT (gateway) DO UPDATE SET"
        " egress_bytes = excluded.egress_bytes, message = excluded.message WHERE excluded.egress_bytes > egress_bytes",
        (gateway, egress_bytes, message),
    )
