"""Reach any EVM chain by URL: `http(s)://` or a path to an IPC socket, through `web3`'s providers.

`web3` costs over a second to import, so it is imported when a port is opened. Requests are made by name and answers
parsed here, which leaves out `web3`'s middleware: chains that bend the block format (long `extraData`) work too.
"""

from __future__ import annotations

import os
from typing import Any

from fieldstone.chain.port import (
    Call,
    Fees,
    Head,
    Log,
    Receipt,
    Reverted,
    classify_refusal,
    revert_reason,
)
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal, UsageError
from fieldstone.identity.wallet import checksum_address

_REVERTED = 3  # JSON-RPC error code of a revert (go-ethereum, also ours)
_ZERO_ADDRESS = "0x" + "00" * 20
_FEE_HEADROOM = 2  # the base fee at most doubles in six full blocks


class RpcPort:
    """A chain behind JSON-RPC; implements `ChainPort`."""

    def __init__(self, url: str, *, expected_chain_id: int | None = None, timeout_s: float = 30.0) -> None:
        """Connect. Raises UsageError on an unknown kind of URL, Retryable when the node does not answer, and
        EnvironmentProblem when it serves another chain than expected: signatures would be worth nothing there."""
        os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
        self.url = url
        self._provider = _provider(url, timeout_s)
        self._chain_id = _integer(self._ask("eth_chainId"))
        if expected_chain_id is not None and expected_chain_id != self._chain_id:
            raise EnvironmentProblem(
                f"{url} serves chain {self._chain_id}, but the policy names chain {expected_chain_id}; "
                "correct `chain.url` or `network.chain_id`"
            )

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id, asked once."""
        return self._chain_id

    def head(self) -> Head:
        """Return the newest block."""
        block = self._ask("eth_getBlockByNumber", "latest", False)
        return Head(
            number=_integer(block["number"]),
            hash=_blob(block["hash"]),
            timestamp_s=_integer(block["timestamp"]),
            base_fee_wei=_integer(block.get("baseFeePerGas") or "0x0"),
        )

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash of a canonical block, or None above the head."""
        block = self._ask("eth_getBlockByNumber", hex(number), False)
        return None if block is None else _blob(block["hash"])

    def nonce(self, address: str) -> int:
        """Return the number of mined transactions of an account."""
        return _integer(self._ask("eth_getTransactionCount", address, "latest"))

    def balance(self, address: str) -> int:
        """Return wei."""
        return _integer(self._ask("eth_getBalance", address, "latest"))

    def code(self, address: str) -> bytes:
        """Return runtime bytes."""
        return _blob(self._ask("eth_getCode", address, "latest"))

    def fees(self) -> Fees:
        """Return twice the base fee plus the node's tip: enough for six full blocks to come."""
        tip = _integer(self._ask("eth_maxPriorityFeePerGas"))
        return Fees(max_fee_wei=_FEE_HEADROOM * self.head().base_fee_wei + tip, max_priority_fee_wei=tip)

    def call(self, call: Call, sender: str | None = None) -> bytes:
        """Run a message against the newest state. Raises Reverted."""
        return _blob(self._ask("eth_call", _message(call, sender or _ZERO_ADDRESS), "latest"))

    def estimate_gas(self, call: Call, sender: str) -> int:
        """Return the gas limit at which the message succeeds. Raises Reverted."""
        return _integer(self._ask("eth_estimateGas", _message(call, sender)))

    def send_raw(self, raw: bytes) -> bytes:
        """Hand over a signed transaction. Raises SendRefused."""
        response = self._request("eth_sendRawTransaction", "0x" + raw.hex())
        if "error" in response:
            raise classify_refusal(str(response["error"].get("message", "")))
        return _blob(response["result"])

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """Return the receipt, or None while not mined."""
        body = self._ask("eth_getTransactionReceipt", "0x" + tx_hash.hex())
        if body is None or body.get("blockHash") is None:
            return None
        created = body.get("contractAddress")
        return Receipt(
            tx_hash=_blob(body["transactionHash"]),
            block_number=_integer(body["blockNumber"]),
            block_hash=_blob(body["blockHash"]),
            tx_index=_integer(body["transactionIndex"]),
            succeeded=_integer(body["status"]) == 1,
            gas_used=_integer(body["gasUsed"]),
            contract_address=checksum_address(created) if created else None,
            logs=tuple(_log(entry) for entry in body["logs"]),
        )

    def transaction_at_nonce(self, sender: str, nonce: int) -> bytes | None:
        """Find the block that used a nonce by halving (needs a node that keeps old state); None when it does not."""
        try:
            low, high = 0, self.head().number
            while low < high:
                middle = (low + high) // 2
                used = _integer(self._ask("eth_getTransactionCount", sender, hex(middle))) > nonce
                low, high = (low, middle) if used else (middle + 1, high)
            block = self._ask("eth_getBlockByNumber", hex(low), True)
        except (Terminal, Reverted):
            return None
        for transaction in (block or {}).get("transactions", ()):
            if transaction["from"].lower() == sender.lower() and _integer(transaction["nonce"]) == nonce:
                return _blob(transaction["hash"])
        return None

    def logs(
        self, address: str, topics: tuple[bytes | None, ...] = (), first_block: int = 0, last_block: int | None = None
    ) -> list[Log]:
        """Return events of a contract in block order; a public node may limit the range of blocks."""
        query = {
            "address": address,
            "topics": [None if topic is None else "0x" + topic.hex() for topic in topics],
            "fromBlock": hex(first_block),
            "toBlock": "latest" if last_block is None else hex(last_block),
        }
        return [_log(entry) for entry in self._ask("eth_getLogs", query)]

    def _ask(self, method: str, *params: Any) -> Any:
        response = self._request(method, *params)
        error = response.get("error")
        if error is None:
            return response.get("result")
        message, data = str(error.get("message", "")), error.get("data")
        if error.get("code") == _REVERTED or "revert" in message.lower() or "out of gas" in message.lower():
            raw = _revert_data(data)
            raise Reverted(revert_reason(raw) or message.removeprefix("execution reverted").lstrip(": "), raw)
        if error.get("code") in (-32005, -32016, 429) or "limit" in message.lower() or "timeout" in message.lower():
            raise Retryable(f"{self.url} is busy: {method} answered {message!r}; try again later")
        raise Terminal(f"{self.url} refused {method}: {message} (code {error.get('code')})")

    def _request(self, method: str, *params: Any) -> dict[str, Any]:
        try:
            response: dict[str, Any] = self._provider.make_request(method, list(params))
        except Exception as error:  # requests, websockets and socket errors alike: the node was not reached
            raise Retryable(f"{self.url} does not answer {method}: {type(error).__name__}: {error}") from error
        if not isinstance(response, dict) or ("error" not in response and "result" not in response):
            raise Retryable(f"{self.url} does not speak JSON-RPC: {method} answered {str(response)[:200]!r}")
        return response


