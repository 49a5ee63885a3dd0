"""What a source gives comes out whole and in order, in the sizes that are asked for; large pieces are not copied."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.coding import CodedSegment
from fieldstone.services.storage.pool.source import Source

BODY = bytes(range(251)) * 2_000


async def given_in(cuts: Sequence[int], body: bytes = BODY) -> AsyncIterator[bytes | memoryview]:
    view = memoryview(body)
    for low, high in zip((0, *cuts), (*cuts, len(body)), strict=True):
        yield view[low:high]


CUTS = st.lists(st.integers(0, len(BODY)), max_size=30).map(sorted)


@settings(max_examples=60, deadline=None)
@given(CUTS, st.lists(st.integers(1, 200_000), min_size=1, max_size=6))
def test_pieces_are_the_body_in_order(cuts: list[int], sizes: list[int]) -> None:
    async def run() -> None:
        source, at = Source(given_in(cuts)), 0
        for size in sizes:
            found = b"".join(await source.pieces(size))
            assert found == BODY[at : at + size]
            at += len(found)
            assert source.taken_bytes == at

    asyncio.run(run())


def test_large_pieces_are_views_of_what_was_given() -> None:
    block = bytearray(200_000)

    async def once() -> AsyncIterator[memoryview]:
        yield memoryview(block)

    first, *_ = asyncio.run(Source(once()).pieces(150_000))
    block[149_999] = 7
    assert len(first) == 150_000 and first[149_999] == 7


@settings(max_examples=25, deadline=None)
@given(CUTS)
def test_a_segment_is_the_same_however_its_bytes_came(cuts: list[int]) -> None:
    layout = Layout(cipher.sealed_bytes(len(BODY)), 2, 3, 40_000)
    key, name = bytes(32), bytes(16)

    async def coded(pieces: Sequence[int]) -> bytes:
        segment = CodedSegment(layout, len(BODY), 16_384, cipher.SegmentCipher(key, name))
        source = Source(given_in(pieces))
        for _ in range(2):  # the cipher's chunks do not end where the pieces do
            segment.publish(segment.advance(await source.pieces(5 * cipher.CHUNK_BYTES)))
        assert segment.is_whole
        return b"".join(b"".join(segment.share(number)) for number in range(3))

    assert asyncio.run(coded(cuts)) == asyncio.run(coded(()))


def test_a_source_that_goes_on_is_refused() -> None:
    async def run() -> None:
        source = Source(given_in((10,)))
        await source.pieces(10)
        with pytest.raises(UsageError, match="went on"):
            await source.expect_end()

    asyncio.run(run())
