"""Our nodes make up the public BLAKE3: published vectors, and the package at every length of a leaf."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.services.storage.codes.blake3_inner import CHUNK_BYTES, chunk_values, parent_values

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "storage_blake3.json").read_text())["values"]


def hashed(data: bytes, key: bytes = b"") -> bytes:
    """BLAKE3 of `data`, all its nodes computed by us. `key`: in keyed mode."""
    count = max(1, -(-len(data) // CHUNK_BYTES))
    words = np.frombuffer(data.ljust(count * CHUNK_BYTES, b"\0"), "<u4").reshape(count, -1)
    lengths = np.full(count, CHUNK_BYTES)
    lengths[-1] = len(data) - (count - 1) * CHUNK_BYTES
    values = chunk_values(words, lengths, np.arange(count), count == 1, key)
    while (width := len(values)) > 1:
        even = width // 2 * 2
        values = np.concatenate((parent_values(values[0:even:2], values[1:even:2], width == 2, key), values[even:]))
    return values.tobytes()


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: str(case["length"]))
def test_published_vectors(case: dict) -> None:
    data = bytes(place % 251 for place in range(case["length"]))
    assert hashed(data).hex() == case["hash"] == blake3(data).hexdigest()


@settings(max_examples=30, deadline=None)
@given(length=st.integers(0, 65_536), seed=st.integers(0, 99), key=st.binary(min_size=32, max_size=32))
@example(length=65_536, seed=0, key=bytes(32))
@example(length=15_361, seed=0, key=bytes(32))
def test_every_length_of_a_leaf_hashes_as_the_package_does(length: int, seed: int, key: bytes) -> None:
    data = random.Random(seed).randbytes(length)
    assert hashed(data) == blake3(data).digest()
    assert hashed(data, key) == blake3(data, key=key).digest()


def test_lanes_do_not_disturb_each_other() -> None:
    """Chunks of all lengths side by side, and each alone."""
    rng = random.Random(4)
    data = [rng.randbytes(length) for length in range(0, 1_025, 41)]
    words = np.frombuffer(b"".join(one.ljust(CHUNK_BYTES, b"\0") for one in data), "<u4").reshape(len(data), -1)
    roots = np.ones(len(data), np.bool_)
    values = chunk_values(words, np.array([len(one) for one in data]), np.zeros(len(data), np.int64), roots)
    assert [value.tobytes() for value in values] == [blake3(one).digest() for one in data]


def test_counters_beyond_32_bits_are_two_words() -> None:
    words = np.zeros((3, 256), np.uint32)
    values = chunk_values(words, np.full(3, 1_024), np.array([0, 1 << 32, 1]), False)
    assert len({value.tobytes() for value in values}) == 3
