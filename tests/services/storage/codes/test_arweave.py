"""data_root and data paths, against the network's own JavaScript library."""

from __future__ import annotations

import base64
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import arweave
from fieldstone.services.storage.codes.arweave import CHUNK_BYTES, LEAST_CHUNK_BYTES, build, verify_path
from tests.services.storage.codes.payloads import payload, vectors

DATA = vectors("storage_arweave.json")["data"]


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("item", DATA, ids=lambda item: str(item["size"]))
def test_roots_and_paths_of_another_implementation(item: dict[str, Any]) -> None:
    tree = build(payload(item["size"]))
    assert arweave.text_of(tree.data_root) == item["data_root"]
    uploaded = [chunk for chunk in tree.chunks if chunk.end > chunk.start]
    assert [[c.start, c.end, arweave.text_of(c.data_hash)] for c in uploaded[:3]] == item["chunks"]
    assert tree.path(0) == raw(item["first_path"])
    assert tree.path(len(uploaded) - 1) == raw(item["last_path"])
    assert verify_path(tree.data_root, item["size"], item["last_offset"], raw(item["last_path"])) == uploaded[-1]


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 5 * CHUNK_BYTES), cuts=st.lists(st.integers(0, 5 * CHUNK_BYTES), max_size=4))
def test_chunks_cover_the_data_and_pieces_hash_like_the_whole(size: int, cuts: list[int]) -> None:
    data = bytes(size)
    tree = build(data)
    borders = sorted({0, size, *(min(cut, size) for cut in cuts)})
    assert build([data[a:b] for a, b in pairwise(borders)]) == tree
    assert [chunk.start for chunk in tree.chunks[1:]] == [chunk.end for chunk in tree.chunks[:-1]]
    assert tree.size_bytes == size
    lengths = [chunk.end - chunk.start for chunk in tree.chunks]
    assert max(lengths) <= CHUNK_BYTES
    assert all(length >= LEAST_CHUNK_BYTES for length in lengths[:-1])
    assert lengths[-1] >= LEAST_CHUNK_BYTES or size < LEAST_CHUNK_BYTES or lengths[-1] == 0


def test_every_chunk_is_proved_at_both_ends() -> None:
    data = payload(7 * CHUNK_BYTES + 40_000)
    tree = build(data)
    for index, chunk in enumerate(tree.chunks):
        for offset in (chunk.start, chunk.end - 1):
            assert verify_path(tree.data_root, len(data), offset, tree.path(index)) == chunk
        assert verify_path(tree.data_root, len(data), chunk.end, tree.path(index)) is None
        assert verify_path(tree.data_root, len(data), chunk.start - 1, tree.path(index)) is None


def test_changed_paths_are_refused() -> None:
    data = payload(5 * CHUNK_BYTES + 40_000)
    tree = build(data)
    path, chunk = tree.path(2), tree.chunks[2]
    generator = random.Random(0)
    for _ in range(300):
        changed = bytearray(path)
        changed[generator.randrange(len(path))] ^= 1 << generator.randrange(8)
        assert verify_path(tree.data_root, len(data), chunk.start, bytes(changed)) is None
    for bad in (b"", path[:-1], path[96:], path + bytes(96), path[: len(path) - 64]):
        assert verify_path(tree.data_root, len(data), chunk.start, bad) is None
    for offset in (-1, len(data), 0, len(data) - 1):
        assert verify_path(tree.data_root, len(data), offset, path) is None


def test_borders_outside_the_borders_before_them_are_refused() -> None:
    """Right hashes over a tree whose notes lie: a chunk that claims to be longer than its place."""
    first = arweave._Node(arweave._hash(arweave._hash(bytes(32)) + arweave._hash(arweave._note(500))), 500)
    second = arweave._Node(arweave._hash(arweave._hash(bytes(32)) + arweave._hash(arweave._note(300))), 300)
    (top,) = arweave._level_above((first, second))
    branch = first.identity + second.identity + arweave._note(500)
    assert verify_path(top.identity, 500, 10, branch + bytes(32) + arweave._note(500)) is not None
    assert verify_path(top.identity, 400, 10, branch + bytes(32) + arweave._note(500)) is None
    assert verify_path(top.identity, 600, 550, branch + bytes(32) + arweave._note(300)) is None


def test_a_chunk_longer_than_a_chunk_is_refused() -> None:
    end = CHUNK_BYTES + 1
    root = arweave._hash(arweave._hash(bytes(32)) + arweave._hash(arweave._note(end)))
    assert verify_path(root, end, 0, bytes(32) + arweave._note(end)) is None


def test_no_data_has_no_root() -> None:
    with pytest.raises(UsageError, match="no data_root"):
        build(b"")
    with pytest.raises(UsageError):
        build(b"a").path(1)
