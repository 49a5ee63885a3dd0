"""Extents: any cut of any content reads the same bytes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.catalog.content import Content, Extent
from fieldstone.services.storage.pool import SegmentRef, Stored


# the bytes of a segment are a function of its id and place, so any reading can be checked
def byte_at(segment: bytes, place: int) -> int:
    return (segment[0] * 31 + place * 7) % 251


def read(content: Content, start: int, end: int) -> bytes:
    """Read as the pool does: whole segments one after another, cut at both ends."""
    out = bytearray()
    for piece in content.pieces(start, end):
        if piece.stored.inline is not None:
            out += piece.stored.inline[piece.start : piece.end]
            continue
        whole = b"".join(bytes(byte_at(ref.id, i) for i in range(ref.size_bytes)) for ref in piece.stored.segments)
        assert piece.stored.size_bytes == len(whole)
        assert 0 <= piece.start < piece.end <= len(whole)
        out += whole[piece.start : piece.end]
    return bytes(out)


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    size = draw(st.integers(1, 9))
    start = draw(st.integers(0, size - 1))
    length = draw(st.integers(1, size - start))
    inline = draw(st.booleans())
    segment = b"" if inline else bytes([draw(st.integers(0, 5))]) * 16
    return Extent(segment, size, start, length, bytes(range(size)) if inline else None)


contents = st.lists(extents(), max_size=8).map(lambda found: Content(tuple(found)))


def plain(content: Content) -> bytes:
    out = bytearray()
    for e in content.extents:
        whole = e.inline if e.inline is not None else bytes(byte_at(e.segment, i) for i in range(e.size_bytes))
        out += whole[e.start : e.start + e.length]
    return bytes(out)


@given(contents, st.integers(0, 80), st.integers(0, 80), st.integers(0, 80), st.integers(0, 80))
def test_any_range_of_any_slice_reads_the_same_bytes(content: Content, a: int, b: int, c: int, d: int) -> None:
    whole = plain(content)
    assert content.size_bytes == len(whole)
    start, end = sorted((min(a, len(whole)), min(b, len(whole))))
    assert read(content, start, end) == whole[start:end]
    part = content.slice(start, end)
    assert Content.decode(part.encode()) == part
    low, high = sorted((min(c, part.size_bytes), min(d, part.size_bytes)))
    assert read(part, low, high) == whole[start:end][low:high]


@given(contents, contents)
def test_joined_contents_read_one_after_the_other(first: Content, second: Content) -> None:
    joined = Content.joined([first, second])
    assert read(joined, 0, joined.size_bytes) == plain(first) + plain(second)
    assert set(joined.holdings()) == set(first.holdings()) | set(second.holdings())
    assert set(joined.holdings().values()) <= {1}


def test_whole_segments_come_as_one_piece() -> None:
    content = Content(tuple(Extent(bytes([i]) * 16, 10, 0, 10) for i in range(5)))
    assert len(list(content.pieces(3, 47))) == 1


def test_an_empty_object_has_no_extents() -> None:
    assert Content.of(Stored(0)).extents == ()
    assert list(Content().pieces(0, 0)) == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans(), st.integers(0, 50), st.integers(0, 50))
def test_pieces_know_their_place_in_the_keystream(sizes: list[int], inline: bool, a: int, b: int) -> None:
    """Parts under one customer's key, each with a salt of its own: any cut is opened at the right place."""
    parts = []
    for index, size in enumerate(sizes):
        segments = (SegmentRef(bytes([index]) * 16, size), SegmentRef(bytes([index + 100]) * 16, size))
        stored = Stored(size, (), bytes(size)) if inline else Stored(2 * size, segments, None)
        parts.append(Content.of(stored, bytes([index]) * 16))
    whole = Content.joined(parts)
    expected = [(bytes([i]) * 16, place) for i, part in enumerate(parts) for place in range(part.size_bytes)]
    start, end = sorted((min(a, whole.size_bytes), min(b, whole.size_bytes)))
    found = []
    for piece in Content.decode(whole.slice(start, end).encode()).pieces(0, end - start):
        assert piece.seal is not None
        found += [(piece.seal.salt, piece.seal.position + i) for i in range(piece.end - piece.start)]
    assert found == expected[start:end]


def test_rows_of_before_customers_keys_are_read() -> None:
    old = msgspec.msgpack.encode([[b"s" * 16, 9, 1, 5, None]])
    assert Content.decode(old) == Content((Extent(b"s" * 16, 9, 1, 5),))
