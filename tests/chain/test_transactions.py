"""RLP and signing against published vectors and against `eth_account`."""

from __future__ import annotations

import pytest

from fieldstone.chain.port import Call, Fees
from fieldstone.chain.transactions import encode_rlp, sign_transaction, transaction_hash
from fieldstone.identity.wallet import Wallet


@pytest.mark.parametrize(
    ("item", "encoded"),
    [  # ethereum.org, "Recursive-length prefix serialization", examples
        (b"dog", "83646f67"),
        ([b"cat", b"dog"], "c88363617483646f67"),
        (b"", "80"),
        ([], "c0"),
        (0, "80"),
        (b"\x00", "00"),
        (15, "0f"),
        (1024, "820400"),
        ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
        (b"Lorem ipsum dolor sit amet, consectetur adipisicing elit", "b8384c6f72656d20697073756d20646f6c6f722073697420616d65742c20636f6e7365637465747572206164697069736963696e6720656c6974"),
        (b"\x01" * 1024, "b90400" + "01" * 1024),
    ],
)  # fmt: skip
def test_rlp_vectors(item: object, encoded: str) -> None:
    assert encode_rlp(item).hex() == encoded


@pytest.mark.parametrize("to", [None, "0x" + "ab" * 20])
@pytest.mark.parametrize("nonce", [0, 1, 300])
def test_the_bytes_are_those_of_eth_account(to: str | None, nonce: int) -> None:
    from eth_account import Account

    secret = b"\x07" * 32
    call = Call(to, b"\x00\x01" * 40, 5)
    raw = sign_transaction(Wallet.from_secret(secret), 31_337, nonce, 90_000, Fees(30, 2), call)
    fields = {
        "chainId": 31_337,
        "nonce": nonce,
        "gas": 90_000,
        "maxFeePerGas": 30,
        "maxPriorityFeePerGas": 2,
        "value": 5,
        "data": call.data,
        "type": 2,
    }
    signed = Account.sign_transaction(fields if to is None else {**fields, "to": bytes.fromhex(to[2:])}, secret)
    assert raw == bytes(signed.raw_transaction)
    assert transaction_hash(raw) == bytes(signed.hash)
