"""What an agent must not lose: readings not yet signed, messages not yet acknowledged, receipts. One SQLite file.

A sequence number is taken, the message signed and both written in one transaction (`synchronous=FULL`), and only then
is the message sent. So a `kill -9` at any moment neither loses a message nor signs two with one number. Numbers start
at the Unix milliseconds of the file's creation: an agent whose file is lost starts above every number it used before.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fieldstone.errors import EnvironmentProblem, Retryable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
  id INTEGER PRIMARY KEY, service TEXT NOT NULL, kind TEXT NOT NULL, t_ms INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  seq INTEGER PRIMARY KEY, message BLOB NOT NULL, signed_ms INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued', code TEXT, detail TEXT, position INTEGER, receipt BLOB, answered_ms INTEGER);
CREATE INDEX IF NOT EXISTS queued ON messages (seq) WHERE state = 'queued';
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading before it is signed: Unix ms and values by column (None: the sensor gave none)."""

    t_ms: int
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Message:
    """A signed message that waits for an acknowledgement."""

    seq: int
    message: bytes


class Buffer:
    """The file. Usable from several threads and processes; every write is one transaction."""

    def __init__(self, path: Path, now_ms: int) -> None:
        """Open or create the file. Raises EnvironmentProblem when it cannot be."""
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)
            path.chmod(0o600)
            with self._transaction():
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('next_seq', ?)", (str(max(now_ms, 1)),))
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentProblem(f"the agent's buffer {path} cannot be opened: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise Retryable(f"the agent's buffer could not be written: {error}") from error
                raise

    def get(self, key: str) -> str | None:
        """Return a noted setting."""
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, value: str) -> None:
        """Note a setting."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_reading(self, service: str, kind: str, reading: Reading) -> None:
        """Keep a reading until it is signed."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO readings (service, kind, t_ms, body) VALUES (?, ?, ?, ?)",
                (service, kind, reading.t_ms, json.dumps(dict(reading.values))),
            )

    def oldest_reading(self) -> tuple[str, str, int, int] | None:
        """Return (service, kind, t_ms, how many of that kind wait) of the oldest unsigned reading."""
        with self._lock:
            row = self._db.execute("SELECT service, kind, t_ms FROM readings ORDER BY id LIMIT 1").fetchone()
            if row is None:
                return None
            count = self._db.execute("SELECT count(*) FROM readings WHERE service = ? AND kind = ?", row[:2]).fetchone()
        return row[0], row[1], row[2], count[0]

    def sign_readings(
        self,
        service: str,
        kind: str,
        most: int,
        sign: Callable[[int, Sequence[Reading]], bytes],
        now_ms: int,
    ) -> int | None:
        """Turn up to `most` waiting readings of a kind into one message; return its number, None when none wait."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT id, t_ms, body FROM readings WHERE service = ? AND kind = ? ORDER BY id LIMIT ?",
                (service, kind, most),
            ).fetchall()
            if not rows:
                return None
            readings = [Reading(t_ms, json.loads(body)) for _, t_ms, body in rows]
            seq = self._write_message(lambda number: sign(number, readings), now_ms)
            self._db.executemany("DELETE FROM readings WHERE id = ?", [(row[0],) for row in rows])
            return seq

    def add_message(self, sign: Callable[[int], bytes], now_ms: int) -> int:
        """Take the next number, let `sign` make the message for it, keep it; return the number."""
        with self._transaction():
            return self._write_message(sign, now_ms)

    def _write_message(self, sign: Callable[[int], bytes], now_ms: int) -> int:
        seq = int(self._db.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0])
        message = sign(seq)
        self._db.execute("INSERT INTO messages (seq, message, signed_ms) VALUES (?, ?, ?)", (seq, message, now_ms))
        self._db.execute("UPDATE meta SET value = ? WHERE key = 'next_seq'", (str(seq + 1),))
        return seq

    def renumber(self, seq: int, sign: Callable[[int, bytes], bytes], now_ms: int) -> int:
        """Sign a waiting message again under the next number, since its own came too late; return the new number.

        `sign` gets the new number and the old message. The old one is kept as refused, and is never sent again.
        """
        with self._transaction():
            row = self._db.execute("SELECT message FROM messages WHERE seq = ? AND state = 'queued'", (seq,)).fetchone()
            if row is None:
                return seq
            number = self._write_message(lambda new: sign(new, row[0]), now_ms)
            self._db.execute(
                "UPDATE messages SET state = 'refused', code = 'SEQ_TOO_LOW', detail = ?, answered_ms = ? WHERE seq = ?",
                (f"sent again as {number}", now_ms, seq),
            )
        return number

    def queued(self, most: int, most_bytes: int) -> list[Message]:
        """Return the first waiting messages in order of their numbers, at least one if any waits."""
        found: list[Message] = []
        size = 0
        with self._lock:
            cursor = self._db.execute(
                "SELECT seq, message FROM messages WHERE state = 'queued' ORDER BY seq LIMIT ?", (most,)
            )
            for seq, message in cursor.fetchall():
                size += len(message)
                if found and size > most_bytes:
                    break
                found.append(Message(seq, message))
        return found

    def accept(self, seq: int, position: int, receipt: bytes, now_ms: int) -> None:
        """Note the network's receipt for a message."""
        self._answer(seq, "accepted", None, None, position, receipt, now_ms)

    def refuse(self, seq: int, code: str, detail: str, now_ms: int) -> None:
        """Note that the network will never take a message, and why; the message is kept to be looked at."""
        self._answer(seq, "refused", code, detail, None, None, now_ms)

    def _answer(
        self,
        seq: int,
        state: str,
        code: str | None,
        detail: str | None,
        position: int | None,
        receipt: bytes | None,
        now_ms: int,
    ) -> None:
        with self._transaction():
            self._db.execute(
                "UPDATE messages SET state = ?, code = ?, detail = ?, position = ?, receipt = ?, answered_ms = ? "
                "WHERE seq = ? AND state = 'queued'",
                (state, code, detail, position, receipt, now_ms, seq),
            )

    def counts(self) -> dict[str, int]:
        """Return how many messages are queued, accepted, refused, and how many readings are unsigned."""
        with self._lock:
            found = dict(self._db.execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall())
            unsigned = self._db.execute("SELECT count(*) FROM readings").fetchone()[0]
        return {**{state: found.get(state, 0) for state in ("queued", "accepted", "refused")}, "unsigned": unsigned}

    def refusals(self) -> dict[str, int]:
        """Return how many messages were refused under each code."""
        with self._lock:
            return dict(
                self._db.execute(
                    "SELECT code, count(*) FROM messages WHERE state = 'refused' GROUP BY code ORDER BY code"
                ).fetchall()
            )

    def receipts(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (seq, message, receipt) of accepted messages: what proves a loss, should the network lose one."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, message, receipt FROM messages WHERE state = 'accepted' AND length(receipt) > 0 ORDER BY seq"
            ).fetchall()
        yield from rows

    def prune(self, before_ms: int) -> int:
        """Forget answered messages older than `before_ms`; return how many. Waiting ones are never forgotten."""
        with self._transaction():
            return self._db.execute(
                "DELETE FROM messages WHERE state != 'queued' AND answered_ms < ?", (before_ms,)
            ).rowcount
