"""A segment over shares: sizes, ranges, and reads of any range from any k shares."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.erasure import TooFewShares
from fieldstone.services.storage.codes.stripes import Layout

layouts = st.builds(
    Layout,
    size_bytes=st.integers(1, 3000),
    k=st.integers(1, 6),
    n=st.integers(6, 9),
    block_bytes=st.integers(1, 200),
)


@settings(max_examples=200, deadline=None)
@given(layout=layouts, seed=st.integers(0, 2**32))
@example(layout=Layout(1, 4, 6, 65536), seed=0)
@example(layout=Layout(800, 4, 6, 100), seed=0)
def test_any_range_is_read_from_any_k_shares(layout: Layout, seed: int) -> None:
    generator = random.Random(seed)
    data = generator.randbytes(layout.size_bytes)
    shares = layout.encode_segment(data)
    assert [len(share) for share in shares] == [layout.share_bytes] * layout.n
    start = generator.randrange(layout.size_bytes)
    end = generator.randint(start + 1, layout.size_bytes)
    low, high = layout.ranges(start, end)
    have = generator.sample(range(layout.n), layout.k)
    assert layout.assemble({i: shares[i][low:high] for i in have}, start, end) == data[start:end]
    assert layout.assemble({i: shares[i] for i in have}) == data


@settings(max_examples=200, deadline=None)
@given(layout=layouts)
def test_shares_waste_less_than_a_byte_per_block_of_the_last_stripe(layout: Layout) -> None:
    assert layout.size_bytes <= layout.k * layout.share_bytes < layout.size_bytes + layout.k
    pieces = layout.pieces(0, layout.size_bytes)
    assert sum(piece.end - piece.start for piece in pieces) == layout.size_bytes
    assert layout.stripes == -(-layout.size_bytes // layout.stripe_bytes)


def test_a_small_read_needs_the_same_few_bytes_of_every_share() -> None:
    layout = Layout(10_000_000, 20, 40, 65536)
    assert layout.ranges(70_000, 70_010) == (70_000 - 65536, 70_010 - 65536)
    (piece,) = layout.pieces(70_000, 70_010)
    assert (piece.share, piece.start, piece.end) == (1, 4464, 4474)


def test_the_data_shares_alone_are_enough_when_they_hold_the_range() -> None:
    layout = Layout(1000, 4, 6, 100)
    data = bytes(range(250)) * 4
    low, high = layout.ranges(110, 190)
    assert layout.assemble({1: layout.encode_segment(data)[1][low:high]}, 110, 190) == data[110:190]
    with pytest.raises(TooFewShares):
        layout.assemble({2: layout.encode_segment(data)[2][low:high]}, 110, 190)


def test_impossible_requests_are_refused() -> None:
    layout = Layout(1000, 4, 6, 100)
    for start, end in ((-1, 5), (5, 5), (6, 5), (0, 1001)):
        with pytest.raises(UsageError):
            layout.ranges(start, end)
    with pytest.raises(UsageError, match="999 bytes"):
        layout.encode_segment(bytes(999))
    with pytest.raises(UsageError, match="share 0 brings 7 bytes"):
        layout.assemble({0: bytes(7)}, 0, 10)
    for bad in ((0, 4, 6, 100), (10, 4, 6, 0), (10, 7, 6, 10)):
        with pytest.raises(UsageError):
            Layout(*bad)
