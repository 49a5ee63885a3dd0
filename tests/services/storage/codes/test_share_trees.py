"""Trees of many shares at once are those of `fast_tree`, compiled or not, whatever the pieces they come in."""

from __future__ import annotations

import os
import sys

import pytest

from fieldstone.services.storage.codes import fast_tree, share_trees
from fieldstone.services.storage.codes.share_trees import Trees

KIB = 1024


@pytest.fixture(params=["compiled", "portable"])
def is_compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(share_trees, "_loaded", [])
    if request.param == "compiled":
        pytest.importorskip("numba")
        assert share_trees.load()
    return bool(share_trees._loaded)


@pytest.mark.parametrize("leaf_kib", [1, 4, 8, 16])
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(
    "sizes",
    [(), (64 * KIB,), (64 * KIB, 64 * KIB, 64 * KIB), (64 * KIB, 64 * KIB, 7_001), (5,), (16 * KIB, 3, 64 * KIB)],
)
def test_commitments_are_those_of_single_trees(
    is_compiled: bool, leaf_kib: int, count: int, sizes: tuple[int, ...]
) -> None:
    trees = Trees(count, leaf_kib * KIB)
    shares = [b""] * count
    for size in sizes:
        blocks = [os.urandom(size) for _ in range(count)]
        trees.update([memoryview(block) for block in blocks])
        shares = [share + block for share, block in zip(shares, blocks, strict=True)]
    wanted = [fast_tree.Tree.build(share, leaf_kib * KIB).commitment for share in shares]
    assert trees.commitments() == wanted


@pytest.mark.parametrize("leaf_bytes", [1, 1_000, 3 * KIB, 64 * KIB, 256 * KIB])
def test_leaves_of_any_size(is_compiled: bool, leaf_bytes: int) -> None:
    trees, blocks = Trees(2, leaf_bytes), [os.urandom(6 * KIB), os.urandom(6 * KIB)]
    trees.update(blocks)
    trees.update(blocks)
    assert trees.commitments() == [fast_tree.Tree.build(block * 2, leaf_bytes).commitment for block in blocks]


def test_a_long_share_at_the_edge_of_its_memory(is_compiled: bool) -> None:
    """Lanes look at whole groups of eight: not before the first byte, and nothing of them is in the result."""
    body = os.urandom(37 * 64 * KIB)
    trees = Trees(1, 16 * KIB)
    for at in range(0, len(body), 64 * KIB):
        trees.update([body[at : at + 64 * KIB]])
    assert trees.commitments() == [fast_tree.Tree.build(body).commitment]


def test_without_numba_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_trees, "_loaded", [])
    monkeypatch.setitem(sys.modules, share_trees._KERNEL, None)
    assert not share_trees.load()
    assert Trees(1)._kernel is None
