"""The small seam to an EVM chain. Two implementations, one test suite: the embedded chain and any JSON-RPC URL.

A port only reads, sends signed bytes and reports what became of them. What Fieldstone *does* on a chain
(`fieldstone.chain.settlement`) and how a transaction survives a crash (`fieldstone.chain.outbox`) are built on it once.

Addresses are EIP-55 texts, hashes and data are bytes, money is wei, times are Unix seconds of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fieldstone.errors import FieldstoneError, Retryable, Terminal


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block."""

    number: int
    hash: bytes
    timestamp_s: int
    base_fee_wei: int


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction sent now should offer per gas (EIP-1559)."""

    max_fee_wei: int
    max_priority_fee_wei: int


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a mined transaction; `index` counts within the block."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    tx_hash: bytes
    tx_index: int
    index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction. `succeeded` is False when it was reverted (its nonce is used all the same)."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    tx_index: int
    succeeded: bool
    gas_used: int
    contract_address: str | None
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A message to a contract; `to` None deploys `data`."""

    to: str | None
    data: bytes
    value_wei: int = 0


class Signer(Protocol):
    """Whoever signs: `identity.wallet.Wallet`, or a hardware key with the same two members."""

    @property
    def address(self) -> str: ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Return 65 bytes r‖s‖v over 32 bytes, v 27 or 28, low s."""
        ...


@runtime_checkable
class ChainPort(Protocol):
    """A chain. Every method raises Retryable when the node does not answer."""

    @property
    def chain_id(self) -> int: ...

    def head(self) -> Head:
        """Return the newest block."""
        ...

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash of a block of the canonical chain, or None above the head."""
        ...

    def nonce(self, address: str) -> int:
        """Return the number of mined transactions of an account."""
        ...

    def balance(self, address: str) -> int:
        """Return wei."""
        ...

    def code(self, address: str) -> bytes:
        """Return the contract's runtime bytes, empty for none."""
        ...

    def fees(self) -> Fees:
        """Return what to offer for inclusion in the next blocks."""
        ...

    def call(self, call: Call, sender: str | None = None) -> bytes:
        """Run a message against the newest state without a transaction. Raises Reverted."""
        ...

    def estimate_gas(self, call: Call, sender: str) -> int:
        """Return the gas limit at which the message succeeds now. Raises Reverted."""
        ...

    def send_raw(self, raw: bytes) -> bytes:
        """Hand a signed transaction to the node and return its hash. Raises SendRefused."""
        ...

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """Return the receipt, or None while the transaction is not mined."""
        ...

    def transaction_at_nonce(self, sender: str, nonce: int) -> bytes | None:
        """Return the hash of the mined transaction that used a nonce, or None when that cannot be found out."""
        ...

    def logs(
        self, address: str, topics: tuple[bytes | None, ...] = (), first_block: int = 0, last_block: int | None = None
    ) -> list[Log]:
        """Return events of a contract in block order; a None topic matches anything."""
        ...


class Reverted(Terminal):
    """A contract refused. `reason` is its text ("root was updated"), `data` the raw revert bytes."""

    def __init__(self, reason: str, data: bytes = b"", *, what: str = "the contract call", remedy: str = "") -> None:
        self.reason = reason
        self.data = data
        tail = f". {remedy}" if remedy else ""
        super().__init__(f"{what} was refused: {reason or 'no reason given'}{tail}")


class SendRefused(FieldstoneError):
    """A node did not take a transaction. The subclass says whether that is a prompt, a wait or an end."""


class AlreadyKnown(SendRefused):
    """The node has this very transaction: look for its receipt."""


class NonceTooLow(SendRefused):
    """The nonce is used: look for receipts of this transaction and its siblings."""


class Underpriced(SendRefused, Retryable):
    """The fee is below what the node takes now, or below a pending sibling's: bump or wait."""


class InsufficientFunds(SendRefused, Retryable):
    """The sender cannot pay gas × fee + value: fund the address and try again."""


def revert_reason(data: bytes) -> str:
    """Return the text of `Error(string)`, the name of `Panic(uint256)`, or "" for bare or custom revert data."""
    if data[:4] == b"\x08\xc3\x79\xa0" and len(data) >= 68:
        length = int.from_bytes(data[36:68], "big")
        return data[68 : 68 + min(length, 1024)].decode("utf-8", "replace")
    if data[:4] == b"\x4e\x48\x7b\x71" and len(data) >= 36:
        code = int.from_bytes(data[4:36], "big")
        return {0x11: "arithmetic overflow", 0x12: "division by zero", 0x32: "index out of range"}.get(
            code, f"panic {code:#x}"
        )
    return ""


def classify_refusal(message: str) -> SendRefused:
    """Turn a node's error text into the right kind of refusal; nodes agree on words, not on codes.

    Texts of go-ethereum `core/txpool/errors.go`, Nethermind, Besu, Erigon and anvil.
    """
    lower = message.lower()
    if "already known" in lower or "already imported" in lower or "known transaction" in lower:
        return AlreadyKnown(f"the node already has this transaction ({message})")
    if "nonce too low" in lower or "nonce is too low" in lower or "oldnonce" in lower or "invalid nonce" in lower:
        return NonceTooLow(f"the nonce is already used ({message})")
    if "underpriced" in lower or "less than block base fee" in lower or "fee too low" in lower or "feetoolow" in lower:
        return Underpriced(f"the fee is too low for the node ({message}); bump it or wait")
    if "insufficient funds" in lower or "insufficientfunds" in lower or "upfront" in lower:
        return InsufficientFunds(f"the sender cannot pay for gas ({message}); fund the address and try again")
    return SendRefused(f"the node refused the transaction: {message}")
