"""The node's book of co-signatures and refusals, one small SQLite file. A signature is stored only if it verifies."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from fieldstone.errors import UsageError
from fieldstone.identity.wallet import recover_digest, recover_text


@dataclass(frozen=True, slots=True)
class CoSignature:
    """A verifier's EIP-712 signature (65 bytes r ‖ s ‖ v) over one attempt at posting one epoch's root."""

    epoch: int
    attempt: int
    verifier: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verifier's signed statement that it computed something else, and which devices differ."""

    epoch: int
    verifier: str
    text: str


class SignatureBook:
    """Co-signatures by (epoch, attempt, verifier)."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS signature (
                epoch INTEGER, attempt INTEGER, verifier TEXT, signature BLOB NOT NULL,
                PRIMARY KEY (epoch, attempt, verifier)) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS refusal (
                epoch INTEGER, verifier TEXT, text TEXT NOT NULL, PRIMARY KEY (epoch, verifier)) WITHOUT ROWID;
            """
        )

    def sign(self, given: CoSignature, digest: bytes, allowed: tuple[str, ...]) -> None:
        """Store a co-signature over `digest`. Raises UsageError when it is not from an allowed verifier."""
        signer = _recovered(recover_digest, digest, given.signature)
        if signer != given.verifier or signer not in allowed:
            raise UsageError(f"the signature for epoch {given.epoch} is not from a verifier of this network")
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO signature VALUES (?, ?, ?, ?)",
                (given.epoch, given.attempt, given.verifier, given.signature),
            )

    def refuse(self, given: Refusal, signature: bytes, allowed: tuple[str, ...]) -> None:
        """Store a refusal signed (EIP-191) over its text. Raises UsageError when the signer is not a verifier."""
        signer = _recovered(recover_text, given.text, signature)
        if signer != given.verifier or signer not in allowed:
            raise UsageError(f"the refusal of epoch {given.epoch} is not from a verifier of this network")
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO refusal VALUES (?, ?, ?)", (given.epoch, given.verifier, given.text)
            )

    def signatures(self, epoch: int, attempt: int) -> list[CoSignature]:
        """Return the co-signatures of an attempt in ascending signer order, as the contract wants them."""
        with self._lock:
            rows = self._db.execute(
                "SELECT verifier, signature FROM signature WHERE epoch = ? AND attempt = ?", (epoch, attempt)
            ).fetchall()
        rows.sort(key=lambda row: int(row[0], 16))
        return [CoSignature(epoch, attempt, verifier, signature) for verifier, signature in rows]

    def refusals(self, epoch: int) -> list[Refusal]:
        """Return the refusals of an epoch by verifier."""
        with self._lock:
            rows = self._db.execute(
                "SELECT verifier, text FROM refusal WHERE epoch = ? ORDER BY 1", (epoch,)
            ).fetchall()
        return [Refusal(epoch, verifier, text) for verifier, text in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _recovered(recover: object, subject: object, signature: bytes) -> str:
    try:
        return str(recover(subject, signature))  # type: ignore[operator]
    except Exception:
        # coincurve raises bare Exceptions for a malformed signature
        raise UsageError("the signature is malformed") from None
