"""CommP: public vectors, a slow second opinion, proofs, and what a cheat could send."""

from __future__ import annotations

import random
import sys
from itertools import pairwise
from typing import Any

import pytest
from Crypto.Hash import keccak
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.codes import commp, fr32, piece_cid
from fieldstone.services.storage.codes.commp import GROUP_PAYLOAD_BYTES, Claim, Hasher, commit, verify, verify_all
from tests.services.storage.codes.payloads import payload, vectors

PIECES = vectors("storage_commp.json")


def slow_root(data: bytes) -> bytes:
    padded = fr32.pad(data.ljust(piece_cid.payload_capacity(piece_cid.height_of(len(data))), b"\0"))
    level = [padded[i : i + 32] for i in range(0, len(padded), 32)]
    while len(level) > 1:
        level = [commp.node(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


@pytest.mark.parametrize("piece", PIECES["pieces"], ids=lambda piece: str(piece["runs"]))
def test_published_pieces(piece: dict[str, Any]) -> None:
    cid = commit(b"".join(bytes([byte]) * count for byte, count in piece["runs"])).cid
    found = {"cid": str(cid), "cid_v1": cid.v1, "padding": cid.padding, "height": cid.height, "root": cid.root.hex()}
    wanted = {name: value for name, value in piece.items() if name != "runs"}
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize("piece", PIECES["zero_pieces"], ids=lambda piece: str(piece["height"]))
def test_published_pieces_of_zeros(piece: dict[str, Any]) -> None:
    cid = piece_cid.PieceCid(commp.zero_root(piece["height"]), piece["height"], 0)
    assert (str(cid), cid.v1) == (piece["cid"], piece["cid_v1"])


@pytest.mark.parametrize("piece", PIECES["random"], ids=lambda piece: str(piece["size"]))
def test_pieces_of_another_implementation(piece: dict[str, Any]) -> None:
    found = commit(payload(piece["size"]))
    assert (str(found.cid), found.cid.v1) == (piece["cid"], piece["cid_v1"])
    assert (found.height, found.cid.padding, found.root.hex()) == (piece["height"], piece["padding"], piece["root"])


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 5000), seed=st.integers(0, 99))
def test_the_root_is_that_of_the_plain_tree(size: int, seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    assert commit(data).root == slow_root(data)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * GROUP_PAYLOAD_BYTES), max_size=6), size=st.integers(0, 3 * GROUP_PAYLOAD_BYTES))
@example(cuts=[GROUP_PAYLOAD_BYTES], size=2 * GROUP_PAYLOAD_BYTES)
@example(cuts=[1], size=GROUP_PAYLOAD_BYTES)
def test_pieces_of_any_length_hash_like_the_whole(cuts: list[int], size: int) -> None:
    data = random.Random(size).randbytes(size)
    borders = [0, *sorted(min(cut, size) for cut in cuts), size]
    parts = [memoryview(data)[start:end] for start, end in pairwise(borders)]
    assert commit(parts) == commit(data)


def test_finishing_does_not_disturb_what_follows() -> None:
    data = random.Random(5).randbytes(2 * GROUP_PAYLOAD_BYTES + 77)
    hasher = Hasher()
    for start in range(0, len(data), 50_000):
        hasher.update(data[start : start + 50_000])
        assert hasher.finish() == commit(data[: start + 50_000])


SIZES = [1, 127, 128, 5000, GROUP_PAYLOAD_BYTES, GROUP_PAYLOAD_BYTES + 1, 5 * GROUP_PAYLOAD_BYTES + 300]


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_from_one_group(size: int) -> None:
    data = random.Random(size).randbytes(size)
    found = commit(data)
    for index in {0, 1, (1 << found.height) - 1, *random.Random(0).choices(range(1 << found.height), k=8)}:
        start, end = found.group_range(index)
        assert end - start <= GROUP_PAYLOAD_BYTES
        proof = found.proof(index, data[start:end])
        assert proof is not None
        assert len(proof.path) == found.height
        assert verify(found.root, found.height, index, *proof)
        assert verify_all([Claim(found.root, found.height, index, *proof)]) == [True]


