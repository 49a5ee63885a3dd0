"""AEGIS-256 in place is the published cipher, and opens nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import aegis

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "storage_aegis256.json").read_text())
KEY, NONCE = bytes.fromhex(VECTORS["key"]), bytes.fromhex(VECTORS["nonce"])


def sealed(data: bytes, bound: bytes = b"", key: bytes = KEY, nonce: bytes = NONCE) -> bytearray:
    room = bytearray(len(data) + aegis.TAG_BYTES)
    aegis.seal_into(key, nonce, data, bound, memoryview(room))
    return room


@pytest.mark.parametrize("case", VECTORS["values"], ids=lambda case: f"{len(case['msg']) // 2} bytes")
def test_published_vectors(case: dict) -> None:
    data, bound = bytes.fromhex(case["msg"]), bytes.fromhex(case["ad"])
    found = sealed(data, bound)
    assert found.hex() == case["sealed"]
    room = bytearray(len(data))
    assert aegis.open_into(KEY, NONCE, found, bound, memoryview(room)) and room == data


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), bound=st.binary(max_size=40), place=st.integers(0, 2**30), bit=st.integers(0, 7))
def test_only_the_same_opens(data: bytes, bound: bytes, place: int, bit: int) -> None:
    found, room = sealed(data, bound), memoryview(bytearray(len(data)))
    assert aegis.open_into(KEY, NONCE, memoryview(found), bound, room) and room == data
    changed = bytearray(found)
    changed[place % len(changed)] ^= 1 << bit
    assert not aegis.open_into(KEY, NONCE, changed, bound, room)
    assert not aegis.open_into(KEY, NONCE, found, bound + b"\0", room)
    assert not aegis.open_into(bytes(32), NONCE, found, bound, room)
    assert not aegis.open_into(KEY, bytes(32), found, bound, room)


def test_room_of_another_length_is_never_written_to() -> None:
    for size in (0, 31, 33):
        with pytest.raises(UsageError):
            aegis.seal_into(KEY, NONCE, b"", b"", memoryview(bytearray(size)))
    with pytest.raises(UsageError):
        aegis.open_into(KEY, NONCE, bytes(40), b"", memoryview(bytearray(7)))
    with pytest.raises(UsageError):
        aegis.open_into(KEY, NONCE, bytes(31), b"", memoryview(b""))
    with pytest.raises(UsageError):
        aegis.seal_into(KEY[1:], NONCE, b"", b"", memoryview(bytearray(32)))
    with pytest.raises(UsageError):
        aegis.seal_into(KEY, NONCE + b"1", b"", b"", memoryview(bytearray(32)))
    with pytest.raises(BufferError):
        aegis.seal_into(KEY, NONCE, b"", b"", memoryview(bytes(32)))
