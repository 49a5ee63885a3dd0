"""SSE-C: keys that customers send with every request and that are never stored.

The key encrypts an object's bytes before the pool encrypts, codes and spreads them, so that nobody with our keys alone can
read them. AES-256 in counter mode keeps every byte at its place: ranges, parts and sizes stay as they are, while the pool's
own AEAD below notices every change. Each body gets a random salt of its own, and the AES key is HMAC-SHA256 of the salt
under the customer's key, so that no keystream is used twice, also not for a part that is sent again.

What is stored of a key is a salted HMAC that tells the right one from others.
Source: Amazon S3 user guide, "Using server-side encryption with customer-provided keys"; NIST SP 800-38A for the mode.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

PREFIX = "x-amz-server-side-encryption-customer-"
COPY_SOURCE_PREFIX = "x-amz-copy-source-server-side-encryption-customer-"
STORED_NAME = "fieldstone-customer-key"
"""Under this name an object's headers hold what `proof` returned; it is never answered."""

SALT_BYTES = 16
_KEY_BYTES = 32
_BLOCK_BYTES = 16

_KEY_HEADERS = frozenset(
    (prefix + name).encode() for prefix in (PREFIX, COPY_SOURCE_PREFIX) for name in ("algorithm", "key", "key-md5")
)


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """A customer's key (32 bytes). `md5`: its digest, base64, as requests state it and answers repeat it."""

    key: bytes = field(repr=False)
    md5: str

    def proof(self) -> str:
        """Return what is stored to know the key again; nobody learns the key from it."""
        salt = os.urandom(SALT_BYTES)
        return base64.b64encode(salt + self._derived(b"proof", salt)).decode()

    def fits(self, proof: str) -> bool:
        """Return whether this is the key that a proof was made with."""
        stored = base64.b64decode(proof)
        salt, wanted = stored[:SALT_BYTES], stored[SALT_BYTES:]
        return hmac.compare_digest(self._derived(b"proof", salt), wanted)

    def keystream(self, salt: bytes, position: int = 0) -> CipherContext:
        """Return what encrypts and decrypts alike, by `update`, the bytes from `position` on of what a salt stands for."""
        counter = (position // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
        stream = Cipher(algorithms.AES256(self._derived(b"bytes", salt)), modes.CTR(counter)).encryptor()
        stream.update(bytes(position % _BLOCK_BYTES))
        return stream

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell a client that its key was used."""
        return [((PREFIX + "algorithm").encode(), b"AES256"), ((PREFIX + "key-md5").encode(), self.md5.encode())]

    def _derived(self, purpose: bytes, salt: bytes) -> bytes:
        return hmac.digest(self.key, b"fieldstone sse-c " + purpose + b" " + salt, "sha256")


def check_secure(request: Request) -> None:
    """Refuse a key that came unencrypted: whoever listens has it. Errors: InvalidRequest, as S3 says it."""
    if not _KEY_HEADERS.isdisjoint(request.headers):
        raise S3Error(
            "InvalidRequest",
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure"
            " connection.",
        )


def stated_key(request: Request, prefix: str = PREFIX) -> CustomerKey | None:
    """Return the key that a request brings, None where it says nothing of one.

    Errors: InvalidArgument (a header missing, a key of another length, a digest that is not the key's),
    InvalidEncryptionAlgorithmError.
    """
    algorithm, text, md5 = (request.header(prefix + name) for name in ("algorithm", "key", "key-md5"))
    if algorithm is text is md5 is None:
        return None
    if algorithm is not None and algorithm != "AES256":
        raise S3Error("InvalidEncryptionAlgorithmError")
    if algorithm is None:
        raise _missing("a valid encryption algorithm", prefix + "algorithm")
    if text is None:
        raise _missing("an appropriate secret key", prefix + "key")
    if md5 is None:
        raise _missing("the client calculated MD5 of the secret key", prefix + "key-MD5")
    key = _decoded(text)
    if len(key) != _KEY_BYTES:
        raise S3Error(
            "InvalidArgument",
            "The secret key was invalid for the specified algorithm.",
            detail={"ArgumentName": prefix + "key"},
        )
    digest = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
    if not hmac.compare_digest(digest.encode(), md5.encode()):
        raise S3Error(
            "InvalidArgument",
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            detail={"ArgumentName": prefix + "key-MD5"},
        )
    return CustomerKey(key, digest)


def _missing(what: str, name: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        f"Requests specifying Server Side Encryption with Customer provided keys must provide {what}.",
        detail={"ArgumentName": name},
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def stored_proof(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return the proof among an object's stored headers, None for an object without a customer's key."""
    return next((value for name, value in headers if name == STORED_NAME), None)


def key_for_reading(proof: str | None, key: CustomerKey | None) -> None:
    """Check a key against an object's proof.

    Errors: InvalidRequest (a key is needed, is wrong, or is not wanted). The public suite asks for 400 on a wrong key too.
    """
    if proof is None:
        if key is not None:
            raise S3Error("InvalidRequest", "The encryption parameters are not applicable to this object.")
    elif key is None:
        raise S3Error(
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to"
            " retrieve the object.",
        )
    elif not key.fits(proof):
        raise S3Error("InvalidRequest", "The provided encryption parameters did not match the ones used originally.")


def key_for_part(proof: str | None, key: CustomerKey | None) -> None:
    """Check a part's key against the proof of its upload. Errors: InvalidRequest."""
    if proof is None and key is not None:
        raise S3Error("InvalidRequest", "The multipart upload initiate did not request encryption, so parts cannot.")
    if proof is not None and key is None:
        raise S3Error(
            "InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate"
            " encryption parameters.",
        )
    if proof is not None and key is not None and not key.fits(proof):
        raise S3Error("InvalidRequest", "The provided encryption parameters did not match the ones used originally.")
