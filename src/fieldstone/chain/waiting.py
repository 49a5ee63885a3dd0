"""Transactions that wait for a block of the embedded chain: who may enter, and which go next.

A stranger chooses the bytes, so every way in which they can be wrong is refused by name before anything is executed.
py-evm's virtual machines and states are passed in; this module never imports py-evm, whose types are `Any` here.
"""

from __future__ import annotations

from typing import Any

from fieldstone.chain.port import InsufficientFunds, NonceTooLow, SendRefused, Underpriced
from fieldstone.chain.transactions import transaction_hash
from fieldstone.identity.wallet import checksum_address

BLOCK_GAS_LIMIT = 60_000_000
BLOCK_GAS_TARGET = BLOCK_GAS_LIMIT // 2  # filled no further: above it EIP-1559 would raise the base fee from 0
CALL_GAS_CAP = 10_000_000  # one call or transaction; bounds what a stranger's free call can burn
MAX_WAITING = 1_000  # transactions kept while a nonce before them is missing

_BLOB_TRANSACTION = 3


class Waiting:
    """Transactions by sender and nonce, in order of arrival. Not safe for threads: the chain's lock guards it."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._kept: dict[tuple[bytes, int], Any] = {}

    def __iter__(self) -> Any:
        return iter(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def holds(self, transaction: Any) -> bool:
        """Whether this very transaction waits."""
        rival = self._kept.get(_place(transaction))
        return rival is not None and rival.hash == transaction.hash

    def add(self, transaction: Any) -> None:
        """Keep a checked transaction; one with a tenth more fee replaces that of its nonce. Raises Underpriced."""
        place = _place(transaction)
        rival = self._kept.get(place)
        if rival is not None and transaction.max_fee_per_gas * 10 < rival.max_fee_per_gas * 11:
            raise Underpriced("replacement transaction underpriced: offer at least 10 % more than the waiting one")
        if rival is None and len(self._kept) >= MAX_WAITING:
            raise Underpriced("txpool is full: too many transactions wait for an earlier nonce")
        self._kept[place] = transaction

    def drop(self, transaction: Any) -> None:
        """Forget a transaction, if it is there."""
        self._kept.pop(_place(transaction), None)

    def clear(self) -> None:
        """Forget all, as a stop would."""
        self._kept.clear()

    def packed(self, state: Any) -> list[Any]:
        """Return what goes into the next block, in order of arrival, each sender's in nonce order without gaps, up to the target."""
        next_nonce: dict[bytes, int] = {}
        packed: list[Any] = []
        gas = 0
        while True:
            for (sender, nonce), transaction in self._kept.items():
                if nonce != next_nonce.setdefault(sender, state.get_nonce(sender)):
                    continue
                if gas + transaction.gas > BLOCK_GAS_TARGET:
                    return packed
                packed.append(transaction)
                gas += transaction.gas
                next_nonce[sender] += 1
                break
            else:
                return packed

    def forget_used(self, state: Any) -> None:
        """Forget every transaction whose nonce was used."""
        for sender, nonce in [place for place in self._kept if place[1] < state.get_nonce(place[0])]:
            del self._kept[sender, nonce]

    def decode(self, raw: bytes, builder: Any) -> Any:
        """Return the transaction that the bytes are, its signature checked. Raises SendRefused."""
        try:
            transaction = builder.decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
            _ = transaction.sender  # recovered here, where a failure is the stranger's, and cached
        except Exception as error:  # rlp, eth_keys, eth_utils and TypeErrors alike, for bytes a stranger chose
            raise SendRefused(f"the bytes are not a signed transaction: {error}") from error
        if transaction.hash != transaction_hash(raw):
            raise SendRefused("the bytes are not the canonical encoding of their transaction")
        if getattr(transaction, "type_id", None) == _BLOB_TRANSACTION:
            raise SendRefused("blob transactions are not carried by the embedded chain")
        if transaction.chain_id != self._chain_id:
            named = (
                "no chain (EIP-155 is required)" if transaction.chain_id is None else f"chain {transaction.chain_id}"
            )
            raise SendRefused(f"invalid chain id: the transaction names {named}, this is chain {self._chain_id}")
        return transaction


def check_payable(transaction: Any, state: Any) -> None:
    """Raise the SendRefused of a transaction that no block after `state` could hold."""
    nonce = state.get_nonce(transaction.sender)
    if transaction.nonce < nonce:
        raise NonceTooLow(f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}")
    if transaction.max_fee_per_gas < transaction.max_priority_fee_per_gas:
        raise SendRefused("max priority fee per gas higher than max fee per gas")
    if transaction.gas > CALL_GAS_CAP:
        raise SendRefused(f"exceeds block gas limit: a transaction may use {CALL_GAS_CAP} gas here")
    needed = max(transaction.intrinsic_gas, data_floor_gas(transaction.data))
    if transaction.gas < needed:
        raise SendRefused(f"intrinsic gas too low: {transaction.gas} offered, {needed} needed")
    cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
    if state.get_balance(transaction.sender) < cost:
        sender = checksum_address("0x" + transaction.sender.hex())
        raise InsufficientFunds(f"insufficient funds for gas * price + value: address {sender} needs {cost} wei")


def data_floor_gas(data: bytes) -> int:
    """Return the least gas a transaction with this data must offer (EIP-7623)."""
    zeros = data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(data) - zeros))


def _place(transaction: Any) -> tuple[bytes, int]:
    return transaction.sender, transaction.nonce
