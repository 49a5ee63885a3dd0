"""The audit tree: the documented commitment, its paths, and what is kept of it. What a prover could try: `test_chunk_opening`."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import fast_tree
from fieldstone.services.storage.codes.fast_tree import (
    Hasher,
    Kept,
    Tree,
    leaf_range,
)

LEAF = 64


def plain_commitment(data: bytes, leaf_bytes: int) -> bytes:
    """The module's own words, as slowly as they read."""
    parts = [data[i : i + leaf_bytes] for i in range(0, len(data), leaf_bytes)] or [b""]

    def keyed(pair: bytes) -> bytes:
        return blake3(pair, key=b"Fieldstone storage: a tree node.").digest()

    level = [blake3(part, key=b"Fieldstone storage: a share leaf").digest() for part in parts]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [keyed(b"".join(pair)) if len(pair) == 2 else pair[0] for pair in pairs]
    shape = bytes([2, 0, 0, 0]) + leaf_bytes.to_bytes(4, "little") + len(data).to_bytes(8, "little")
    return blake3(shape + level[0], key=b"Fieldstone storage: a commitment").digest()


def climbed(node: bytes, index: int, width: int, path: tuple[bytes, ...]) -> bytes:
    """Return the top that a leaf's hash and its whole path lead to."""
    rest = list(path)
    while width > 1:
        if index & 1:
            node = fast_tree.node_hash(rest.pop(0), node)
        elif index + 1 < width:
            node = fast_tree.node_hash(node, rest.pop(0))
        index, width = index >> 1, (width + 1) >> 1
    assert not rest
    return node


@settings(max_examples=150, deadline=None)
@given(size=st.integers(0, 3000), leaf_bytes=st.integers(1, 300), seed=st.integers(0, 99))
@example(size=0, leaf_bytes=64, seed=0)
@example(size=65 * 64, leaf_bytes=64, seed=0)
def test_every_leaf_is_proved(size: int, leaf_bytes: int, seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    tree = Tree.build(data, leaf_bytes)
    assert tree.commitment == plain_commitment(data, leaf_bytes)
    count = fast_tree.leaf_count(size, leaf_bytes)
    for index in {0, count - 1, seed % count}:
        start, end = leaf_range(size, leaf_bytes, index)
        assert climbed(fast_tree.leaf_hash(data[start:end]), index, count, tree.proof(index)) == tree.top


@settings(max_examples=100, deadline=None)
@given(size=st.integers(0, 5000), cuts=st.lists(st.integers(0, 5000), max_size=8), seed=st.integers(0, 99))
def test_pieces_hash_like_the_whole(size: int, cuts: list[int], seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    hasher = Hasher(LEAF)
    borders = [0, *sorted(min(cut, size) for cut in cuts), size]
    for start, end in pairwise(borders):
        hasher.update(memoryview(data)[start:end])
    assert hasher.finish() == Tree.build(data, LEAF)


@settings(max_examples=150, deadline=None)
@given(size=st.integers(0, 5000), group=st.sampled_from([1, 64, 128, 512, 10**6]), seed=st.integers(0, 99))
def test_kept_levels_and_one_group_give_the_same_path(size: int, group: int, seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    tree = Tree.build(data, LEAF)
    kept = tree.keep(group)
    assert kept.commitment == tree.commitment
    index = seed % fast_tree.leaf_count(size, LEAF)
    start, end = kept.group_range(index)
    assert end - start <= max(group, LEAF)
    assert kept.path(index, data[start:end]) == tree.proof(index)


def test_kept_levels_cost_little() -> None:
    tree = Tree.build(bytes(4 * 1024 * 1024))
    assert len(tree.keep().nodes) < 4 * 1024 * 1024 * 0.0006


def test_rotten_bytes_or_nodes_are_noticed_before_a_wrong_proof_is_sent() -> None:
    data = random.Random(0).randbytes(40 * LEAF)
    kept = Tree.build(data, LEAF).keep(4 * LEAF)
    start, end = kept.group_range(9)
    group = bytearray(data[start:end])
    group[3] ^= 1
    assert kept.path(9, group) is None
    rotten = Kept(kept.size_bytes, kept.leaf_bytes, kept.height, bytes(32) * (len(kept.nodes) // 32))
    assert rotten.path(9, data[start:end]) is None


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(UsageError):
        Tree.build(b"", 0)
    with pytest.raises(UsageError):
        Hasher(2**32)
    with pytest.raises(UsageError):
        Tree.build(bytes(100), LEAF).proof(2)
    with pytest.raises(UsageError, match="build the tree again"):
        Kept(100 * LEAF, LEAF, 2, bytes(64))
    with pytest.raises(UsageError, match="needs bytes"):
        Tree.build(bytes(100), LEAF).keep().path(0, bytes(7))
