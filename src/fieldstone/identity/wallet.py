"""Operator and verifier wallets: the EVM side of identity, on libsecp256k1 and Keccak-256 only.

Signatures are 65 bytes r‖s‖v with v 27 or 28 and low s (EIP-2), so one text has one acceptable signature per nonce.
Contract wallets (ERC-1271) cannot sign here: they would need the chain's state, and the registry is a pure fold.
"""

from __future__ import annotations

import json
import secrets
from functools import lru_cache
from pathlib import Path

import coincurve
import sha3

from fieldstone.errors import CheckFailed, UsageError
from fieldstone.identity.keys import read_secret_file, write_secret_file

_KEY_FILE_KIND = "fieldstone-wallet"
_HALF_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


def keccak256(data: bytes) -> bytes:
    """Return Keccak-256, the hash of Ethereum; `hashlib.sha3_256` pads differently and is not it."""
    return bytes(sha3.keccak_256(data).digest())


@lru_cache(maxsize=65_536)
def checksum_address(text: str) -> str:
    """Return the EIP-55 form of an address. Raises UsageError when it is no address or its mixed case is wrong."""
    digits = text[2:]
    if len(text) != 42 or text[:2] != "0x" or not all(c in "0123456789abcdefABCDEF" for c in digits):
        raise UsageError(f"{text[:64]!r} is not an address: write 0x and 40 hexadecimal digits")
    lower = digits.lower()
    mask = keccak256(lower.encode("ascii")).hex()
    address = "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(lower, mask, strict=False))
    if digits not in (lower, digits.upper()) and text != address:
        raise UsageError(f"{text} has a wrong checksum (EIP-55): check it for a typing error")
    return address


class Wallet:
    """A secp256k1 key that signs for an EVM address."""

    def __init__(self, secret: bytes) -> None:
        """Hold 32 secret bytes. Raises UsageError when they are no scalar of secp256k1."""
        try:
            self._key = coincurve.PrivateKey(secret)
        except ValueError:
            raise UsageError("a wallet secret is 32 bytes, not zero and below the group order") from None
        self.address = _address(self._key.public_key)

    def __repr__(self) -> str:
        return f"Wallet({self.address})"  # never the secret

    @classmethod
    def generate(cls) -> Wallet:
        """Make a new wallet from the operating system's randomness."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_secret(cls, secret: bytes) -> Wallet:
        """Make the wallet that 32 secret bytes stand for."""
        return cls(secret)

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes; whoever signs transactions with another library needs them."""
        return bytes(self._key.secret)

    def sign_text(self, text: str) -> bytes:
        """Sign a human-readable text as wallets do (EIP-191 version 0x45): 65 bytes r‖s‖v."""
        return self.sign_digest(_text_digest(text))

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes, already a hash: 65 bytes r‖s‖v."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return bytes(signature[:64]) + bytes([27 + signature[64]])

    def save(self, path: Path) -> None:
        """Write the wallet to a new file that only its owner can read. Raises UsageError when the file exists."""
        body = {"kind": _KEY_FILE_KIND, "address": self.address, "secret_hex": self.secret.hex()}
        write_secret_file(path, json.dumps(body, indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> Wallet:
        """Read a file that `save` wrote. Raises UsageError when it is no such file or its address does not match."""
        body = read_secret_file(path, _KEY_FILE_KIND)
        try:
            wallet = cls(bytes.fromhex(body["secret_hex"]))
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{path}: the wallet file lacks `secret_hex`, or it is damaged") from None
        if body.get("address") != wallet.address:
            raise UsageError(f"{path}: the secret does not belong to the address in the file; restore it from a copy")
        return wallet


def recover_text(text: str, signature: bytes) -> str:
    """Return the EIP-55 address that signed `text` (EIP-191). Raises CheckFailed on a malformed signature."""
    return recover_digest(_text_digest(text), signature)


def recover_digest(digest: bytes, signature: bytes) -> str:
    """Return the EIP-55 address that signed `digest` (32 bytes). Raises CheckFailed on a malformed signature.

    Any well-formed signature leads to *some* address: the caller has to compare it with the one expected.
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise CheckFailed("a wallet signature has 65 bytes r, s, v with v 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_N:
        raise CheckFailed("the wallet signature has a high s (EIP-2): sign again with an up-to-date wallet")
    try:
        recoverable = signature[:64] + bytes([signature[64] - 27])
        return _address(coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None))
    except Exception as error:  # coincurve raises ValueError and bare Exception alike
        raise CheckFailed(f"the wallet signature leads to no key: {error}") from None


def _text_digest(text: str) -> bytes:
    body = text.encode("utf-8")
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(body)).encode("ascii") + body)


def _address(public_key: coincurve.PublicKey) -> str:
    return checksum_address("0x" + keccak256(public_key.format(compressed=False)[1:])[-20:].hex())
