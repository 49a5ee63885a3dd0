"""Proofs of one chunk: what they prove, and everything a prover could try instead. Both verifications give one answer."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes import chunk_opening
from fieldstone.services.storage.codes.chunk_opening import Claim, chunk_of, inner_siblings, starts_of, verify_all
from fieldstone.services.storage.codes.fast_tree import Tree, commitment_of, leaf_hash

LEAF = 65_536
KERNEL = "fieldstone.services.storage.codes.blake3_kernel"


@pytest.fixture(params=["compiled", "plain"])
def verification(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a test with compiled code and without."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, KERNEL, None)
    else:
        pytest.importorskip("numba")
        monkeypatch.setattr(chunk_opening, "_LOAD_FROM", 0)
    yield request.param


def opened(data: bytes, leaf_bytes: int, byte: int) -> tuple[Claim, bytes]:
    """Return a true claim about a byte, and the hash of its leaf."""
    tree = Tree.build(data, leaf_bytes)
    place = chunk_of(len(data), leaf_bytes, byte)
    low = place.leaf * leaf_bytes
    leaf = data[low : low + leaf_bytes]
    siblings = inner_siblings([leaf], [byte - low])[0] + b"".join(tree.proof(place.leaf))
    claim = Claim(tree.commitment, len(data), leaf_bytes, place.start, data[place.start : place.end], siblings)
    return claim, leaf_hash(leaf)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 200_000), leaf_bytes=st.sampled_from([77, 1_024, 16_384, LEAF]), seed=st.integers(0, 2**30))
@example(size=0, leaf_bytes=LEAF, seed=0)
@example(size=1, leaf_bytes=LEAF, seed=0)
@example(size=LEAF + 1, leaf_bytes=LEAF, seed=LEAF)
def test_every_byte_is_proved_by_its_chunk(size: int, leaf_bytes: int, seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    claims = [opened(data, leaf_bytes, byte) for byte in {0, max(0, size - 1), seed % max(1, size)}]
    assert verify_all([claim for claim, _ in claims]) == [leaf for _, leaf in claims]


@pytest.mark.parametrize("leaf_bytes", [77, 1_024, 16_384, LEAF])
@pytest.mark.parametrize("size", [1, 1_023, 1_024, 1_025, 2_048, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF + 5_000])
def test_chunks_part_a_share_without_gap_or_overlap(size: int, leaf_bytes: int) -> None:
    """Every byte is in one chunk, so a byte drawn evenly hits what was dropped with the probability of its bytes."""
    places, at = [], 0
    while at < size:
        places.append(place := chunk_of(size, leaf_bytes, at))
        assert place.start == at < place.end <= min(size, at + 1_024)
        assert place == chunk_of(size, leaf_bytes, place.end - 1)
        at = place.end
    starts = starts_of(np.arange(size), np.full(size, leaf_bytes))
    assert np.unique(starts).tolist() == [place.start for place in places]
    assert (np.diff(np.append(np.unique(starts), size)) == np.unique(starts, return_counts=True)[1]).all()
    assert {(p.leaf, p.number) for p in places} >= {(p.leaf, p.chunks - 1) for p in places if leaf_bytes % 1_024 == 0}


def test_the_default_leaf_has_sixty_four_chunks_and_six_siblings() -> None:
    data = random.Random(0).randbytes(LEAF + 1)
    sizes = {start: chunk_of(len(data), LEAF, start) for start in (0, 1_024, LEAF - 1, LEAF)}
    assert [(p.leaf, p.number, p.chunks, p.end - p.start) for p in sizes.values()] == [
        (0, 0, 64, 1_024),
        (0, 1, 64, 1_024),
        (0, 63, 64, 1_024),
        (1, 0, 1, 1),
    ]
    assert [len(inner_siblings([data[:LEAF]], [start])[0]) // 32 for start in (0, 1_024, LEAF - 1)] == [6, 6, 6]


@pytest.mark.usefixtures("verification")
def test_changed_proofs_are_refused() -> None:
    size = 37 * LEAF + 3_000
    data = random.Random(1).randbytes(size)
    good, leaf = opened(data, LEAF, 11 * LEAF + 5_000)
    other, _ = opened(data, LEAF, 11 * LEAF + 7_000)
    first, _ = opened(data, LEAF, 11 * LEAF)
    short, short_leaf = opened(data, LEAF, size - 1)
    wrong = bytes([good.chunk[0] ^ 1]) + bytes(good.chunk[1:])
    bad = [
        good._replace(commitment=bytes(32)),
        good._replace(commitment=good.commitment[:31]),
        good._replace(size_bytes=size + 1),
        good._replace(size_bytes=size - LEAF),
        good._replace(size_bytes=-1),
        good._replace(size_bytes=1 << 64),
        good._replace(leaf_bytes=LEAF // 2),
        good._replace(leaf_bytes=0),
        good._replace(leaf_bytes=1 << 32),
        good._replace(start=good.start + 1),
        good._replace(start=good.start + 1_024),
        good._replace(start=good.start - LEAF),
        good._replace(start=-1),
        good._replace(start=size),
        good._replace(start=1 << 62),
        good._replace(start=other.start),
        good._replace(chunk=wrong),
        good._replace(chunk=good.chunk[:-1]),
        good._replace(chunk=bytes(good.chunk) + b"\0"),
        good._replace(chunk=b""),
        good._replace(siblings=good.siblings[:-32]),
        good._replace(siblings=good.siblings[:-1]),
        good._replace(siblings=bytes(good.siblings) + bytes(32)),
        good._replace(siblings=b""),
        good._replace(siblings=good.siblings[32:64] + good.siblings[:32] + good.siblings[64:]),
        good._replace(chunk=other.chunk),
        other._replace(siblings=good.siblings),
        first._replace(chunk=b"\0" + bytes(first.chunk)),
        first._replace(start=good.start),
        short._replace(chunk=bytes(short.chunk).ljust(1_024, b"\0")),
    ]
    assert verify_all([good, other, *bad, short])[:2] == [leaf, leaf]
    assert verify_all([*bad, good, short]) == [None] * len(bad) + [leaf, short_leaf]


@pytest.mark.usefixtures("verification")
def test_chaining_values_are_no_bytes() -> None:
    """Whoever kept a leaf's inner values knows all siblings, and 64 bytes that hash to each of them as a parent."""
    data = random.Random(2).randbytes(3 * LEAF)
    good, _ = opened(data, LEAF, LEAF + 6_000)
    beside = inner_siblings([data[LEAF : 2 * LEAF]] * 2, [6_000, 7_000])
    pair = beside[1][:32] + beside[0][:32]  # the two chunks' values, that stand under the first parent
    for chunk in (pair, pair.ljust(1_024, b"\0"), pair * 16, beside[1][:32] * 32, bytes(1_024)):
        for siblings in (good.siblings, good.siblings[32:]):
            assert verify_all([good._replace(chunk=chunk, siblings=siblings)]) == [None]


