"""Device keys and the one rule by which the network accepts a signature.

A device is named by its public key: `did:key:z` + base58btc(multicodec varint ‖ key bytes) (W3C CCG did:key).
Secret keys never leave a `DeviceKey`; a public key is always algorithm + raw bytes, neither inferred from the other.

The acceptance rule itself is in `fieldstone.identity.strict_v1`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import coincurve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.signing import SigningKey

from fieldstone.errors import EnvironmentProblem, Rejected, UsageError
from fieldstone.identity import base58, strict_v1
from fieldstone.reasons import reason

_DID = "did:key:z"
_LONGEST_DEVICE_ID = 64  # did:key:z + 48 letters for a 33-byte key is 57; anything far longer is an attack on base58
_KEY_FILE_KIND = "fieldstone-device-key"


class Algorithm(StrEnum):
    """Signature algorithms a device may use; values are their JOSE/COSE names."""

    ED25519 = "Ed25519"
    P256 = "ES256"
    SECP256K1 = "ES256K"


# Multicodec code as unsigned varint: 0xed, 0x1200, 0xe7 (multicodec table).
_VARINT = {Algorithm.ED25519: b"\xed\x01", Algorithm.P256: b"\x80\x24", Algorithm.SECP256K1: b"\xe7\x01"}
_ALGORITHM = {varint: algorithm for algorithm, varint in _VARINT.items()}
_RAW_LENGTH = {Algorithm.ED25519: 32, Algorithm.P256: 33, Algorithm.SECP256K1: 33}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A device's public key: 32 bytes for Ed25519, a 33-byte compressed point for the ECDSA curves.

    Raises Rejected BAD_KEY when `raw` is not a key that the rule strict-v1 can ever accept a signature of.
    """

    algorithm: Algorithm
    raw: bytes

    def __post_init__(self) -> None:
        problem = _key_problem(self.algorithm, self.raw)
        if problem:
            raise Rejected(reason("BAD_KEY"), self.algorithm, problem)

    @property
    def device_id(self) -> str:
        """The `did:key` of this key."""
        return _device_id(self.algorithm, self.raw)

    @property
    def kid(self) -> bytes:
        """The 8-byte key id that stands in a message's header: the start of SHA-256 over `device_id`."""
        return _kid(self.algorithm, self.raw)

    @classmethod
    def from_device_id(cls, text: str) -> PublicKey:
        """Read a canonical `did:key`. Raises Rejected BAD_KEY naming what is wrong with it."""
        return _from_device_id(text)


@lru_cache(maxsize=65_536)
def _device_id(algorithm: Algorithm, raw: bytes) -> str:
    return _DID + base58.encode(_VARINT[algorithm] + raw)


@lru_cache(maxsize=65_536)
def _kid(algorithm: Algorithm, raw: bytes) -> bytes:
    return hashlib.sha256(_device_id(algorithm, raw).encode("ascii")).digest()[:8]


@lru_cache(maxsize=65_536)
def _key_problem(algorithm: Algorithm, raw: bytes) -> str:
    if len(raw) != _RAW_LENGTH[algorithm]:
        return f"the key has {len(raw)} bytes, {algorithm} needs {_RAW_LENGTH[algorithm]}"
    if algorithm is Algorithm.ED25519:
        return strict_v1.ed25519_key_problem(raw)
    return strict_v1.ecdsa_key_problem(raw, algorithm is Algorithm.P256)


@lru_cache(maxsize=65_536)
def _from_device_id(text: str) -> PublicKey:
    def refuse(detail: str) -> Rejected:
        return Rejected(reason("BAD_KEY"), text[:_LONGEST_DEVICE_ID], detail)

    if not text.startswith(_DID):
        raise refuse(f"a device id starts with {_DID} (did:key, base58btc)")
    if len(text) > _LONGEST_DEVICE_ID:
        raise refuse(f"a device id has at most {_LONGEST_DEVICE_ID} characters")
    try:
        body = base58.decode(text[len(_DID) :])
    except ValueError as error:
        raise refuse(str(error)) from None
    if body.startswith(b"\x12\x00"):
        # Ids written before the varint rule was settled. Two ids for one key would be two devices, so never convert.
        raise refuse(
            "old P-256 id with the raw prefix 12 00; the multicodec varint of P-256 is 80 24: create the id anew"
        )
    algorithm = _ALGORITHM.get(body[:2])
    if algorithm is None:
        raise refuse(f"multicodec {body[:2].hex()} is not Ed25519 (ed01), P-256 (8024) or secp256k1 (e701)")
    return PublicKey(algorithm, body[2:])


