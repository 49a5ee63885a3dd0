"""The five checksums of S3: published values, combination, composite values."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import checksums, isal
from fieldstone.services.storage.codes.checksums import DIGEST_BYTES, FULL_OBJECT, combine, composite, digest_of, new
from tests.services.storage.codes.payloads import vectors


@pytest.mark.parametrize(
    "value", vectors("storage_checksums.json")["values"], ids=lambda v: f"{v['algorithm']} {v['text']}"
)
def test_published_values(value: dict[str, str]) -> None:
    found = digest_of(value["algorithm"], value["text"].encode())
    assert value.get("hex", found.hex()) == found.hex()
    assert value.get("base64", checksums.encode(found)) == checksums.encode(found)


def bitwise(data: bytes, polynomial: int, bits: int) -> int:
    ones = (1 << bits) - 1
    value = ones
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
    return value ^ ones


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_crcs_are_those_of_their_polynomials(data: bytes) -> None:
    assert int.from_bytes(digest_of("crc32", data), "big") == bitwise(data, 0xEDB88320, 32) == zlib.crc32(data)
    assert int.from_bytes(digest_of("crc32c", data), "big") == bitwise(data, 0x82F63B78, 32)
    assert int.from_bytes(digest_of("crc64nvme", data), "big") == bitwise(data, 0x9A6C9329AC4BC9B5, 64)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6))
def test_parts_combine_into_the_whole_and_run_on(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    for name in DIGEST_BYTES:
        running = new(name)
        for part in parts:
            running.update(memoryview(part))
        assert running.digest() == digest_of(name, whole)
        assert len(running.digest()) == DIGEST_BYTES[name]
        if name in FULL_OBJECT:
            assert combine(name, [(digest_of(name, part), len(part)) for part in parts]) == digest_of(name, whole)


@pytest.mark.parametrize("has_library", [True, False])
def test_crc32_of_large_bytes_is_that_of_zlib(has_library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_library:
        monkeypatch.setattr(isal, "library", lambda: None)
    data = memoryview(bytes(range(256)) * 400)
    for piece in (data, data[3:], data[1:16_385], data[:16_383]):
        assert isal.crc32(piece) == zlib.crc32(piece)
        assert isal.crc32(piece, 0xDEADBEEF) == zlib.crc32(piece, 0xDEADBEEF)
        running = new("CRC32")
        running.update(piece[:100])
        running.update(piece[100:])
        assert running.digest() == zlib.crc32(piece).to_bytes(4, "big")


def test_parts_of_five_terabytes_combine() -> None:
    """Only lengths are needed: a CRC over 2^42 zero bytes, joined from halves, whichever way it is split."""
    zeros, length = digest_of("crc64nvme", b"\0"), 1
    while length < 2**42:
        zeros, length = combine("crc64nvme", [(zeros, length)] * 2), 2 * length
    quarter, part = digest_of("crc64nvme", b"\0"), 1
    while part < 2**40:
        quarter, part = combine("crc64nvme", [(quarter, part)] * 2), 2 * part
    assert combine("crc64nvme", [(quarter, part)] * 4) == zeros


def test_composite_values_hash_the_parts_digests() -> None:
    digests = [hashlib.sha256(part).digest() for part in (b"a", b"b")]
    wanted = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-2"
    assert composite("sha256", digests) == wanted
    crcs = [digest_of("crc32", part) for part in (b"a", b"b", b"c")]
    assert composite("CRC32", crcs) == checksums.encode(digest_of("crc32", b"".join(crcs))) + "-3"


def test_what_s3_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="MD5"):
        new("MD5")
    with pytest.raises(UsageError, match="do not combine"):
        combine("SHA256", [(bytes(32), 1)])
    with pytest.raises(UsageError, match="no composite"):
        composite("CRC64NVME", [bytes(8)])
    with pytest.raises(UsageError, match="at least one part"):
        combine("CRC32", [])
    with pytest.raises(UsageError, match="part 2 has 3 bytes"):
        combine("CRC32", [(bytes(4), 1), (bytes(3), 1)])


def test_header_values_are_read_strictly() -> None:
    assert checksums.decode("crc32", "DUoRhQ==") == digest_of("crc32", b"hello world")
    for bad in ("", "DUoRhQ", "DUoRhQ==\n", "DUoR hQ==", "AAAA", "é", "DUoRhQ==DUoRhQ=="):
        with pytest.raises(UsageError, match="is not base64"):
            checksums.decode("CRC32", bad)