@pytest.mark.usefixtures("verification")
def test_nodes_and_hashes_of_one_level_cannot_pose_on_another() -> None:
    """A share of one short leaf whose chunk is 64 bytes: nodes, parents and leaves of that length differ by their flags."""
    data = random.Random(3).randbytes(4 * 64)
    tree = Tree.build(data, 64)
    pair = tree.levels[0][:64]
    top = b"".join(tree.proof(0)[1:])
    assert verify_all([Claim(tree.commitment, 256, 64, 0, data[:64], b"".join(tree.proof(0)))]) == [
        leaf_hash(data[:64])
    ]
    assert verify_all([Claim(tree.commitment, 256, 64, 0, pair, top)]) == [None]
    assert verify_all([Claim(tree.commitment, 128, 64, 0, pair, top)]) == [None]
    # a prover that chose the commitment: it says 64 bytes in one leaf, but stands over a node of two
    assert verify_all([Claim(commitment_of(64, 64, tree.levels[1][:32]), 64, 64, 0, pair, b"")]) == [None]


@pytest.mark.usefixtures("verification")
def test_a_proof_for_one_leaf_size_is_none_for_another() -> None:
    """The same bytes and the same chunk under trees of 1, 16 and 64 KiB leaves: each proof holds for its own only."""
    data = random.Random(5).randbytes(140_000)
    claims = [opened(data, leaf_bytes, 0)[0] for leaf_bytes in (1_024, 16_384, LEAF)]
    assert len({bytes(claim.chunk) for claim in claims}) == 1
    for claim in claims:
        for other in claims:
            mixed = other._replace(siblings=claim.siblings, commitment=claim.commitment)
            assert (verify_all([mixed])[0] is not None) == (claim is other)
            assert (verify_all([claim._replace(leaf_bytes=other.leaf_bytes)])[0] is not None) == (claim is other)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 40_000), seed=st.integers(0, 2**20))
def test_no_flipped_bit_passes(size: int, seed: int) -> None:
    rng = random.Random(seed)
    claim, _ = opened(rng.randbytes(size), LEAF, rng.randrange(size))
    changed = bytearray(bytes(claim.chunk) + bytes(claim.siblings))
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    length = len(claim.chunk)
    assert verify_all([claim._replace(chunk=bytes(changed[:length]), siblings=bytes(changed[length:]))]) == [None]


def test_both_verifications_agree_on_many(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rng = random.Random(6)
    claims = []
    for number in range(150):
        size = rng.choice([1, 900, 1_024, 1_025, 5_000, 20_000, LEAF, 150_000])
        claim, _ = opened(rng.randbytes(size), rng.choice([77, 1_024, 16_384, LEAF]), rng.randrange(size))
        if number % 3 == 0:
            claim = claim._replace(siblings=bytes(claim.siblings)[: 32 * rng.randrange(4)] + bytes(32))
        claims.append(claim._replace(chunk=memoryview(bytes(claim.chunk))))
    compiled = verify_all(claims)
    monkeypatch.setitem(sys.modules, KERNEL, None)
    assert verify_all(claims) == compiled
    assert {leaf is None for leaf in compiled} == {True, False}
    assert verify_all([]) == []


def test_siblings_are_the_same_compiled_and_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rng = random.Random(7)
    leaves = [rng.randbytes(rng.choice([1, 1_024, 2_047, 5_000, LEAF])) for _ in range(40)]
    bytes_ = [rng.randrange(len(leaf)) for leaf in leaves]
    assert chunk_opening.load_compiled()
    compiled = inner_siblings(leaves, bytes_)
    monkeypatch.setitem(sys.modules, KERNEL, None)
    assert inner_siblings(leaves, bytes_) == compiled
    assert inner_siblings([], []) == []


def test_few_proofs_do_not_load_the_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, leaf = opened(bytes(5_000), LEAF, 3_000)
    monkeypatch.delitem(sys.modules, KERNEL, raising=False)
    assert chunk_opening.verify(claim) == leaf
    assert KERNEL not in sys.modules


def test_impossible_places_are_refused() -> None:
    for size, leaf_bytes, byte in ((10, LEAF, 10), (10, LEAF, -1), (10, 0, 1), (-1, LEAF, 0), (1 << 62, LEAF, 0)):
        with pytest.raises(UsageError, match="is not in a share"):
            chunk_of(size, leaf_bytes, byte)
