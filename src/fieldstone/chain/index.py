"""Find transactions by hash and events by contract: what py-evm's storage cannot answer and a JSON-RPC node must."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS tx (
  hash BLOB PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL, sender BLOB NOT NULL, nonce INTEGER NOT NULL,
  recipient BLOB, contract BLOB, succeeded INTEGER NOT NULL, gas_used INTEGER NOT NULL, cumulative_gas INTEGER NOT NULL,
  gas_price_wei TEXT NOT NULL, type INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS tx_sender ON tx (sender, nonce);
CREATE INDEX IF NOT EXISTS tx_block ON tx (block, position);
CREATE TABLE IF NOT EXISTS log (
  block INTEGER NOT NULL, position INTEGER NOT NULL, tx_position INTEGER NOT NULL, tx_hash BLOB NOT NULL,
  address BLOB NOT NULL, topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB NOT NULL,
  PRIMARY KEY (block, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS log_address ON log (address, topic0, block);
CREATE INDEX IF NOT EXISTS log_tx ON log (tx_hash);
"""


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """Where a transaction stands in the chain and what came of it; addresses are 20 bytes."""

    hash: bytes
    block: int
    position: int
    sender: bytes
    nonce: int
    recipient: bytes | None
    contract: bytes | None
    succeeded: bool
    gas_used: int
    cumulative_gas: int
    gas_price_wei: int
    type: int


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One event as stored; `position` counts within the block."""

    block: int
    position: int
    tx_position: int
    tx_hash: bytes
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


class BlockIndex:
    """The two index tables of a chain file. Writes happen inside the caller's transaction, with the block itself."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, block: Any, receipts: Sequence[Any], computations: Sequence[Any]) -> None:
        """Write the entries of one block just executed by py-evm."""
        cumulative = 0
        log_position = 0
        for position, (transaction, receipt, computation) in enumerate(
            zip(block.transactions, receipts, computations, strict=True)
        ):
            gas_used, cumulative = receipt.gas_used - cumulative, receipt.gas_used
            base_fee = block.header.base_fee_per_gas
            self._db.execute(
                "INSERT INTO tx VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    transaction.hash,
                    block.number,
                    position,
                    transaction.sender,
                    transaction.nonce,
                    transaction.to or None,
                    computation.msg.storage_address if computation.msg.is_create else None,
                    int(computation.is_success),
                    gas_used,
                    cumulative,
                    str(min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee)),
                    getattr(transaction, "type_id", None) or 0,
                ),
            )
            for log in receipt.logs:
                topics: tuple[bytes | None, ...] = tuple(topic.to_bytes(32, "big") for topic in log.topics)
                topics = (*topics, None, None, None, None)[:4]
                self._db.execute(
                    "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (block.number, log_position, position, transaction.hash, log.address, *topics, log.data),
                )
                log_position += 1

    def transaction(self, tx_hash: bytes) -> MinedTransaction | None:
        """Return a mined transaction, or None."""
        rows = self._transactions("hash = ?", (tx_hash,))
        return rows[0] if rows else None

    def transactions_of(self, block: int) -> list[MinedTransaction]:
        """Return a block's transactions in order."""
        return self._transactions("block = ?", (block,))

    def hash_at_nonce(self, sender: bytes, nonce: int) -> bytes | None:
        """Return the hash of the mined transaction that used a nonce, or None."""
        rows = self._transactions("sender = ? AND nonce = ?", (sender, nonce))
        return rows[0].hash if rows else None

    def _transactions(self, where: str, values: tuple[Any, ...]) -> list[MinedTransaction]:
        rows = self._db.execute(f"SELECT * FROM tx WHERE {where} ORDER BY block, position", values).fetchall()
        return [_to_transaction(row) for row in rows]

    def logs(
        self,
        *,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
        first_block: int = 0,
        last_block: int | None = None,
        tx_hash: bytes | None = None,
        limit: int = -1,
    ) -> list[StoredLog]:
        """Return events in block order: any of `addresses` (none: all), at each topic position any of a list (none: all)."""
        clauses = ["block >= ?"]
        parameters: list[Any] = [first_block]
        if last_block is not None:
            clauses.append("block <= ?")
            parameters.append(last_block)
        if tx_hash is not None:
            clauses.append("tx_hash = ?")
            parameters.append(tx_hash)
        for column, choices in [("address", addresses), *((f"topic{i}", topic) for i, topic in enumerate(topics[:4]))]:
            if choices:
                clauses.append(f"{column} IN ({', '.join('?' * len(choices))})")
                parameters.extend(choices)
        rows = self._db.execute(
            "SELECT block, position, tx_position, tx_hash, address, topic0, topic1, topic2, topic3, data FROM log "
            f"WHERE {' AND '.join(clauses)} ORDER BY block, position LIMIT ?",
            (*parameters, limit),
        ).fetchall()
        return [_to_log(row) for row in rows]


def _to_transaction(row: Any) -> MinedTransaction:
    values: list[Any] = list(row)
    values[7], values[10] = bool(values[7]), int(values[10])
    return MinedTransaction(*values)


def _to_log(row: Any) -> StoredLog:
    block, position, tx_position, tx_hash, address, *topics, data = row
    return StoredLog(
        block, position, tx_position, tx_hash, address, tuple(topic for topic in topics if topic is not None), data
    )
