"""Sector roots: the published one, hashlib as a second opinion, and the split at the largest power of two."""

from __future__ import annotations

import hashlib
import random
import sys

import pytest

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import sia
from fieldstone.services.storage.codes.sia import SECTOR_BYTES, Hasher, meta_root, sector_root
from tests.services.storage.codes.payloads import vectors

ZERO_ROOT = vectors("storage_sia.json")["zero_sector_root"]


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.blake2b(b"\1" + left + right, digest_size=32).digest()


def test_published_root_of_a_sector_of_zeros() -> None:
    assert sector_root(bytes(SECTOR_BYTES)).hex() == ZERO_ROOT


def test_the_kernel_agrees_with_hashlib(monkeypatch: pytest.MonkeyPatch) -> None:
    sector = random.Random(0).randbytes(SECTOR_BYTES)
    compiled = sector_root(sector)
    monkeypatch.setitem(sys.modules, "fieldstone.services.storage.codes.blake2b_kernel", None)
    assert sector_root(sector) == compiled


def test_the_root_over_sectors_splits_at_the_largest_power_of_two() -> None:
    a, b, c, d, e = (bytes([i]) * 32 for i in range(5))
    assert meta_root([a]) == a
    assert meta_root([a, b, c]) == node(node(a, b), c)
    assert meta_root([a, b, c, d, e]) == node(node(node(a, b), node(c, d)), e)
    with pytest.raises(UsageError):
        meta_root([])


def test_the_last_sector_is_padded_and_pieces_do_not_matter() -> None:
    data = random.Random(1).randbytes(SECTOR_BYTES + 1000)
    hasher = Hasher()
    for start in range(0, len(data), 1_000_003):
        hasher.update(data[start : start + 1_000_003])
    root = hasher.finish()
    assert hasher.roots == [
        sector_root(data[:SECTOR_BYTES]),
        sector_root(data[SECTOR_BYTES:].ljust(SECTOR_BYTES, b"\0")),
    ]
    assert root == node(*hasher.roots)
    assert hasher.padding_bytes == SECTOR_BYTES - 1000


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="pad it"):
        sector_root(bytes(100))
    with pytest.raises(UsageError, match="no bytes"):
        sia.Hasher().finish()