def verify(public: PublicKey, message: bytes, signature: bytes) -> bool:
    """Say whether `signature` (64 bytes) over `message` is acceptable under strict-v1. Never raises on hostile bytes.

    Releases the GIL while the library computes, so threads scale.
    """
    if public.algorithm is Algorithm.ED25519:
        return strict_v1.verify_ed25519(public.raw, message, signature)
    if public.algorithm is Algorithm.P256:
        return strict_v1.verify_p256(public.raw, message, signature)
    return strict_v1.verify_secp256k1(public.raw, message, signature)


def verify_many(public: PublicKey, messages: Sequence[bytes], signatures: Sequence[bytes]) -> list[bool]:
    """Return what `verify` says of each message and its signature, all of one key; a few µs less for each."""
    if public.algorithm is Algorithm.ED25519:
        return strict_v1.verify_ed25519_many(public.raw, messages, signatures)
    return [verify(public, message, signature) for message, signature in zip(messages, signatures, strict=True)]


class Signer(Protocol):
    """Anything that can sign as a device: a `DeviceKey`, or a wrapper of a secure element (see `low_s_p256`)."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes that strict-v1 accepts."""
        ...


class DeviceKey:
    """A device's secret key. Signatures are deterministic (RFC 8032, RFC 6979) and low-s, so a resend is identical."""

    def __init__(self, algorithm: Algorithm, secret: bytes) -> None:
        """Hold 32 secret bytes. Raises UsageError when they are no key of the algorithm."""
        if len(secret) != 32:
            raise UsageError(f"a secret key has 32 bytes, not {len(secret)}")
        self._secret = secret
        self._signer: Any
        if algorithm is Algorithm.ED25519:
            self._signer = SigningKey(secret)
            raw = bytes(self._signer.verify_key)
        elif algorithm is Algorithm.P256:
            try:
                self._signer = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
            except ValueError:
                raise UsageError("the secret is not a scalar of P-256") from None
            raw = self._signer.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        else:
            try:
                self._signer = coincurve.PrivateKey(secret)
            except ValueError:
                raise UsageError("the secret is not a scalar of secp256k1") from None
            raw = self._signer.public_key.format(compressed=True)
        self._public = PublicKey(algorithm, raw)

    @property
    def public(self) -> PublicKey:
        """The key that belongs to it."""
        return self._public

    def __repr__(self) -> str:
        return f"DeviceKey({self.public.device_id})"  # never the secret

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ED25519) -> DeviceKey:
        """Make a new key from the operating system's randomness."""
        while True:
            try:
                return cls(algorithm, secrets.token_bytes(32))
            except UsageError:  # 0 or ≥ n: once in 2³² tries on P-256, never seen on secp256k1
                continue

    @classmethod
    def from_secret(cls, algorithm: Algorithm, secret: bytes) -> DeviceKey:
        """Make the key that 32 secret bytes stand for: an Ed25519 seed or a big-endian scalar."""
        return cls(algorithm, secret)

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes: R‖S for Ed25519, r‖s (low s) over SHA-256 for the ECDSA curves."""
        if self.public.algorithm is Algorithm.ED25519:
            return bytes(self._signer.sign(message).signature)
        if self.public.algorithm is Algorithm.P256:
            return strict_v1.sign_p256(self._signer, message)
        return bytes(self._signer.sign_recoverable(message)[:64])

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read. Raises UsageError when the file exists."""
        body = {
            "kind": _KEY_FILE_KIND,
            "algorithm": str(self.public.algorithm),
            "device": self.public.device_id,
            "secret_hex": self._secret.hex(),
        }
        write_secret_file(path, json.dumps(body, indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: Path) -> DeviceKey:
        """Read a file that `save` wrote. Raises UsageError when it is no such file or its device id does not match."""
        body = read_secret_file(path, _KEY_FILE_KIND)
        try:
            key = cls(Algorithm(body["algorithm"]), bytes.fromhex(body["secret_hex"]))
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{path}: the device key file lacks `algorithm` or `secret_hex`, or they are damaged"
            ) from None
        if body.get("device") != key.public.device_id:
            raise UsageError(f"{path}: the secret does not belong to the device id in the file; restore it from a copy")
        return key


def write_secret_file(path: Path, body: bytes) -> None:
    """Create `path` with mode 0600 and make it durable; an existing file is never overwritten (a lost key is lost)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; a key file is never overwritten: choose another path") from None
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # else the name may go with the power, and with it all that is encrypted under the key
    finally:
        os.close(folder)


def read_secret_file(path: Path, kind: str) -> dict[str, Any]:
    """Read a JSON key file of `kind`. Raises UsageError saying what it is instead."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such key file; `fieldstone device new` makes one") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a key file: {error}") from None
    if not isinstance(body, dict) or body.get("kind") != kind:
        raise UsageError(f"{path}: not a {kind} file")
    return body
