"""One suite over both ports: the embedded chain in process, and the same chain behind JSON-RPC over HTTP."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from fieldstone.chain.port import (
    AlreadyKnown,
    Call,
    ChainPort,
    Fees,
    InsufficientFunds,
    NonceTooLow,
    Reverted,
    SendRefused,
    Underpriced,
    classify_refusal,
    revert_reason,
)
from fieldstone.chain.rpc import RpcPort
from fieldstone.chain.transactions import sign_transaction
from fieldstone.errors import EnvironmentProblem, Retryable, Terminal, UsageError
from tests.chain.world import START_MS, Network, account, serve

FREE = Fees(0, 0)


def test_a_port_is_a_port(port: Any) -> None:
    assert isinstance(port, ChainPort)


def test_heads_and_block_hashes(port: Any, chain: Any) -> None:
    chain.mine()
    assert port.chain_id == 31_337
    assert port.head() == chain.head()
    assert port.head().timestamp_s == START_MS // 1000
    assert port.block_hash(0) == chain.block_hash(0) != port.block_hash(1)
    assert port.block_hash(2) is None


def test_a_transaction_from_bytes_to_receipt(port: Any, wallet: Any) -> None:
    call = Call(account(9), b"\1\2")
    raw = sign_transaction(wallet, port.chain_id, 0, port.estimate_gas(call, wallet.address), port.fees(), call)
    assert port.nonce(wallet.address) == 0
    tx_hash = port.send_raw(raw)
    receipt = port.receipt(tx_hash)
    assert receipt.tx_hash == tx_hash and receipt.succeeded and receipt.block_number == 1
    assert receipt.block_hash == port.head().hash
    assert receipt.contract_address is None and receipt.logs == ()
    assert port.nonce(wallet.address) == 1
    assert port.balance(wallet.address) == 0
    assert port.receipt(b"\1" * 32) is None


def test_refusals_are_of_the_same_kind(port: Any, wallet: Any) -> None:
    raw = sign_transaction(wallet, 31_337, 0, 21_000, FREE, Call(account(9), b""))
    port.send_raw(raw)
    with pytest.raises(AlreadyKnown):
        port.send_raw(raw)
    with pytest.raises(NonceTooLow):
        port.send_raw(sign_transaction(wallet, 31_337, 0, 21_000, FREE, Call(account(8), b"")))
    with pytest.raises(InsufficientFunds):
        port.send_raw(sign_transaction(wallet, 31_337, 1, 21_000, Fees(5, 5), Call(account(9), b"")))
    with pytest.raises(SendRefused):
        port.send_raw(b"\x02nonsense")


def test_the_user_of_a_nonce_can_be_named(port: Any, wallet: Any, chain: Any) -> None:
    hashes = []
    for nonce in range(3):
        hashes.append(port.send_raw(sign_transaction(wallet, 31_337, nonce, 21_000, FREE, Call(account(9), b""))))
        chain.mine()
    assert [port.transaction_at_nonce(wallet.address, nonce) for nonce in range(3)] == hashes
    assert port.transaction_at_nonce(wallet.address, 3) is None


def test_calls_events_and_reverts_of_a_contract(port: Any, network: Network, wallet: Any) -> None:
    token = network.settlement.token
    assert token.read(port, "symbol") == "STONE"
    assert len(port.code(token.address)) > 1_000 and port.code(account(9)) == b""
    network.settlement.transfer(account(9), 5, "one")
    network.settlement.transfer(account(10), 7, "two")
    start = network.settlement.addresses.block
    events = token.decode(port.logs(token.address, first_block=start))
    sent = [event.fields for event in events if event.fields["receiver" if "receiver" in event.fields else "sender"]]
    assert [event.name for event in events][-2:] == ["Transfer", "Transfer"] and sent
    topic = events[-1].log.topics[0]
    receiver = bytes(12) + bytes.fromhex(account(9)[2:])
    assert len(port.logs(token.address, (topic, None, receiver))) == 1
    assert port.logs(account(9)) == []
    with pytest.raises(Reverted, match="balance too low") as caught:
        port.call(token.call("transfer", account(9), 1), account(11))
    assert caught.value.reason == "balance too low" and caught.value.data[:4].hex() == "08c379a0"
    with pytest.raises(Reverted, match="balance too low"):
        port.estimate_gas(token.call("transfer", account(9), 1), account(11))


def test_an_address_without_a_contract_is_named(port: Any, network: Network) -> None:
    from dataclasses import replace

    with pytest.raises(Terminal, match="no Token contract answers"):
        replace(network.settlement.token, address=account(99)).read(port, "symbol")


def test_an_rpc_node_that_is_away_is_retryable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Retryable, match="does not answer eth_chainId"):
            RpcPort(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout_s=2)


def test_an_rpc_node_of_another_chain_or_kind_is_refused(rpc_url: str) -> None:
    with pytest.raises(EnvironmentProblem, match="serves chain 31337, but the policy names chain 1"):
        RpcPort(rpc_url, expected_chain_id=1)
    with pytest.raises(UsageError, match="neither http"):
        RpcPort("ftp://example.invalid")


def test_a_server_that_is_no_node_is_retryable() -> None:
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[1]"})

    with serve(hello) as url, pytest.raises(Retryable, match=r"JSON-RPC|does not answer"):
        RpcPort(url)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("already known", AlreadyKnown),
        ("AlreadyKnown", SendRefused),
        ("Known transaction", AlreadyKnown),
        ("nonce too low: next nonce 5, tx nonce 4", NonceTooLow),
        ("OldNonce", NonceTooLow),
        ("replacement transaction underpriced", Underpriced),
        ("max fee per gas less than block base fee: address 0x…", Underpriced),
        ("insufficient funds for gas * price + value", InsufficientFunds),
        ("upfront cost exceeds account balance", InsufficientFunds),
        ("something else", SendRefused),
    ],
)
def test_node_words_become_kinds(text: str, kind: type) -> None:
    assert type(classify_refusal(text)) is kind or (kind is SendRefused and isinstance(classify_refusal(text), kind))


def test_revert_bytes_of_strangers_do_not_crash() -> None:
    text = b"\x08\xc3\x79\xa0" + (32).to_bytes(32, "big") + (4).to_bytes(32, "big") + b"oops" + bytes(28)
    assert revert_reason(text) == "oops"
    assert revert_reason(text[:36] + (2**255).to_bytes(32, "big") + b"\xff" * 5000) == "�" * 1024
    assert revert_reason(b"\x4e\x48\x7b\x71" + (0x11).to_bytes(32, "big")) == "arithmetic overflow"
    for data in (b"", b"\x08\xc3\x79\xa0", b"\x08\xc3\x79\xa0" + bytes(20), b"\1\2\3\4\5"):
        assert revert_reason(data) == ""
