"""Digests against eth-account's typed data, public vectors and their own promises; the contracts' side is tested on chain."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.chain import digest

A, B = "0x" + "aa" * 20, "0x" + "bb" * 20
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "root_digest": (1, A, 2, 3, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, 4, 5),
    "resolution_digest": (1, A, 2, 3, b"\x02" * 32, b"\x03" * 32, False, 5),
    "rotation_digest": (1, A, [A, B], 2, 5),
    "slash_digest": (1, A, 2, B, b"\x02" * 32, b"\x03" * 32, 6, False, 5),
    "price_digest": (1, A, 2, 3, 4, 5),
    "permit_digest": (1, A, "Token", A, B, 3, 4, 5),
}


def other(value: Any) -> Any:
    """Return a different value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return b"\x99" * 32
    if isinstance(value, list):
        return value[:1]
    return "0x" + "cc" * 20


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_every_field_changes_the_digest(name: str) -> None:
    """Replay: no two tuples of fields share a digest, so a signature fits one purpose only."""
    function, arguments = getattr(digest, name), ARGUMENTS[name]
    seen = {function(*arguments)}
    for place in range(len(inspect.signature(function).parameters)):
        changed = list(arguments)
        changed[place] = other(arguments[place])
        seen.add(function(*changed))
    assert len(seen) == len(arguments) + 1


def test_purposes_never_share_a_digest() -> None:
    assert len({getattr(digest, name)(*arguments) for name, arguments in ARGUMENTS.items()}) == len(ARGUMENTS)


def test_address_spelling_does_not_matter() -> None:
    lower, mixed = "0x" + "ab" * 20, "0x" + "aB" * 20
    assert digest.price_digest(1, lower, 2, 3, 4, 5) == digest.price_digest(1, mixed, 2, 3, 4, 5)
    assert digest.price_digest(1, lower[2:], 2, 3, 4, 5) == digest.price_digest(1, mixed, 2, 3, 4, 5)


def test_root_digest_is_what_a_wallet_signs() -> None:
    from eth_account.messages import encode_typed_data

    chain_id, contract, *values = ARGUMENTS["root_digest"]
    names = ["epoch", "attempt", "previousRoot", "root", "dataHash", "total", "signerSetVersion"]
    kinds = ["uint256", "uint256", "bytes32", "bytes32", "bytes32", "uint256", "uint256"]
    signable = encode_typed_data(
        {"name": "Fieldstone Rewards", "version": "1", "chainId": chain_id, "verifyingContract": contract},
        {"Root": [{"name": name, "type": kind} for name, kind in zip(names, kinds, strict=True)]},
        dict(zip(names, values, strict=True)),
    )
    assert digest.keccak256(b"\x19" + signable.version + signable.header + signable.body) == digest.root_digest(
        *ARGUMENTS["root_digest"]
    )


@pytest.mark.parametrize("bad", [-1, 1 << 256])
def test_number_out_of_range(bad: int) -> None:
    with pytest.raises(ValueError, match="unsigned 256-bit"):
        digest.price_digest(1, A, bad, 3, 4, 5)


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="20-byte address"):
        digest.price_digest(1, A[:-2], 2, 3, 4, 5)
    with pytest.raises(ValueError, match="expected 32 bytes"):
        digest.root_digest(1, A, 2, 3, b"\x01" * 31, b"\x02" * 32, b"\x03" * 32, 4, 5)
    with pytest.raises(ValueError, match="65 bytes"):
        digest.join_signatures({A: bytes(64)})


def test_keccak_is_not_sha3() -> None:
    assert digest.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert digest.keccak256(b"") != hashlib.sha3_256(b"").digest()


# ---- leaves ----------------------------------------------------------------------------------------------------------


def test_data_hash_worked_example() -> None:
    """Two rows of 52 bytes, sorted by address, one SHA-256."""
    rows = bytes.fromhex("aa" * 20) + (7).to_bytes(32, "big") + bytes.fromhex("bb" * 20) + (5).to_bytes(32, "big")
    assert digest.leaves_data_hash({B: 5, A: 7}) == hashlib.sha256(rows).digest()
    assert digest.leaves_data_hash({}) == hashlib.sha256(b"").digest()


@given(st.dictionaries(addresses, st.integers(0, 2**256 - 1), max_size=8), st.randoms(use_true_random=False))
def test_data_hash_depends_on_content_only(balances: dict[str, int], random: Any) -> None:
    shuffled = list(balances.items())
    random.shuffle(shuffled)
    upper = {"0x" + address[2:].upper(): amount for address, amount in shuffled}
    assert digest.leaves_data_hash(balances) == digest.leaves_data_hash(upper)
    for address in balances:
        changed = balances | {address: (balances[address] + 1) % 2**256}
        assert digest.leaves_data_hash(changed) != digest.leaves_data_hash(balances)


def test_one_address_in_two_spellings() -> None:
    with pytest.raises(ValueError, match="occurs twice"):
        digest.leaves_data_hash({"0x" + "ab" * 20: 1, "0x" + "AB" * 20: 2})


# ---- signatures and addresses ----------------------------------------------------------------------------------------


def test_signatures_are_joined_by_address_value_not_by_spelling() -> None:
    low, high = "0x" + "0A" * 20, "0x" + "0b" * 20
    assert digest.join_signatures({high: b"\x02" * 65, low: b"\x01" * 65}) == b"\x01" * 65 + b"\x02" * 65


@pytest.mark.parametrize(
    ("nonce", "address"),
    [
        # the well-known vectors of EIP-161-era CREATE, sender 0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0
        (0, "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
        (1, "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
        (2, "0xf778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
        (3, "0xfffd933a0bc612844eaf0c6fe3e5b8e9b6c1d19c"),
    ],
)
def test_create_address_vectors(nonce: int, address: str) -> None:
    assert digest.create_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", nonce) == address


@given(addresses, st.integers(0, 2**64 - 2))
def test_create_address_is_rlp(sender: str, nonce: int) -> None:
    import rlp

    expected = digest.keccak256(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:]
    assert digest.create_address(sender, nonce) == "0x" + expected.hex()