def _provider(url: str, timeout_s: float) -> Any:
    from web3 import HTTPProvider, IPCProvider

    if url.startswith(("http://", "https://")):
        return HTTPProvider(url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)
    if url.endswith(".ipc"):
        return IPCProvider(url, timeout=int(timeout_s))
    raise UsageError(f"chain.url {url!r} is neither http(s)://… nor a path ending in .ipc")


def _message(call: Call, sender: str) -> dict[str, str]:
    message = {"from": sender, "data": "0x" + call.data.hex(), "value": hex(call.value_wei)}
    return message if call.to is None else {**message, "to": call.to}


def _log(entry: dict[str, Any]) -> Log:
    return Log(
        address=checksum_address(entry["address"]),
        topics=tuple(_blob(topic) for topic in entry["topics"]),
        data=_blob(entry["data"]),
        block_number=_integer(entry["blockNumber"]),
        block_hash=_blob(entry["blockHash"]),
        tx_hash=_blob(entry["transactionHash"]),
        tx_index=_integer(entry["transactionIndex"]),
        index=_integer(entry["logIndex"]),
    )


def _revert_data(data: Any) -> bytes:
    """Nodes give revert bytes as text, or wrapped in an object, or after a word such as "Reverted "."""
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    text = data.rsplit(" ", 1)[-1] if isinstance(data, str) else ""
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return b""


def _integer(text: Any) -> int:
    return int(text, 16)


def _blob(text: Any) -> bytes:
    return bytes.fromhex(text[2:])
