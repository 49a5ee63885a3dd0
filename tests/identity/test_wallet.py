import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.errors import CheckFailed, UsageError
from fieldstone.identity.wallet import Wallet, checksum_address, keccak256, recover_digest, recover_text

_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize(
    "address",
    [  # EIP-55
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ],
)
def test_eip55(address: str) -> None:
    assert checksum_address(address.lower()) == address
    assert checksum_address(address) == address
    assert checksum_address("0x" + address[2:].upper()) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x" + "g" * 40,
        "0x" + "a" * 39,
        "0x" + "a" * 41,
        "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0x" + "١" * 40,
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is not an address"):
        checksum_address(text)


def test_a_wrong_checksum_is_a_typing_error() -> None:
    with pytest.raises(UsageError, match="checksum"):
        checksum_address("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")


def test_keccak_is_not_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_eip191_against_web3js() -> None:
    """web3.js documentation, `eth.accounts.sign("Some data", …)`."""
    wallet = Wallet.from_secret(bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"))
    assert wallet.address == "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
    signature = wallet.sign_text("Some data")
    assert signature.hex() == (
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    )
    assert recover_text("Some data", signature) == wallet.address


@given(st.integers(1, _N - 1), st.text(max_size=50))
def test_recover_finds_the_signer(secret: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    wallet = Wallet.from_secret(secret.to_bytes(32, "big"))
    assert recover_text(text, wallet.sign_text(text)) == wallet.address


def test_malformed_and_malleable_signatures_are_refused() -> None:
    wallet = Wallet.from_secret(b"\3" * 32)
    digest = keccak256(b"x")
    good = wallet.sign_digest(digest)
    assert recover_digest(digest, good) == wallet.address
    high = good[:32] + (_N - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + bytes([55 - good[64]])
    bad = [
        b"",
        good[:64],
        good + b"\0",
        good[:64] + b"\0",
        good[:64] + b"\x01",
        good[:64] + b"\x1d",
        high,
        bytes(64) + b"\x1b",
    ]
    bad.append(b"\xff" * 32 + good[32:])
    for signature in bad:
        with pytest.raises(CheckFailed, match="wallet signature"):
            recover_digest(digest, signature)
    with pytest.raises(CheckFailed):
        recover_digest(b"short", good)


@given(st.binary(min_size=65, max_size=65))
def test_any_65_bytes_lead_to_an_address_or_a_named_error(signature: bytes) -> None:
    with contextlib.suppress(CheckFailed):
        assert checksum_address(recover_digest(keccak256(b"x"), signature))


def test_wallet_file(tmp_path: Path) -> None:
    path = tmp_path / "operator.json"
    wallet = Wallet.generate()
    wallet.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Wallet.load(path).address == wallet.address
    assert wallet.secret.hex() not in repr(wallet)
    with pytest.raises(UsageError, match="never overwritten"):
        wallet.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "address": "0x" + "0" * 40}))
    with pytest.raises(UsageError, match="does not belong"):
        Wallet.load(path)
