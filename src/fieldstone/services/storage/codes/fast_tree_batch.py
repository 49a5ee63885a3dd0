"""Many audit proofs at once: the same verdicts as `fast_tree.verify`, with the nodes of a level hashed together.

Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fieldstone.services.storage.codes.blake3_kernel import LANES, hashes
from fieldstone.services.storage.codes.fast_tree import HASH_BYTES, Claim, commitment_of, leaf_hash, verify

# few enough that leaves, pairs and paths stay in the cache
_BATCH = 512
_ONLY_HASHES = {HASH_BYTES}


def verify_all(claims: Sequence[Claim]) -> list[bool]:
    """Return `fast_tree.verify` of every claim."""
    verdicts: list[bool] = []
    for start in range(0, len(claims), _BATCH):
        verdicts += _verify_batch(claims[start : start + _BATCH])
    return verdicts


def _verify_batch(claims: Sequence[Claim]) -> list[bool]:
    verdicts = [False] * len(claims)
    members = []
    for i, claim in enumerate(claims):
        if not 0 <= claim.size_bytes < 1 << 62:
            # beyond the machine's integers; nobody stores such shares, but the verdict must be the same
            verdicts[i] = verify(*claim)
        elif _has_shape(claim):
            members.append(i)
    if not members:
        return verdicts
    index = np.array([claims[i].leaf_index for i in members], np.int64)
    width = np.array([-(-claims[i].size_bytes // claims[i].leaf_bytes) or 1 for i in members], np.int64)
    given = np.array([len(claims[i].path) for i in members], np.int64)
    siblings = np.frombuffer(b"".join([b"".join(claims[i].path) for i in members]) or bytes(32), np.uint8)
    siblings = siblings.reshape(-1, HASH_BYTES)
    first = np.cumsum(given) - given
    used = np.zeros_like(given)
    nodes = (
        np.frombuffer(b"".join([leaf_hash(claims[i].leaf) for i in members]), np.uint8).reshape(-1, HASH_BYTES).copy()
    )
    pairs = np.zeros((-(-len(members) // LANES) * LANES, 2, HASH_BYTES), np.uint8)
    while (width > 1).any():
        joined = (width > 1) & ((index & 1 == 1) | (index + 1 < width))
        # a path that is too short drops out: it is counted as used beyond what was given
        rows = np.flatnonzero(joined & (used < given))
        if len(rows):
            side = index[rows] & 1
            places = np.arange(len(rows))
            pairs[places, side] = nodes[rows]
            pairs[places, 1 - side] = siblings[first[rows] + used[rows]]
            hashes(pairs.ctypes.data, pairs.ctypes.data, len(rows), 1)
            nodes[rows] = pairs.reshape(-1)[: len(rows) * HASH_BYTES].reshape(-1, HASH_BYTES)
        used += joined
        index, width = index >> 1, (width + 1) >> 1
    for i, node, exact in zip(members, nodes, (used == given).tolist(), strict=True):
        claim = claims[i]
        verdicts[i] = exact and commitment_of(claim.size_bytes, claim.leaf_bytes, node.tobytes()) == claim.commitment
    return verdicts


def _has_shape(claim: Claim) -> bool:
    size_bytes, leaf_bytes, index = claim.size_bytes, claim.leaf_bytes, claim.leaf_index
    if not 0 < leaf_bytes < 1 << 32:
        return False
    width = -(-size_bytes // leaf_bytes) or 1
    if not 0 <= index < width or set(map(len, claim.path)) - _ONLY_HASHES:
        return False
    return len(claim.leaf) == (leaf_bytes if index < width - 1 else size_bytes - index * leaf_bytes)
