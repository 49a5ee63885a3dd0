"""The Ethereum JSON-RPC methods of the embedded chain: what wallets, `web3` and block explorers ask for.

Formats follow the execution-apis specification (ethereum/execution-apis): quantities are hex without leading zeros,
data is hex of even length. Parameters come from strangers: whatever is off becomes `InvalidParams`, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rlp.codec

from fieldstone import __version__
from fieldstone.chain.embedded import EmbeddedChain, checksum, raw_address
from fieldstone.chain.index import MinedTransaction
from fieldstone.chain.merkle import is_address
from fieldstone.chain.port import Call, Log
from fieldstone.chain.waiting import BLOCK_GAS_TARGET
from fieldstone.identity.wallet import keccak256

MAX_LOGS = 10_000  # in one answer, as public nodes limit it
MAX_FEE_HISTORY = 1_024


class InvalidParams(Exception):
    """Parameters do not fit the method (JSON-RPC −32602)."""


class TooMany(Exception):
    """The answer would be too large (−32005, as public nodes use it)."""


class Methods:
    """Answers by method name: `table["eth_blockNumber"](params)`."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain
        self.table: dict[str, Callable[[list[Any]], Any]] = {
            "web3_clientVersion": lambda _: f"fieldstone/{__version__}/py-evm",
            "web3_sha3": lambda p: _hex(keccak256(_blob(_at(p, 0)))),
            "net_version": lambda _: str(chain.chain_id),
            "net_listening": lambda _: True,
            "eth_chainId": lambda _: hex(chain.chain_id),
            "eth_syncing": lambda _: False,
            "eth_accounts": lambda _: [],
            "eth_blockNumber": lambda _: hex(chain.head().number),
            "eth_gasPrice": lambda _: hex(chain.head().base_fee_wei),
            "eth_maxPriorityFeePerGas": lambda _: hex(chain.fees().max_priority_fee_wei),
            "eth_feeHistory": self._fee_history,
            "eth_getBalance": lambda p: hex(self._read(p, 1, lambda s, a: s.get_balance(a))),
            "eth_getCode": lambda p: _hex(self._read(p, 1, lambda s, a: s.get_code(a))),
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._transaction_count,
            "eth_call": lambda p: _hex(chain.call(*self._message(p), gas=_gas(p), block=self._at_block(p, 1))),
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": lambda p: _hex(chain.send_raw(_blob(_at(p, 0)))),
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getBlockByNumber": lambda p: self._block(self._number(_at(p, 0)), bool(_at(p, 1, False))),
            "eth_getBlockByHash": lambda p: self._block(
                chain.block_number_of(_word(_at(p, 0))), bool(_at(p, 1, False))
            ),
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getLogs": self._logs,
        }

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _number(self, tag: Any) -> int:
        """Read a block tag, number, or EIP-1898 object into a block number."""
        if isinstance(tag, dict):
            if "blockHash" in tag:
                number = self._chain.block_number_of(_word(tag["blockHash"]))
                if number is None:
                    raise InvalidParams("block not found")
                return number
            tag = tag.get("blockNumber", "latest")
        if tag in ("latest", "pending", "safe", "finalized", None):
            return self._chain.head().number
        return 0 if tag == "earliest" else _quantity(tag)

    def _at_block(self, params: list[Any], position: int) -> int | None:
        """Read an optional block parameter; None stands for the newest state, which the chain runs as the next block."""
        tag = _at(params, position, "latest")
        if tag in ("latest", "pending", None):
            return None
        number = self._number(tag)
        if number > self._chain.head().number:
            raise InvalidParams(f"block {number} is not there yet")
        return number

    def _read(self, params: list[Any], position: int, what: Callable[[Any, bytes], Any]) -> Any:
        address = _address(_at(params, 0))
        return self._chain.read(lambda state: what(state, address), self._at_block(params, position))

    def _message(self, params: list[Any]) -> tuple[Call, str | None]:
        message = _at(params, 0)
        if not isinstance(message, dict):
            raise InvalidParams("a call is an object with from, to, data, value")
        data = message.get("input", message.get("data")) or "0x"
        to = message.get("to")
        call = Call(
            to=None if to in (None, "", "0x") else checksum(_address(to)),
            data=_blob(data),
            value_wei=_quantity(message.get("value") or "0x0"),
        )
        sender = message.get("from")
        return call, None if sender is None else checksum(_address(sender))

    # ---- state -------------------------------------------------------------------------------------------------------

    def _storage(self, params: list[Any]) -> str:
        slot = _at(params, 1)
        slot = _quantity(slot if slot != "0x" else "0x0")
        value: int = self._read([_at(params, 0), _at(params, 2, "latest")], 1, lambda s, a: s.get_storage(a, slot))
        return _hex(value.to_bytes(32, "big"))

    def _transaction_count(self, params: list[Any]) -> str:
        count: int = self._read(params, 1, lambda state, address: state.get_nonce(address))
        if _at(params, 1, "latest") == "pending":
            sender = _address(_at(params, 0))
            waiting = {transaction.nonce for transaction in self._chain.waiting() if transaction.sender == sender}
            while count in waiting:
                count += 1
        return hex(count)

    def _estimate(self, params: list[Any]) -> str:
        call, sender = self._message(params)
        return hex(self._chain.estimate_gas(call, sender or checksum(bytes(20)), block=self._at_block(params, 1)))

    def _fee_history(self, params: list[Any]) -> dict[str, Any]:
        count = _at(params, 0)
        count = min(count if isinstance(count, int) else _quantity(count), MAX_FEE_HISTORY)
        newest = min(self._number(_at(params, 1, "latest")), self._chain.head().number)
        numbers = list(range(max(newest - count + 1, 0), newest + 1)) if count > 0 else []
        percentiles = _at(params, 2, None) or []
        headers = [block.header for block in map(self._chain.block, numbers) if block is not None]
        history: dict[str, Any] = {
            "oldestBlock": hex(numbers[0] if numbers else newest),
            "baseFeePerGas": [hex(header.base_fee_per_gas) for header in headers]
            + [hex(self._chain.head().base_fee_wei)],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles:
            history["reward"] = [["0x0"] * len(percentiles) for _ in headers]
        return history

    # ---- blocks and transactions -------------------------------------------------------------------------------------

    def _block(self, number: int | None, full: bool) -> dict[str, Any] | None:
        block = None if number is None else self._chain.block(number)
        if block is None:
            return None
        header = block.header
        entries = self._chain.transactions_of(header.block_number)
        return {
            "number": hex(header.block_number),
            "hash": _hex(header.hash),
            "parentHash": _hex(header.parent_hash),
            "nonce": _hex(header.nonce),
            "sha3Uncles": _hex(header.uncles_hash),
            "logsBloom": _hex(header.bloom.to_bytes(256, "big")),
            "transactionsRoot": _hex(header.transaction_root),
            "stateRoot": _hex(header.state_root),
            "receiptsRoot": _hex(header.receipt_root),
            "miner": checksum(header.coinbase),
            "difficulty": hex(header.difficulty),
            "extraData": _hex(header.extra_data),
            "size": hex(len(_encode_block(block))),
            "gasLimit": hex(header.gas_limit),
            "gasUsed": hex(header.gas_used),
            "timestamp": hex(header.timestamp),
            "baseFeePerGas": hex(header.base_fee_per_gas),
            "mixHash": _hex(header.mix_hash),
            "withdrawals": [],
            "withdrawalsRoot": _hex(header.withdrawals_root),
            "blobGasUsed": hex(header.blob_gas_used),
            "excessBlobGas": hex(header.excess_blob_gas),
            "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root),
            "requestsHash": _hex(header.requests_hash),
            "uncles": [],
            "transactions": [
                _transaction(transaction, entry, header.hash) if full else _hex(entry.hash)
                for transaction, entry in zip(block.transactions, entries, strict=True)
            ],
        }

    def _transaction(self, params: list[Any]) -> dict[str, Any] | None:
        tx_hash = _word(_at(params, 0))
        entry = self._chain.mined(tx_hash)
        if entry is not None:
            block = self._chain.block(entry.block)
            return _transaction(block.transactions[entry.position], entry, block.hash)
        for transaction in self._chain.waiting():
            if transaction.hash == tx_hash:
                return _transaction(transaction, None, None)
        return None

    def _receipt(self, params: list[Any]) -> dict[str, Any] | None:
        entry = self._chain.mined(_word(_at(params, 0)))
        return None if entry is None else self._receipt_of(entry)

    def _block_receipts(self, params: list[Any]) -> list[dict[str, Any]]:
        return [self._receipt_of(entry) for entry in self._chain.transactions_of(self._number(_at(params, 0)))]

    def _receipt_of(self, entry: MinedTransaction) -> dict[str, Any]:
        logs = self._chain.find_logs(tx_hash=entry.hash, first_block=entry.block, last_block=entry.block)
        return {
            "transactionHash": _hex(entry.hash),
            "transactionIndex": hex(entry.position),
            "blockHash": _hex(self._chain.block_hash(entry.block) or b""),
            "blockNumber": hex(entry.block),
            "from": checksum(entry.sender),
            "to": checksum(entry.recipient) if entry.recipient else None,
            "contractAddress": checksum(entry.contract) if entry.contract and entry.succeeded else None,
            "cumulativeGasUsed": hex(entry.cumulative_gas),
            "gasUsed": hex(entry.gas_used),
            "effectiveGasPrice": hex(entry.gas_price_wei),
            "type": hex(entry.type),
            "status": hex(int(entry.succeeded)),
            "logs": [_log(log) for log in logs],
            "logsBloom": _hex(_bloom(logs)),
        }

    def _logs(self, params: list[Any]) -> list[dict[str, Any]]:
        query = _at(params, 0)
        if not isinstance(query, dict):
            raise InvalidParams("eth_getLogs takes an object")
        if query.get("blockHash") is not None:
            first = last = self._number({"blockHash": query["blockHash"]})
        else:
            first, last = self._number(query.get("fromBlock")), self._number(query.get("toBlock"))
        logs = self._chain.find_logs(
            addresses=[_address(address) for address in _choices(query.get("address"))],
            topics=[[_word(topic) for topic in _choices(choice)] for choice in _list(query.get("topics") or [])],
            first_block=first,
            last_block=last,
            limit=MAX_LOGS + 1,
        )
        if len(logs) > MAX_LOGS:
            raise TooMany(f"query returned more than {MAX_LOGS} results; ask for fewer blocks")
        return [_log(log) for log in logs]


def _transaction(transaction: Any, entry: MinedTransaction | None, block_hash: bytes | None) -> dict[str, Any]:
    kind = getattr(transaction, "type_id", None) or 0
    body: dict[str, Any] = {
        "type": hex(kind),
        "chainId": hex(transaction.chain_id),
        "hash": _hex(transaction.hash),
        "nonce": hex(transaction.nonce),
        "from": checksum(transaction.sender),
        "to": checksum(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(entry.gas_price_wei if entry else transaction.max_fee_per_gas),
        "input": _hex(transaction.data),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "v": hex(transaction.y_parity if kind else transaction.v),
        "blockHash": None if block_hash is None else _hex(block_hash),
        "blockNumber": hex(entry.block) if entry else None,
        "transactionIndex": hex(entry.position) if entry else None,
    }
    if kind:
        body["yParity"] = hex(transaction.y_parity)
        body["accessList"] = [
            {
                "address": checksum(access.account),
                "storageKeys": [_hex(key.to_bytes(32, "big")) for key in access.storage_keys],
            }
            for access in transaction.access_list
        ]
    if kind >= 2:
        body["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        body["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return body


def _log(log: Log) -> dict[str, Any]:
    return {
        "address": log.address,
        "topics": [_hex(topic) for topic in log.topics],
        "data": _hex(log.data),
        "blockNumber": hex(log.block_number),
        "blockHash": _hex(log.block_hash),
        "transactionHash": _hex(log.tx_hash),
        "transactionIndex": hex(log.tx_index),
        "logIndex": hex(log.index),
        "removed": False,
    }


def _bloom(logs: list[Log]) -> bytes:
    """Return the 2048-bit filter of a receipt (yellow paper, M3:2048)."""
    bits = 0
    for log in logs:
        for item in (raw_address(log.address), *log.topics):
            digest = keccak256(item)
            for at in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


_encode_block: Any = rlp.codec.encode
_MISSING: Any = object()


def _at(params: list[Any], position: int, default: Any = _MISSING) -> Any:
    if position < len(params):
        return params[position]
    if default is _MISSING:
        raise InvalidParams(f"missing value for required argument {position}")
    return default


def _gas(params: list[Any]) -> int | None:
    gas = params[0].get("gas") if isinstance(params[0], dict) else None
    return None if gas is None else min(_quantity(gas), BLOCK_GAS_TARGET)


def _quantity(text: Any) -> int:
    if isinstance(text, str) and text[:2] == "0x" and 3 <= len(text) <= 66:
        try:
            return int(text[2:], 16)
        except ValueError:
            pass
    raise InvalidParams(f"{str(text)[:80]!r} is not a hex quantity such as 0x1a")


def _blob(text: Any) -> bytes:
    if isinstance(text, str) and text[:2] == "0x":
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise InvalidParams(f"{str(text)[:80]!r} is not hex data such as 0x00ff")


def _word(text: Any) -> bytes:
    blob = _blob(text)
    if len(blob) != 32:
        raise InvalidParams(f"{str(text)[:80]!r} is not a 32-byte hash")
    return blob


def _address(text: Any) -> bytes:
    if not is_address(text):
        raise InvalidParams(f"{str(text)[:80]!r} is not an address")
    return raw_address(text)


def _choices(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidParams("topics are a list")
    return value


def _hex(blob: bytes) -> str:
    return "0x" + blob.hex()
