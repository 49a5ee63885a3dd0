"""A sealed segment: ranges open alone; nothing can be changed, moved, cut or added unnoticed."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.errors import CheckFailed, UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.cipher import CHUNK_BYTES, TAG_BYTES, NotAuthentic, SegmentCipher

KEY, SEGMENT = bytes(range(32)), bytes(range(16))
MACHINE = SegmentCipher(KEY, SEGMENT)
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 4 * CHUNK_BYTES), seed=st.integers(0, 2**32))
@example(size=0, seed=0)
@example(size=CHUNK_BYTES, seed=0)
@example(size=2 * CHUNK_BYTES, seed=1)
def test_any_range_opens_from_its_sealed_range(size: int, seed: int) -> None:
    generator = random.Random(seed)
    data = generator.randbytes(size)
    sealed = MACHINE.seal(data)
    assert len(sealed) == cipher.sealed_bytes(size)
    assert cipher.plain_bytes(len(sealed)) == size
    assert MACHINE.open(sealed) == data
    start = generator.randint(0, size)
    end = generator.randint(start, size)
    low, high = cipher.sealed_range(start, end, size)
    assert MACHINE.open_range(sealed[low:high], start, end, size) == data[start:end]
    assert high - low <= end - start + 2 * SEALED_CHUNK


def test_sealing_in_parts_gives_the_same_bytes() -> None:
    data = random.Random(0).randbytes(3 * CHUNK_BYTES + 5)
    first = MACHINE.seal(data[: 2 * CHUNK_BYTES], last=False)
    assert first + MACHINE.seal(data[2 * CHUNK_BYTES :], first_chunk=2) == MACHINE.seal(data)


def test_parts_that_would_leave_a_hole_are_refused() -> None:
    with pytest.raises(UsageError, match="whole chunks"):
        MACHINE.seal(bytes(5), last=False)
    with pytest.raises(UsageError, match="whole chunks"):
        MACHINE.seal(b"", last=False)
    with pytest.raises(UsageError, match="is empty"):
        MACHINE.seal(b"", first_chunk=3)


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 2 * SEALED_CHUNK + 20), bit=st.integers(0, 7))
def test_every_changed_bit_is_noticed(position: int, bit: int) -> None:
    sealed = bytearray(MACHINE.seal(bytes(2 * CHUNK_BYTES + 5)))
    sealed[position] ^= 1 << bit
    with pytest.raises(NotAuthentic) as caught:
        MACHINE.open(sealed)
    assert caught.value.chunk == position // SEALED_CHUNK


def test_cutting_at_a_chunk_border_is_noticed() -> None:
    """Every remaining chunk is genuine and the length is possible: only the end mark tells."""
    sealed = MACHINE.seal(random.Random(1).randbytes(3 * CHUNK_BYTES))
    with pytest.raises(NotAuthentic, match="chunk 1"):
        MACHINE.open(sealed[: 2 * SEALED_CHUNK])


def test_adding_a_chunk_is_noticed() -> None:
    sealed = MACHINE.seal(bytes(2 * CHUNK_BYTES))
    with pytest.raises(NotAuthentic, match="chunk 1"):
        MACHINE.open(sealed + sealed[:SEALED_CHUNK])


def test_reordered_chunks_are_noticed() -> None:
    sealed = MACHINE.seal(random.Random(2).randbytes(3 * CHUNK_BYTES))
    with pytest.raises(NotAuthentic, match="chunk 0"):
        MACHINE.open(sealed[SEALED_CHUNK : 2 * SEALED_CHUNK] + sealed[:SEALED_CHUNK] + sealed[2 * SEALED_CHUNK :])


def test_the_last_chunk_cannot_be_passed_off_as_a_range_of_a_longer_segment() -> None:
    sealed = MACHINE.seal(bytes(2 * CHUNK_BYTES))
    with pytest.raises(NotAuthentic, match="chunk 1"):
        MACHINE.open_range(sealed[SEALED_CHUNK:], CHUNK_BYTES, CHUNK_BYTES + 5, 9 * CHUNK_BYTES)


def test_another_key_or_segment_does_not_open() -> None:
    sealed = MACHINE.seal(b"hello")
    for other in (SegmentCipher(bytes(32), SEGMENT), SegmentCipher(KEY, bytes(16))):
        with pytest.raises(NotAuthentic):
            other.open(sealed)


@pytest.mark.parametrize("length", [0, 15, SEALED_CHUNK + 1, SEALED_CHUNK + TAG_BYTES])
def test_impossible_lengths_are_refused(length: int) -> None:
    with pytest.raises(UsageError, match="not the length"):
        MACHINE.open(bytes(length))


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError):
        SegmentCipher(bytes(31), SEGMENT)
    with pytest.raises(UsageError):
        SegmentCipher(KEY, bytes(15))
    with pytest.raises(UsageError, match="were given"):
        MACHINE.open_range(bytes(50), 0, 5, 5)
    for start, end in ((-1, 2), (3, 2), (0, 6)):
        with pytest.raises(UsageError):
            cipher.sealed_range(start, end, 5)


def test_a_wrapped_key_opens_only_where_it_belongs() -> None:
    wrapped = cipher.wrap_key(KEY, bytes(32), b"object 1")
    assert len(wrapped) == cipher.WRAPPED_KEY_BYTES
    assert cipher.unwrap_key(KEY, wrapped, b"object 1") == bytes(32)
    for master, body, context in (
        (bytes(32), wrapped, b"object 1"),
        (KEY, wrapped, b"object 2"),
        (KEY, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"object 1"),
    ):
        with pytest.raises(CheckFailed, match="does not open"):
            cipher.unwrap_key(master, body, context)
    with pytest.raises(UsageError):
        cipher.unwrap_key(KEY, wrapped[:-1], b"object 1")
    with pytest.raises(UsageError):
        cipher.wrap_key(KEY, bytes(31), b"")


@settings(max_examples=20, deadline=None)
@given(size=st.integers(0, 3 * CHUNK_BYTES))
def test_chunks_sealed_and_opened_in_place_are_those_of_the_whole(size: int) -> None:
    data = memoryview(random.Random(size).randbytes(size))
    room, at, chunks = memoryview(bytearray(cipher.sealed_bytes(size))), 0, cipher.chunk_count(size)
    for chunk in range(chunks):
        part = data[chunk * CHUNK_BYTES : (chunk + 1) * CHUNK_BYTES]
        at += MACHINE.seal_chunk_into(part, room[at:], chunk=chunk, last=chunk == chunks - 1)
    assert at == len(room) and bytes(room) == MACHINE.seal(data)
    plain, at = memoryview(bytearray(size)), 0
    for chunk in range(chunks):
        part = room[chunk * SEALED_CHUNK : (chunk + 1) * SEALED_CHUNK]
        at += MACHINE.open_chunk_into(part, plain[at:], chunk=chunk, last=chunk == chunks - 1)
    assert plain == data


def test_chunks_in_place_refuse_what_the_whole_refuses() -> None:
    room = memoryview(bytearray(SEALED_CHUNK))
    for data, chunk, last in ((bytes(5), 0, False), (b"", 1, True), (bytes(CHUNK_BYTES + 1), 0, True)):
        with pytest.raises(UsageError):
            MACHINE.seal_chunk_into(data, room, chunk=chunk, last=last)
    with pytest.raises(UsageError):
        MACHINE.seal_chunk_into(bytes(5), room[:20], chunk=0, last=True)
    MACHINE.seal_chunk_into(bytes(CHUNK_BYTES), room, chunk=1, last=False)
    plain = memoryview(bytearray(CHUNK_BYTES))
    for chunk, last in ((0, False), (2, False), (1, True)):
        with pytest.raises(NotAuthentic):
            MACHINE.open_chunk_into(room, plain, chunk=chunk, last=last)
    with pytest.raises(UsageError):
        MACHINE.open_chunk_into(room, plain[:-1], chunk=1, last=False)