def test_rotten_bytes_are_noticed_before_a_wrong_proof_is_sent() -> None:
    data = bytearray(random.Random(1).randbytes(3 * GROUP_PAYLOAD_BYTES))
    found = commit(data)
    start, end = found.group_range(5000)
    data[start + 7] ^= 1
    assert found.proof(5000, data[start:end]) is None
    small = commit(b"abc")
    assert small.proof(0, b"abd") is None


def test_forged_proofs_are_refused_by_both_verifiers() -> None:
    data = random.Random(2).randbytes(10_000)
    found = commit(data)
    leaf, path = found.proof(77, data)  # type: ignore[misc]
    height, root = found.height, found.root
    good = Claim(root, height, 77, leaf, path)
    flipped = bytes([leaf[0] ^ 1]) + leaf[1:]
    node = commp.node(leaf, path[0]) if 77 % 2 == 0 else commp.node(path[0], leaf)
    forged = [
        good._replace(root=bytes(32)),
        good._replace(leaf=flipped),
        good._replace(leaf=leaf[:31]),
        good._replace(leaf_index=76),
        good._replace(leaf_index=77 + (1 << height)),
        good._replace(leaf_index=-1),
        good._replace(path=path[:-1]),
        good._replace(path=(*path, bytes(32))),
        good._replace(path=(*path[:-1], path[-1][:31])),
        good._replace(height=height - 1),
        good._replace(height=51),
        # an inner node with the rest of its path: right hashes, but not a bottom leaf
        good._replace(leaf=node, leaf_index=77 >> 1, path=path[1:]),
    ]
    assert [verify(*claim) for claim in [good, *forged]] == [True] + [False] * len(forged)
    assert verify_all([good, *forged, good]) == [True, *[False] * len(forged), True]
    # shown with the shorter height it hashes to the root: the height must come from the commitment, never from the prover
    assert verify(root, height - 1, 77 >> 1, node, path[1:])


def test_proofs_of_many_heights_are_verified_together() -> None:
    claims, wanted = [], []
    for number in range(300):
        data = random.Random(number).randbytes(number * 7 + 1)
        found = commit(data)
        index = number % (1 << found.height)
        leaf, path = found.proof(index, data)  # type: ignore[misc]
        good = number % 3 > 0
        claims.append(Claim(found.root, found.height, index, leaf if good else b"\x01" * 32, path))
        wanted.append(good)
    assert verify_all(claims) == wanted == [verify(*claim) for claim in claims]


def test_challenges_follow_the_contract() -> None:
    """keccak256(seed ‖ set ‖ number) big-endian, packed; computed here with another keccak."""
    seed = bytes(range(32))
    for set_id, number, leaves in ((0, 0, 1), (7, 3, 1000), (2**200, 2**64 - 1, 2**50)):
        packed = seed + set_id.to_bytes(32, "big") + number.to_bytes(8, "big")
        digest = keccak.new(digest_bits=256, data=packed).digest()
        assert commp.challenge_index(seed, set_id, number, leaves) == int.from_bytes(digest, "big") % leaves


def test_leaves_are_numbered_through_all_pieces() -> None:
    counts = [3, 1, 4]
    wanted = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert [commp.locate(counts, index) for index in range(8)] == wanted
    for bad in (-1, 8):
        with pytest.raises(UsageError, match="8 leaves"):
            commp.locate(counts, bad)
    with pytest.raises(UsageError):
        commp.locate([], 0)


def test_impossible_requests_are_refused() -> None:
    found = commit(b"abc")
    with pytest.raises(UsageError, match="leaf 4"):
        found.proof(4, b"abc")
    with pytest.raises(UsageError, match="were given"):
        found.proof(0, b"ab")
    with pytest.raises(UsageError):
        commp.challenge_index(bytes(31), 0, 0, 5)
    with pytest.raises(UsageError):
        commp.challenge_index(bytes(32), 0, 0, 0)


def test_without_numba_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    commp._kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "fieldstone.services.storage.codes.fr32_kernel", None)
    monkeypatch.delattr("fieldstone.services.storage.codes.fr32_kernel")
    with pytest.raises(EnvironmentProblem, match="pip install"):
        Hasher()
