"""Write every signed transaction down before it is sent, so that a crash can neither lose nor repeat a payout.

A node may forget its newest blocks when it is killed, and a process may die between sending and hearing back. The
stored bytes give the same transaction hash when they are sent again, so resending is harmless and forgetting is not:

1. one SQLite transaction (`synchronous=FULL`): choose the nonce, sign, insert; only then send. One process per file.
2. `purpose_key` names the intent (`root:<network>:<epoch>:<attempt>`); asking again returns the same row.
3. `recover`, on start, in nonce order: nonce not used on chain → resend the stored bytes; used → find the receipt of
   the row or of a sibling with another fee; none → a foreign transaction took the nonce: `Terminal`, it is named.
4. "already known" and "nonce too low" are prompts to look for the receipt, not failures.
5. a fee bump is another row of the same purpose and nonce; whichever is mined wins, the others become `replaced`.
6. `final` only after the configured confirmations; a block whose hash changed sends the row back to `sent`.

The contracts hold the second lock: an epoch is posted once and a cumulative claim pays once, whatever happens here.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fieldstone.chain.outbox_rows import COLUMNS, SCHEMA, Row, State, to_row, to_values
from fieldstone.chain.port import (
    AlreadyKnown,
    Call,
    ChainPort,
    Fees,
    NonceTooLow,
    Receipt,
    Reverted,
    Signer,
    Underpriced,
)
from fieldstone.chain.store import lock_file
from fieldstone.chain.transactions import sign_transaction, transaction_hash
from fieldstone.clock import Clock
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal

_GAS_MARGIN_PPM = 150_000  # offered above the estimate: state may change between estimate and mining
_BUMP_PPM = 125_000  # nodes want at least 10 % more for a replacement


class Outbox:
    """The durable list of everything this process signed for one or more chains. Safe to use from several threads."""

    def __init__(self, path: Path, *, clock: Clock, confirmations: int = 0) -> None:
        """Open or create the file. `confirmations`: blocks after the first until a row is final.

        Raises EnvironmentProblem when another process has it open: two writers would reuse nonces.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._confirmations = confirmations
        self._lock = threading.RLock()
        self._file_lock = lock_file(path, "the outbox")
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            self._file_lock.close()
            raise EnvironmentProblem(f"{path} cannot be opened as an outbox: {error}") from error

    def close(self) -> None:
        """Close the file and let another process open it."""
        with self._lock:
            self._db.close()
            self._file_lock.close()

    # ---- sending -----------------------------------------------------------------------------------------------------

    def submit(
        self,
        port: ChainPort,
        signer: Signer,
        purpose_key: str,
        call: Call,
        *,
        gas: int | None = None,
        intent: bytes | None = None,
    ) -> Row:
        """Make the transaction of a purpose durable, send it, and return its newest row.

        Asked again, it does not sign again: it returns the row there is, sent once more if it is not mined. `intent`
        (default: recipient, value and data) is what must be the same when asked again; give one when the data may
        differ without the meaning differing, such as another subset of signatures. A purpose whose transaction was
        mined and refused is signed anew under the same key and the next nonce, because nothing came of it.
        Raises Reverted when the contract would refuse now (nothing is written then), Retryable when the node does not
        answer or take it (the row stays and will be resent), Terminal on a foreign transaction or another intent.
        """
        intent = intent or _intent_of(call)
        with self._lock:
            self._check_chain(port)
            attempts = self._attempts(purpose_key)
            key = attempts[-1] if attempts else purpose_key
            rows = self.rows(key)
            if rows:
                if rows[-1].intent != intent:
                    raise Terminal(
                        f"purpose {purpose_key} was already used for another transaction (0x{rows[-1].tx_hash.hex()}); "
                        "two different intents must have two keys"
                    )
                row = self._advance(port, rows)
                if row.state is State.DEAD:
                    raise _foreign(port, row)
                if row.succeeded is not False:
                    return row
                if row.state is not State.FINAL:
                    return row  # refused, but its block may still change
                key = f"{purpose_key}~{len(attempts)}"
            if gas is None:
                estimate = port.estimate_gas(call, signer.address)
                gas = estimate + estimate * _GAS_MARGIN_PPM // 1_000_000
            fees, chain_nonce = port.fees(), port.nonce(signer.address)
            row = self._write(signer, port.chain_id, key, 0, intent, chain_nonce, call, gas, fees)
            return self._send(port, row)

    def bump(self, port: ChainPort, signer: Signer, purpose_key: str) -> Row:
        """Offer more for a transaction that is not mined: at least an eighth more, or the market's fee if that is higher.

        Returns the mined row unchanged when there is one. Raises Terminal when the purpose is unknown.
        """
        with self._lock:
            rows = self._latest(purpose_key)
            row = self._advance(port, rows)
            if row.state not in (State.QUEUED, State.SENT):
                return row
            market = port.fees()
            fees = Fees(
                max_fee_wei=max(market.max_fee_wei, _raised(row.fees.max_fee_wei)),
                max_priority_fee_wei=max(market.max_priority_fee_wei, _raised(row.fees.max_priority_fee_wei)),
            )
            bumped = self._write(
                signer,
                port.chain_id,
                row.purpose_key,
                row.bump + 1,
                row.intent,
                None,
                row.call,
                row.gas,
                fees,
                row.nonce,
            )
            return self._send(port, bumped)

    def _write(
        self,
        signer: Signer,
        chain_id: int,
        key: str,
        bump: int,
        intent: bytes,
        chain_nonce: int | None,
        call: Call,
        gas: int,
        fees: Fees,
        nonce: int | None = None,
    ) -> Row:
        """Choose the nonce, sign and insert in one durable transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if nonce is None:
                highest = self._db.execute(
                    "SELECT max(nonce) FROM outbox WHERE chain_id = ? AND sender = ?", (chain_id, signer.address)
                ).fetchone()[0]
                nonce = max(chain_nonce or 0, 0 if highest is None else highest + 1)
            raw = sign_transaction(signer, chain_id, nonce, gas, fees, call)
            row = Row(
                key, bump, intent, chain_id, signer.address, nonce, raw, transaction_hash(raw), self._clock.now_ms(),
                State.QUEUED, None, None, None, call, gas, fees,
            )  # fmt: skip
            values = to_values(row)
            self._db.execute(f"INSERT INTO outbox ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise Retryable(f"the outbox could not write {key}, so nothing was sent: {error}") from error
            raise
        return row

    def _send(self, port: ChainPort, row: Row) -> Row:
        try:
            port.send_raw(row.raw_tx)
        except (AlreadyKnown, NonceTooLow):
            pass  # rule 4: the receipt decides
        except Underpriced:
            if not any(sibling.state is State.SENT for sibling in self.rows(row.purpose_key)):
                raise
        self._set_state(row, State.SENT)
        return self._advance(port, self.rows(row.purpose_key), resend=False)

    # ---- following ---------------------------------------------------------------------------------------------------

    def recover(self, port: ChainPort, sender: str) -> list[Row]:
        """Bring every row of a sender up to date, resending what the chain does not have; call it on every start.

        Returns the newest row of each purpose that was not final, in nonce order. Raises Terminal on a foreign
        transaction in one of our nonces (after all rows were looked at) and Retryable when the node does not answer.
        """
        with self._lock:
            self._check_chain(port)
            chain_nonce = port.nonce(sender)
            keys = self._db.execute(
                "SELECT DISTINCT purpose_key, nonce FROM outbox WHERE chain_id = ? AND sender = ? "
                "AND (state IN ('queued', 'sent', 'mined') OR nonce >= ?) ORDER BY nonce",
                (port.chain_id, sender, chain_nonce),
            ).fetchall()
            newest = [self._advance(port, self.rows(key)) for key, _ in keys]
            for row in newest:
                if row.state is State.DEAD:
                    raise _foreign(port, row)
            return newest

    def refresh(self, port: ChainPort, purpose_key: str) -> Row:
        """Look at the chain and return the newest row of a purpose; resends it when the chain lost it.

        Raises Terminal when the purpose is unknown or its nonce was used by a foreign transaction.
        """
        with self._lock:
            row = self._advance(port, self._latest(purpose_key))
            if row.state is State.DEAD:
                raise _foreign(port, row)
            return row

    def wait(
        self, port: ChainPort, purpose_key: str, *, timeout_s: float = 120.0, poll_s: float = 0.5
    ) -> tuple[Row, Receipt]:
        """Block until a purpose is mined and return its row and receipt. Raises Reverted when the contract refused it,
        Retryable after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            row = self.refresh(port, purpose_key)
            receipt = port.receipt(row.tx_hash) if row.state in (State.MINED, State.FINAL) else None
            if receipt is not None:
                if not receipt.succeeded:
                    raise Reverted(
                        f"transaction 0x{row.tx_hash.hex()} was mined in block {receipt.block_number} but failed",
                        what=purpose_key,
                    )
                return row, receipt
            if time.monotonic() >= deadline:
                raise Retryable(
                    f"{purpose_key}: transaction 0x{row.tx_hash.hex()} is not mined after {timeout_s:g} s; "
                    "it is kept and will be resent, or offer more with a fee bump"
                )
            time.sleep(poll_s)

    def _advance(self, port: ChainPort, rows: Sequence[Row], *, resend: bool = True) -> Row:
        """Compare a purpose with the chain, write down what changed, and return its decisive row (rules 3 to 6)."""
        head = port.head()
        for row in reversed(rows):
            if row.state is State.FINAL and row.block_hash is not None and port.nonce(row.sender) > row.nonce:
                return row
            receipt = port.receipt(row.tx_hash)
            if receipt is None or port.block_hash(receipt.block_number) != receipt.block_hash:
                continue
            final = head.number - receipt.block_number >= self._confirmations
            self._settle(rows, row, receipt, State.FINAL if final else State.MINED)
            return self._reload(row)
        newest = rows[-1]
        if port.nonce(newest.sender) > newest.nonce:
            # the receipt may have appeared between the two questions
            for row in rows:
                receipt = port.receipt(row.tx_hash)
                if receipt is not None:
                    self._settle(rows, row, receipt, State.MINED)
                    return self._reload(row)
            lagging = port.transaction_at_nonce(newest.sender, newest.nonce) in [row.tx_hash for row in rows]
            for row in rows:
                self._set_state(row, State.SENT if lagging else State.DEAD)
            return self._reload(newest)
        for row in rows:
            if row.state in (State.MINED, State.FINAL, State.REPLACED, State.DEAD):
                self._set_state(row, State.SENT)  # the chain lost or reordered its block
        if resend:
            return self._send(port, newest)
        return self._reload(newest)

    def _settle(self, rows: Sequence[Row], winner: Row, receipt: Receipt, state: State) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                if row.tx_hash != winner.tx_hash:
                    self._set_state(row, State.REPLACED)
            self._db.execute(
                "UPDATE outbox SET state = ?, succeeded = ?, block_number = ?, block_hash = ? WHERE tx_hash = ?",
                (state, int(receipt.succeeded), receipt.block_number, receipt.block_hash, winner.tx_hash),
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _set_state(self, row: Row, state: State) -> None:
        self._db.execute(
            "UPDATE outbox SET state = ?, succeeded = NULL, block_number = NULL, block_hash = NULL WHERE tx_hash = ?",
            (state, row.tx_hash),
        )

    # ---- reading -----------------------------------------------------------------------------------------------------

    def rows(self, purpose_key: str | None = None) -> list[Row]:
        """Return the rows of one key in order of bump, or all rows by (sender, nonce, bump)."""
        where, values = ("WHERE purpose_key = ?", (purpose_key,)) if purpose_key is not None else ("", ())
        with self._lock:
            found = self._db.execute(
                f"SELECT {COLUMNS} FROM outbox {where} ORDER BY sender, nonce, bump", values
            ).fetchall()
        return [to_row(values) for values in found]

    def find(self, purpose_key: str) -> Row | None:
        """Return the newest row of a purpose without asking the chain, or None."""
        attempts = self._attempts(purpose_key)
        return self.rows(attempts[-1])[-1] if attempts else None

    def _attempts(self, purpose_key: str) -> list[str]:
        """Keys of a purpose: itself, then `key~1`, `key~2`… for those signed anew after a refusal."""
        with self._lock:
            found = self._db.execute(
                "SELECT DISTINCT purpose_key, nonce FROM outbox WHERE purpose_key = ? "
                "OR substr(purpose_key, 1, ?) = ? ORDER BY nonce",
                (purpose_key, len(purpose_key) + 1, purpose_key + "~"),
            ).fetchall()
        return [key for key, _ in found]

    def _latest(self, purpose_key: str) -> list[Row]:
        attempts = self._attempts(purpose_key)
        if not attempts:
            raise Terminal(f"the outbox holds no transaction for {purpose_key}")
        return self.rows(attempts[-1])

    def _reload(self, row: Row) -> Row:
        found = self._db.execute(f"SELECT {COLUMNS} FROM outbox WHERE tx_hash = ?", (row.tx_hash,)).fetchone()
        return to_row(found)

    def _check_chain(self, port: ChainPort) -> None:
        """Refuse another chain of the same id: its nonces would make the stored transactions valid there."""
        genesis = port.block_hash(0)
        known = self._db.execute("SELECT genesis FROM chain WHERE chain_id = ?", (port.chain_id,)).fetchone()
        if known is None:
            self._db.execute("INSERT INTO chain VALUES (?, ?)", (port.chain_id, genesis or b""))
        elif genesis is not None and known[0] != genesis:
            raise Terminal(
                f"the outbox belongs to another chain with id {port.chain_id} (first block 0x{known[0].hex()}, "
                f"not 0x{genesis.hex()}); restore that chain, or start with an empty outbox"
            )


def _intent_of(call: Call) -> bytes:
    return hashlib.sha256(f"{call.to}|{call.value_wei}|".encode() + call.data).digest()


def _raised(fee_wei: int) -> int:
    return fee_wei + max(fee_wei * _BUMP_PPM // 1_000_000, 1)


def _foreign(port: ChainPort, row: Row) -> Terminal:
    other = port.transaction_at_nonce(row.sender, row.nonce)
    named = f"0x{other.hex()}" if other is not None else "a transaction that this node cannot name"
    return Terminal(
        f"{row.purpose_key}: nonce {row.nonce} of {row.sender} was used by {named}, which is not ours. "
        "The key is used elsewhere too: find out by whom, then settle with another key"
    )
