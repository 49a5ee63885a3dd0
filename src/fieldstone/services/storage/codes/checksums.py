"""The checksums of S3 (CRC32, CRC32C, CRC64NVME, SHA1, SHA256): running values, combined values, composite values.

A value travels as base64 of its big-endian bytes. The checksum of a multipart object is either that of the whole object
(only CRCs, combined from the parts without reading them) or composite: base64(H(digests of the parts)) ‖ "-" ‖ parts.
CRC64NVME: reflected polynomial 0x9A6C9329AC4BC9B5, start and final xor all ones. Source: AWS documentation "Checking
object integrity"; ISA-L does CRC32, awscrt the other CRCs.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.codes import isal
from fieldstone.services.storage.codes.buffer import Buffer

DIGEST_BYTES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
"""Length of a value, by S3's name of the algorithm."""

FULL_OBJECT = ("CRC32", "CRC32C", "CRC64NVME")
"""Algorithms whose values over parts combine into the value over the whole object."""


class Running(Protocol):
    """A checksum over bytes as they arrive."""

    def update(self, data: Buffer, /) -> None:
        """Take the next bytes."""

    def digest(self) -> bytes:
        """Return the value over everything so far, big-endian."""


class _Crc:
    def __init__(self, function: Callable[[Any, int], int], length: int) -> None:
        self._function = function
        self._length = length
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


def new(algorithm: str) -> Running:
    """Start a checksum by S3's name in any case. Raises UsageError for an unknown one, EnvironmentProblem without awscrt."""
    name = known(algorithm)
    if name == "SHA1":
        return hashlib.sha1(usedforsecurity=False)
    if name == "SHA256":
        return hashlib.sha256()
    return _Crc(isal.crc32 if name == "CRC32" else getattr(_crt(), name.lower()), DIGEST_BYTES[name])


def digest_of(algorithm: str, data: Buffer) -> bytes:
    """Return the value over `data`. Raises as `new`."""
    running = new(algorithm)
    running.update(data)
    return running.digest()


def known(algorithm: str) -> str:
    """Return the algorithm's name in capitals. Raises UsageError for one that S3 does not have."""
    name = algorithm.upper()
    if name not in DIGEST_BYTES:
        raise UsageError(f"checksum algorithm {algorithm[:40]!r} is not one of {', '.join(DIGEST_BYTES)}")
    return name


def combine(algorithm: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """Return the CRC of the bytes of all parts one after another, from (value, length in bytes) of each.

    Raises UsageError for an algorithm without that property, for no parts, or for a value of the wrong length.
    """
    name = known(algorithm)
    if name not in FULL_OBJECT:
        raise UsageError(f"values of {name} over parts do not combine: use the composite value")
    join = getattr(_crt(), f"combine_{name.lower()}")
    _check(name, [value for value, _ in parts])
    total = int.from_bytes(parts[0][0], "big")
    for value, length in parts[1:]:
        total = join(total, int.from_bytes(value, "big"), length)
    return int(total).to_bytes(DIGEST_BYTES[name], "big")


def composite(algorithm: str, values: Sequence[bytes]) -> str:
    """Return the composite value of a multipart object as S3 writes it. Raises UsageError as `combine`.

    CRC64NVME has none: S3 gives it for whole objects only.
    """
    name = known(algorithm)
    if name == "CRC64NVME":
        raise UsageError("CRC64NVME has no composite value: S3 combines it over the whole object")
    _check(name, values)
    return f"{encode(digest_of(name, b''.join(values)))}-{len(values)}"


def encode(value: bytes) -> str:
    """Return a value as S3 headers carry it."""
    return base64.b64encode(value).decode("ascii")


def decode(algorithm: str, text: str) -> bytes:
    """Return the value that a header carries. Raises UsageError for bad base64 or another length."""
    name = known(algorithm)
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != DIGEST_BYTES[name]:
        raise UsageError(f"{text[:100]!r} is not base64 of a {name} value of {DIGEST_BYTES[name]} bytes")
    return value


def _check(name: str, values: Sequence[bytes]) -> None:
    if not values:
        raise UsageError("a multipart object has at least one part")
    for number, value in enumerate(values, start=1):
        if len(value) != DIGEST_BYTES[name]:
            raise UsageError(f"the {name} value of part {number} has {len(value)} bytes, not {DIGEST_BYTES[name]}")


@functools.cache
def _crt() -> Any:
    try:
        return importlib.import_module("awscrt.checksums")
    except ImportError:
        raise EnvironmentProblem(
            "the CRC checksums of S3 need the package awscrt: pip install 'fieldstone[storage]'"
        ) from None
