"""A row of the outbox: one signed transaction, and how it lies in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fieldstone.chain.port import Call, Fees

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
  purpose_key TEXT NOT NULL, bump INTEGER NOT NULL, intent BLOB NOT NULL, chain_id INTEGER NOT NULL,
  sender TEXT NOT NULL, nonce INTEGER NOT NULL, raw_tx BLOB NOT NULL, tx_hash BLOB NOT NULL UNIQUE,
  created_ms INTEGER NOT NULL, state TEXT NOT NULL, succeeded INTEGER, block_number INTEGER, block_hash BLOB,
  recipient TEXT, data BLOB NOT NULL, value_wei TEXT NOT NULL, gas INTEGER NOT NULL,
  max_fee_wei TEXT NOT NULL, max_priority_fee_wei TEXT NOT NULL,
  PRIMARY KEY (purpose_key, bump)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS outbox_nonce ON outbox (chain_id, sender, nonce, bump);
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (state) WHERE state IN ('queued', 'sent', 'mined');
CREATE TABLE IF NOT EXISTS chain (chain_id INTEGER PRIMARY KEY, genesis BLOB NOT NULL);
"""
COLUMNS = (
    "purpose_key, bump, intent, chain_id, sender, nonce, raw_tx, tx_hash, created_ms, state, succeeded, block_number, "
    "block_hash, recipient, data, value_wei, gas, max_fee_wei, max_priority_fee_wei"
)


class State(StrEnum):
    """Where a row stands. `dead`: its nonce was used by a transaction that is not ours."""

    QUEUED = "queued"
    SENT = "sent"
    MINED = "mined"
    FINAL = "final"
    REPLACED = "replaced"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Row:
    """One signed transaction. `succeeded` is None until mined, False when the contract refused."""

    purpose_key: str
    bump: int
    intent: bytes
    chain_id: int
    sender: str
    nonce: int
    raw_tx: bytes
    tx_hash: bytes
    created_ms: int
    state: State
    succeeded: bool | None
    block_number: int | None
    block_hash: bytes | None
    call: Call
    gas: int
    fees: Fees


def to_values(row: Row) -> tuple[object, ...]:
    """Return a row in the order of `COLUMNS`."""
    call, fees = row.call, row.fees
    return (
        row.purpose_key, row.bump, row.intent, row.chain_id, row.sender, row.nonce, row.raw_tx, row.tx_hash,
        row.created_ms, row.state, row.succeeded, row.block_number, row.block_hash, call.to, call.data,
        str(call.value_wei), row.gas, str(fees.max_fee_wei), str(fees.max_priority_fee_wei),
    )  # fmt: skip


def to_row(values: Sequence[object]) -> Row:
    """Return the row of a result in the order of `COLUMNS`."""
    (key, bump, intent, chain_id, sender, nonce, raw, tx_hash, created, state, succeeded, block, block_hash, recipient,
     data, value_wei, gas, max_fee, max_priority) = values  # fmt: skip
    return Row(
        purpose_key=str(key),
        bump=_integer(bump),
        intent=_blob(intent),
        chain_id=_integer(chain_id),
        sender=str(sender),
        nonce=_integer(nonce),
        raw_tx=_blob(raw),
        tx_hash=_blob(tx_hash),
        created_ms=_integer(created),
        state=State(str(state)),
        succeeded=None if succeeded is None else bool(succeeded),
        block_number=None if block is None else _integer(block),
        block_hash=None if block_hash is None else _blob(block_hash),
        call=Call(None if recipient is None else str(recipient), _blob(data), _integer(value_wei)),
        gas=_integer(gas),
        fees=Fees(_integer(max_fee), _integer(max_priority)),
    )


def _integer(value: object) -> int:
    assert isinstance(value, int | str)
    return int(value)


def _blob(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
