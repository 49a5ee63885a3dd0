"""The JSON-RPC endpoint as wallets see it: real `web3` over real HTTP, and what strangers send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from fieldstone.chain.embedded import EmbeddedChain
from fieldstone.chain.jsonrpc import MAX_BATCH, MAX_BODY_BYTES, JsonRpcApp
from fieldstone.clock import SetClock
from tests.chain.world import START_MS, Network, account

SECRET = b"\x44" * 32


@pytest.fixture
def w3(rpc_url: str) -> Web3:
    return Web3(Web3.HTTPProvider(rpc_url))


@pytest.fixture
def post(rpc_url: str) -> Any:
    with httpx.Client(base_url=rpc_url) as client:
        yield lambda body: client.post("/", content=body if isinstance(body, bytes) else json.dumps(body))


def request(method: str, *params: Any, request_id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}


def test_a_wallet_sends_and_follows_a_transaction(w3: Web3) -> None:
    sender = Account.from_key(SECRET)
    assert w3.is_connected() and w3.eth.chain_id == 31_337 and w3.net.version == "31337"
    assert w3.client_version.startswith("fieldstone/")
    fields = {
        "from": sender.address,
        "to": account(9),
        "nonce": w3.eth.get_transaction_count(sender.address, "pending"),
        "chainId": w3.eth.chain_id,
        "data": "0x0102",
        "value": 0,
        "maxPriorityFeePerGas": w3.eth.max_priority_fee,
        "maxFeePerGas": w3.eth.gas_price,
    }
    fields["gas"] = w3.eth.estimate_gas(fields)
    signed = sender.sign_transaction(fields)
    tx_hash = w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash, timeout=5)
    assert receipt["status"] == 1 and receipt["from"] == sender.address and receipt["to"] == account(9)
    assert receipt["effectiveGasPrice"] == 0 and receipt["gasUsed"] <= fields["gas"]
    transaction = w3.eth.get_transaction(tx_hash)
    assert transaction["input"] == b"\1\2" and transaction["nonce"] == 0 and transaction["chainId"] == 31_337
    block = w3.eth.get_block("latest", full_transactions=True)
    assert block["transactions"][0] == transaction and block["timestamp"] == START_MS // 1000
    assert w3.eth.get_block(block["hash"])["transactions"] == [tx_hash]
    assert w3.eth.get_block_number() == 1 and w3.eth.get_transaction_count(sender.address) == 1


def test_legacy_and_access_list_transactions(w3: Web3) -> None:
    common = {"to": account(9), "value": 0, "gas": 30_000, "gasPrice": 0, "chainId": 31_337}
    legacy = Account.sign_transaction({**common, "nonce": 0}, SECRET)
    access = [{"address": account(9), "storageKeys": ["0x" + "00" * 32]}]
    listed = Account.sign_transaction({**common, "nonce": 1, "type": 1, "accessList": access}, SECRET)
    hashes = [w3.eth.send_raw_transaction(signed.raw_transaction) for signed in (legacy, listed)]
    assert [w3.eth.get_transaction(tx_hash)["type"] for tx_hash in hashes] == [0, 1]
    assert w3.eth.get_transaction(hashes[1])["accessList"][0]["address"] == account(9)
    assert w3.eth.get_transaction_receipt(hashes[1])["type"] == 1


def test_the_block_hash_is_that_of_its_header(w3: Web3, network: Network) -> None:
    """Recomputed from the answer alone, so no field can be misreported."""
    import rlp

    network.settlement.transfer(account(9), 5, "one")
    block = w3.eth.get_block("latest")
    integers = ["difficulty", "number", "gasLimit", "gasUsed", "timestamp"]
    header = [
        block["parentHash"],
        block["sha3Uncles"],
        bytes.fromhex(block["miner"][2:]),
        block["stateRoot"],
        block["transactionsRoot"],
        block["receiptsRoot"],
        block["logsBloom"],
        *(block[name] for name in integers),
        block["extraData"] if "extraData" in block else block["proofOfAuthorityData"],
        block["mixHash"],
        block["nonce"],
        block["baseFeePerGas"],
        block["withdrawalsRoot"],
        block["blobGasUsed"],
        block["excessBlobGas"],
        block["parentBeaconBlockRoot"],
        bytes.fromhex(
            w3.provider.make_request("eth_getBlockByNumber", ["latest", False])["result"]["requestsHash"][2:]
        ),
    ]
    assert (
        Web3.keccak(rlp.encode([bytes(item) if not isinstance(item, int) else item for item in header]))
        == block["hash"]
    )


def test_contracts_events_storage_and_reverts_through_web3(w3: Web3, network: Network) -> None:
    settlement = network.settlement
    token = w3.eth.contract(address=settlement.addresses.token, abi=settlement.token.artifact.abi)
    assert token.functions.symbol().call() == "STONE"
    settlement.transfer(account(9), 5, "one")
    head = w3.eth.block_number
    assert token.functions.balanceOf(account(9)).call() == 5
    assert token.functions.balanceOf(account(9)).call(block_identifier=head - 1) == 0
    logs = token.events.Transfer().get_logs(from_block=head)
    assert len(logs) == 1 and logs[0]["logIndex"] == 0
    assert w3.eth.get_logs({"blockHash": logs[0]["blockHash"]})[0]["transactionHash"] == logs[0]["transactionHash"]
    receipt = w3.eth.get_transaction_receipt(logs[0]["transactionHash"])
    assert receipt["logsBloom"] == w3.eth.get_block(head)["logsBloom"] != b"\0" * 256
    assert w3.eth.get_block_receipts(head)[0] == receipt
    assert len(w3.eth.get_code(settlement.addresses.token)) > 1_000
    assert isinstance(w3.eth.get_storage_at(settlement.addresses.token, 0), bytes)
    with pytest.raises(ContractLogicError, match="balance too low"):
        token.functions.transfer(account(9), 1).call({"from": account(10)})
    with pytest.raises(ContractLogicError, match="balance too low"):
        token.functions.transfer(account(9), 1).estimate_gas({"from": account(10)})


def test_fee_history_and_missing_things(w3: Web3, chain: EmbeddedChain) -> None:
    for _ in range(3):
        chain.mine()
    history = w3.eth.fee_history(2, "latest", [25, 75])
    assert (
        history["oldestBlock"] == 2 and history["baseFeePerGas"] == [0, 0, 0] and history["reward"] == [[0, 0], [0, 0]]
    )
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction("0x" + "11" * 32)
    assert w3.provider.make_request("eth_getBlockByNumber", ["0xffff", False])["result"] is None
    assert w3.provider.make_request("eth_getTransactionReceipt", ["0x" + "11" * 32])["result"] is None
    with pytest.raises(Web3RPCError, match="not a signed transaction"):
        w3.eth.send_raw_transaction(b"\x02\xc0")


def test_a_waiting_transaction_is_visible_and_counts_as_pending(tmp_path: Path) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", automine=False)
    app = JsonRpcApp(chain)
    signed = Account.sign_transaction(
        {
            "to": account(9),
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": 0,
            "maxPriorityFeePerGas": 0,
            "nonce": 0,
            "chainId": 31_337,
            "type": 2,
        },
        SECRET,
    )

    def ask(method: str, *params: Any) -> Any:
        return json.loads(app.answer(json.dumps(request(method, *params)).encode()))["result"]

    tx_hash = ask("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    assert ask("eth_getTransactionByHash", tx_hash)["blockNumber"] is None
    assert ask("eth_getTransactionReceipt", tx_hash) is None
    sender = Account.from_key(SECRET).address
    assert (ask("eth_getTransactionCount", sender, "latest"), ask("eth_getTransactionCount", sender, "pending")) == (
        "0x0",
        "0x1",
    )
    chain.close()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"eth_chainId"}', -32700),
        (b"[" * 200_000, -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"id":1}', -32600),
        (b'{"id":{"a":1},"method":"eth_chainId"}', -32600),
        (json.dumps([request("eth_chainId")] * (MAX_BATCH + 1)).encode(), -32600),
        (json.dumps(request("evm_mine")).encode(), -32601),
        (json.dumps(request("personal_sign")).encode(), -32601),
        (json.dumps({"id": 1, "method": "eth_getBalance", "params": {"address": 1}}).encode(), -32602),
        (json.dumps(request("eth_getBalance")).encode(), -32602),
        (json.dumps(request("eth_getBalance", "0x12", "latest")).encode(), -32602),
        (json.dumps(request("eth_getBalance", account(9), "0xffffff")).encode(), -32602),
        (json.dumps(request("eth_getBalance", account(9), "newest")).encode(), -32602),
        (json.dumps(request("eth_getBalance", account(9), {"blockHash": "0x" + "11" * 32})).encode(), -32602),
        (json.dumps(request("eth_call", 5, "latest")).encode(), -32602),
        (json.dumps(request("eth_call", {"to": account(9), "value": "-0x1"}, "latest")).encode(), -32602),
        (json.dumps(request("eth_getLogs", {"topics": "0x"})).encode(), -32602),
        (json.dumps(request("eth_sendRawTransaction", "0xzz")).encode(), -32602),
        (json.dumps(request("eth_sendRawTransaction", "0x")).encode(), -32000),
        (json.dumps(request("eth_call", {"from": account(9), "to": account(8), "value": "0x1"}, "latest")).encode(), 3),
    ],
)  # fmt: skip
def test_mistakes_get_an_error_object(post: Any, body: bytes, code: int) -> None:
    answer = post(body)
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == code and answer.json()["error"]["message"]
    assert "Traceback" not in answer.text


def test_a_batch_answers_each_and_skips_notifications(post: Any) -> None:
    notification = {"jsonrpc": "2.0", "method": "eth_chainId", "params": []}
    answers = post([request("eth_chainId", request_id="a"), notification, request("nope", request_id=2), 5]).json()
    assert [(answer["id"], answer.get("result"), answer.get("error", {}).get("code")) for answer in answers] == [
        ("a", "0x7a69", None),
        (2, None, -32601),
        (None, None, -32600),
    ]
    assert post([notification]).content == b""


def test_only_posts_of_a_bounded_size(rpc_url: str, post: Any) -> None:
    assert httpx.get(rpc_url).status_code == 405
    assert post(b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    assert post(request("eth_chainId")).json()["result"] == "0x7a69"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["0x", "0x0", "latest", "pending", "0x" + "11" * 20, "0x" + "22" * 32, "0x" + "f" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["from", "to", "data", "value", "gas", "address", "topics", "fromBlock", "toBlock", "blockHash"]), inner, max_size=4
    ),
    max_leaves=6,
)  # fmt: skip


def test_no_parameters_of_a_stranger_reach_an_internal_error(tmp_path: Path) -> None:
    chain = EmbeddedChain(tmp_path / "c.sqlite3", clock=SetClock(START_MS))
    app = JsonRpcApp(chain)
    methods = sorted(app._methods.table)

    @settings(max_examples=400, deadline=None)
    @given(st.sampled_from(methods), st.lists(_json, max_size=3))
    def check(method: str, params: list[Any]) -> None:
        answer = json.loads(app.answer(json.dumps(request(method, *params)).encode()))
        assert answer.get("error", {}).get("code") != -32603, (method, params)

    check()
    chain.close()
