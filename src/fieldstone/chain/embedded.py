"""Run an EVM chain inside this process: py-evm (Prague rules) on one SQLite file, nothing to install or start.

- One SQLite transaction per block with `synchronous=FULL`: after any kind of stop the file holds whole blocks only.
- Time is an argument of `mine`; a clock is only asked when a transaction is mined the moment it arrives (`automine`).
- Gas is counted as everywhere but costs nothing: the base fee starts at 0 and blocks are filled to half the gas
  limit, the point above which EIP-1559 would raise it. So an operator with an empty wallet can claim.
- Waiting transactions live in memory, as in every node; the outbox is what makes them survive.

This module is the only one that imports py-evm, which costs about 1.4 s: import it where a chain is opened.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")  # otherwise eth-hash may pick one that is eight times slower

from eth.chains.base import MiningChain
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.exceptions import HeaderNotFound, Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from fieldstone.chain.index import BlockIndex, MinedTransaction, StoredLog
from fieldstone.chain.port import (
    AlreadyKnown,
    Call,
    Fees,
    Head,
    Log,
    Receipt,
    Reverted,
    revert_reason,
)
from fieldstone.chain.store import SqliteStore
from fieldstone.chain.waiting import (
    BLOCK_GAS_LIMIT,
    CALL_GAS_CAP,
    Waiting,
    check_payable,
    data_floor_gas,
)
from fieldstone.clock import Clock
from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.identity.wallet import checksum_address

# Importing py-evm sets Python's recursion limit to 100,000. Then one deeply nested JSON body overruns the C stack of a
# thread and kills the process, at any door of it. This is enough for calls as deep as CALL_GAS_CAP allows.
sys.setrecursionlimit(12_000)

_ZERO_ADDRESS = "0x" + "00" * 20

_T = TypeVar("_T")


class EmbeddedChain:
    """A persistent EVM chain in one file; implements `ChainPort`, plus `mine`. Safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        *,
        chain_id: int = 31_337,
        clock: Clock | None = None,
        automine: bool = True,
        genesis_timestamp_s: int = 0,
        balances_wei: Mapping[str, int] | None = None,
    ) -> None:
        """Open the chain at `path`, or create it with a first block at `genesis_timestamp_s`.

        With `automine` a transaction is mined when it arrives, at the clock's second or one after the last block,
        whichever is later; without it, `mine` does so. `balances_wei` counts at creation only.
        Raises EnvironmentProblem when the file belongs to another chain id or is open in another process.
        """
        if automine and clock is None:
            raise UsageError("an embedded chain that mines on arrival needs a clock; or pass automine=False")
        self._lock = threading.RLock()
        self._clock = clock
        self._automine = automine
        self._waiting = Waiting(chain_id)
        self._chain_id = chain_id
        self.store = SqliteStore(path)
        self.index = BlockIndex(self.store.db)
        self._chain: Any = None
        # py-evm's types are stricter than its code: it only ever asks a store for items
        self._chain_class: Any = MiningChain.configure(
            __name__="FieldstoneChain",
            vm_configuration=((0, PragueVM.configure(consensus_class=NoProofConsensus)),),
            chain_id=chain_id,
        )
        try:
            self._open(path, genesis_timestamp_s, balances_wei or {})
        except BaseException:
            self.store.close()
            raise

    def _open(self, path: Path, genesis_timestamp_s: int, balances_wei: Mapping[str, int]) -> None:
        stored = self.store.get_meta("chain_id")
        if stored is None:
            state = {
                raw_address(address): {"balance": wei, "nonce": 0, "code": b"", "storage": {}}
                for address, wei in balances_wei.items()
            }
            genesis = {
                "difficulty": 0,
                "gas_limit": BLOCK_GAS_LIMIT,
                "timestamp": genesis_timestamp_s,
                "base_fee_per_gas": 0,
                "coinbase": b"\0" * 20,
            }
            with self.store.transaction():
                self._chain_class.from_genesis(AtomicDB(cast(Any, self.store)), genesis, state)
                self.store.set_meta("chain_id", str(self._chain_id))
        elif int(stored) != self._chain_id:
            raise EnvironmentProblem(
                f"{path} holds chain {stored}, but chain {self._chain_id} was asked for; use its chain id or another file"
            )
        self._reload()

    def _reload(self) -> None:
        """Drop everything py-evm has cached: after a rolled-back block only the file is right."""
        self._chain = self._chain_class(AtomicDB(cast(Any, self.store)))

    def close(self) -> None:
        """Close the file. Waiting transactions are forgotten."""
        with self._lock:
            self.store.close()

    # ---- mining ------------------------------------------------------------------------------------------------------

    def mine(self, timestamp_s: int | None = None) -> Head:
        """Make one block, possibly empty, of the waiting transactions; return the new head once it is durable.

        `timestamp_s` must lie after the last block's; None asks the clock. Raises UsageError otherwise.
        """
        with self._lock:
            head = self._chain.get_canonical_head()
            if timestamp_s is None:
                timestamp_s = self._next_timestamp(head)
            if timestamp_s <= head.timestamp:
                raise UsageError(
                    f"block time must rise: the last block is at {head.timestamp} s, not before {timestamp_s} s"
                )
            transactions = self._waiting.packed(self._chain.get_vm(head).state)
            try:
                self._mine_block(head, timestamp_s, transactions)
            except ValidationError:
                transactions = self._still_valid(head, timestamp_s, transactions)
                self._mine_block(head, timestamp_s, transactions)
            self._waiting.forget_used(self._state())
            return self.head()

    def _next_timestamp(self, head: Any) -> int:
        now_s = self._clock.now_ms() // 1000 if self._clock is not None else 0
        return max(int(head.timestamp) + 1, now_s)

    def _mine_block(self, head: Any, timestamp_s: int, transactions: list[Any]) -> None:
        try:
            with self.store.transaction():
                chain = self._chain
                chain.header = self._header_after(head, timestamp_s)
                result, receipts, computations = chain.mine_all(transactions)
                self.index.add(result.imported_block, receipts, computations)
        except BaseException:
            self._reload()
            raise

    def _header_after(self, head: Any, timestamp_s: int) -> Any:
        return self._chain.create_header_from_parent(
            head, timestamp=timestamp_s, gas_limit=head.gas_limit, coinbase=b"\0" * 20
        )

    def _still_valid(self, head: Any, timestamp_s: int, transactions: list[Any]) -> list[Any]:
        """Drop those that an earlier one of the same block made impossible (a drained balance)."""
        header = self._header_after(head, timestamp_s)
        vm = self._chain.get_vm(header)
        valid = []
        for transaction in transactions:
            try:
                vm.apply_transaction(header, transaction)
            except ValidationError:
                self._waiting.drop(transaction)
            else:
                valid.append(transaction)
        return valid

    # ---- transactions ------------------------------------------------------------------------------------------------

    def send_raw(self, raw: bytes) -> bytes:
        """Check and take a signed transaction; with `automine` it is in a durable block on return.

        Raises a SendRefused: AlreadyKnown, NonceTooLow, Underpriced, InsufficientFunds, or the base for malformed ones.
        """
        with self._lock:
            transaction = self._waiting.decode(raw, self._chain.get_vm().get_transaction_builder())
            tx_hash: bytes = transaction.hash
            if self._waiting.holds(transaction) or self.index.transaction(tx_hash) is not None:
                raise AlreadyKnown(f"already known: 0x{tx_hash.hex()}")
            check_payable(transaction, self._state())
            self._waiting.add(transaction)
            if self._automine:
                try:
                    self.mine()
                except BaseException:
                    self._waiting.drop(transaction)  # it must not spoil the next block too; the sender is told
                    raise
            return tx_hash

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """Return the receipt of a mined transaction."""
        with self._lock:
            mined = self.index.transaction(tx_hash)
            if mined is None:
                return None
            return Receipt(
                tx_hash=tx_hash,
                block_number=mined.block,
                block_hash=self._hash_of(mined.block),
                tx_index=mined.position,
                succeeded=mined.succeeded,
                gas_used=mined.gas_used,
                contract_address=checksum(mined.contract) if mined.contract else None,
                logs=tuple(map(self._to_log, self.index.logs(tx_hash=tx_hash, first_block=mined.block))),
            )

    def transaction_at_nonce(self, sender: str, nonce: int) -> bytes | None:
        """Return the hash of the mined transaction that used a nonce."""
        with self._lock:
            return self.index.hash_at_nonce(raw_address(sender), nonce)

    def logs(
        self, address: str, topics: tuple[bytes | None, ...] = (), first_block: int = 0, last_block: int | None = None
    ) -> list[Log]:
        """Return events of a contract in block order."""
        choices = [[] if topic is None else [topic] for topic in topics]
        return self.find_logs(
            addresses=[raw_address(address)], topics=choices, first_block=first_block, last_block=last_block
        )

    def find_logs(self, **query: Any) -> list[Log]:
        """Return events as `BlockIndex.logs` finds them."""
        with self._lock:
            return [self._to_log(stored) for stored in self.index.logs(**query)]

    def _to_log(self, stored: StoredLog) -> Log:
        return Log(
            address=checksum(stored.address),
            topics=stored.topics,
            data=stored.data,
            block_number=stored.block,
            block_hash=self._hash_of(stored.block),
            tx_hash=stored.tx_hash,
            tx_index=stored.tx_position,
            index=stored.position,
        )

    # ---- reading -----------------------------------------------------------------------------------------------------

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        return self._chain_id

    def head(self) -> Head:
        """Return the newest block."""
        with self._lock:
            header = self._chain.get_canonical_head()
            return Head(header.block_number, header.hash, header.timestamp, header.base_fee_per_gas)

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash of a block, or None above the head."""
        with self._lock:
            try:
                return self._hash_of(number)
            except HeaderNotFound:
                return None

    def _hash_of(self, number: int) -> bytes:
        block_hash: bytes = self._chain.get_canonical_block_hash(number)
        return block_hash

    def nonce(self, address: str) -> int:
        """Return the number of mined transactions of an account."""
        return self.read(lambda state: int(state.get_nonce(raw_address(address))))

    def balance(self, address: str) -> int:
        """Return wei."""
        return self.read(lambda state: int(state.get_balance(raw_address(address))))

    def code(self, address: str) -> bytes:
        """Return runtime bytes."""
        return self.read(lambda state: bytes(state.get_code(raw_address(address))))

    def fees(self) -> Fees:
        """Return zero fees: gas is free here."""
        return Fees(max_fee_wei=2 * self.head().base_fee_wei, max_priority_fee_wei=0)

    def read(self, what: Callable[[Any], _T], block: int | None = None) -> _T:
        """Return `what(state)` of the newest block or an older one; `state` is py-evm's."""
        with self._lock:
            return what(self._state(block))

    def _state(self, block: int | None = None) -> Any:
        header = (
            self._chain.get_canonical_head()
            if block is None
            else self._chain.get_canonical_block_header_by_number(block)
        )
        return self._chain.get_vm(header).state

    # ---- execution without a transaction -----------------------------------------------------------------------------

    def call(self, call: Call, sender: str | None = None, *, gas: int | None = None, block: int | None = None) -> bytes:
        """Run a message and return its output. Raises Reverted; see `simulate` for the block it runs in."""
        computation = self.simulate(call, sender, gas=gas, block=block)
        _raise_error(computation)
        return bytes(computation.output)

    def estimate_gas(self, call: Call, sender: str, *, block: int | None = None) -> int:
        """Return the least gas limit that works, within 1 %. Raises Reverted when even the most does not."""
        with self._lock:
            first = self.simulate(call, sender, gas=CALL_GAS_CAP, block=block)
            _raise_error(first)
            floor = data_floor_gas(call.data)
            low = max(CALL_GAS_CAP - first.get_gas_remaining(), floor)
            high = CALL_GAS_CAP
            # inner calls get 63/64 of the gas, so a little more than was used may be needed
            for guess in (low, low + low // 32 + 3_000):
                if not self.simulate(call, sender, gas=guess, block=block).is_error:
                    return int(guess)
                low = guess
            while high - low > low // 100:
                middle = (low + high) // 2
                if self.simulate(call, sender, gas=middle, block=block).is_error:
                    low = middle
                else:
                    high = middle
            return int(high)

    def simulate(self, call: Call, sender: str | None, *, gas: int | None, block: int | None) -> Any:
        """Run a message and return py-evm's computation; nothing is written. Raises Reverted on an unpayable value.

        Without a block it runs as if in the next one, at the time that block would have: activation times then
        count as a transaction sent now would see them.
        """
        with self._lock:
            if block is None:
                head = self._chain.get_canonical_head()
                header = self._header_after(head, self._next_timestamp(head))
            else:
                header = self._chain.get_canonical_block_header_by_number(block).copy(base_fee_per_gas=0)
            vm = self._chain.get_vm(header)
            origin = raw_address(sender or _ZERO_ADDRESS)
            builder = vm.get_transaction_builder()
            unsigned = builder.new_unsigned_dynamic_fee_transaction(
                chain_id=self._chain_id,
                nonce=vm.state.get_nonce(origin),
                max_priority_fee_per_gas=0,
                max_fee_per_gas=0,
                gas=min(gas or CALL_GAS_CAP, CALL_GAS_CAP),
                to=raw_address(call.to) if call.to else b"",
                value=call.value_wei,
                data=call.data,
                access_list=(),
            )
            try:
                return vm.state.apply_transaction(SpoofTransaction(unsigned, from_=origin))
            except ValidationError as error:
                raise Reverted(str(error)) from error

    # ---- for the JSON-RPC endpoint -----------------------------------------------------------------------------------

    def block(self, number: int) -> Any:
        """Return py-evm's block, or None above the head."""
        with self._lock:
            try:
                return self._chain.get_canonical_block_by_number(number)
            except HeaderNotFound:
                return None

    def block_number_of(self, block_hash: bytes) -> int | None:
        """Return the number of a canonical block, or None."""
        with self._lock:
            try:
                return int(self._chain.get_block_header_by_hash(block_hash).block_number)
            except HeaderNotFound:
                return None

    def mined(self, tx_hash: bytes) -> MinedTransaction | None:
        """Return a mined transaction's place and outcome, or None."""
        with self._lock:
            return self.index.transaction(tx_hash)

    def transactions_of(self, number: int) -> list[MinedTransaction]:
        """Return the places and outcomes of a block's transactions, in order."""
        with self._lock:
            return self.index.transactions_of(number)

    def waiting(self) -> list[Any]:
        """Return py-evm's transactions that wait for a block."""
        with self._lock:
            return list(self._waiting)


def checksum(address: bytes) -> str:
    """Return 20 bytes as EIP-55 text."""
    return checksum_address("0x" + address.hex())


def raw_address(address: str) -> bytes:
    """Return the 20 bytes of an address text."""
    return bytes.fromhex(address[2:])


def _raise_error(computation: Any) -> None:
    if computation.is_error:
        data = bytes(computation.output)
        reason = revert_reason(data) if isinstance(computation.error, Revert) else type(computation.error).__name__
        raise Reverted(reason, data)
