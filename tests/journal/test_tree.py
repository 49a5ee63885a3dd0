"""The hash tree against the public Certificate Transparency vectors and against its own definition."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.journal import tree

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "journal" / "rfc9162_tree.json").read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert tree.root(LEAVES[:size]).hex() == VECTORS["roots"][size]


@pytest.mark.parametrize("case", VECTORS["paths"], ids=lambda case: f"{case['leaf']}of{case['size']}")
def test_paths_are_those_of_certificate_transparency(case: dict[str, object]) -> None:
    built = tree.levels(LEAVES[: case["size"]])  # type: ignore[misc]
    assert [node.hex() for node in tree.path(built, case["leaf"])] == case["path"]  # type: ignore[arg-type]


def _recursive(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + _recursive(leaves[:k]) + _recursive(leaves[k:])).digest()


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_level_by_level_is_the_recursive_definition(leaves: list[bytes]) -> None:
    assert tree.root(leaves) == _recursive(leaves)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40, unique=True), st.data())
def test_a_path_proves_its_leaf_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    built = tree.levels(leaves)
    root = built[-1][0]
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = tree.path(built, index)
    assert tree.root_from_path(leaves[index], index, len(leaves), path) == root
    other = data.draw(st.integers(0, len(leaves) - 1))
    if other != index:
        assert tree.root_from_path(leaves[other], index, len(leaves), path) != root
        assert tree.root_from_path(leaves[index], other, len(leaves), path) != root
    assert tree.root_from_path(leaves[index], index, len(leaves), [*path, root]) != root
    if path:
        assert tree.root_from_path(leaves[index], index, len(leaves), path[:-1]) != root


def test_indices_outside_the_tree() -> None:
    built = tree.levels(LEAVES[:3])
    with pytest.raises(IndexError):
        tree.path(built, 3)
    assert tree.root_from_path(LEAVES[0], 3, 3, []) is None
    assert tree.root_from_path(LEAVES[0], -1, 3, []) is None
