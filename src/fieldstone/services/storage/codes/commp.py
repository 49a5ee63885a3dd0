"""CommP, Filecoin's commitment to a piece: fr32, then a binary tree of SHA-254 over 32-byte leaves; and its proofs.

The payload is padded with zeros to 127 · 2^j bytes (the smallest j ≥ 0 that fits) and fr32-padded to 2^(j+7) bytes, which
are 2^h leaves with h = j + 2. A node is SHA-256(left ‖ right) with the two top bits of byte 31 cleared; parts of the tree
that hold no data use the roots of all-zero trees. Source: FRC-0069, go-fil-commp-hashhash, FilOzone/pdp `Proofs.sol`.

Memory is flat: 32 bytes per group of 127 KiB payload. Those group roots (`Commitment`) are also what a provider keeps, so
that a proof re-reads one group: 0.025 % extra disk.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import EnvironmentProblem, UsageError
from fieldstone.services.storage.codes.buffer import Buffer
from fieldstone.services.storage.codes.piece_cid import MAX_HEIGHT, PieceCid, height_of, payload_capacity

LEAF_BYTES = 32
GROUP_HEIGHT = 12
GROUP_PAYLOAD_BYTES = 127 << (GROUP_HEIGHT - 2)
_GROUP_BYTES = LEAF_BYTES << GROUP_HEIGHT


def node(left: bytes, right: bytes) -> bytes:
    """Return SHA-254 of two nodes."""
    digest = bytearray(hashlib.sha256(left + right).digest())
    digest[31] &= 0x3F
    return bytes(digest)


@functools.cache
def zero_root(height: int) -> bytes:
    """Return the root of a tree of 2^height zero leaves."""
    return bytes(LEAF_BYTES) if height == 0 else node(zero_root(height - 1), zero_root(height - 1))


class LeafProof(NamedTuple):
    """A leaf and its siblings from the bottom up: exactly `height` of them."""

    leaf: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Commitment:
    """CommP of a payload of `payload_bytes`. `groups`: roots of the groups of 4,096 leaves that hold payload, in order.

    A payload of one group or less has no groups: its whole tree is rebuilt for a proof.
    """

    payload_bytes: int
    root: bytes
    groups: bytes

    @property
    def height(self) -> int:
        """Height of the tree; it has 2^height leaves."""
        return height_of(self.payload_bytes)

    @property
    def cid(self) -> PieceCid:
        """The piece CID: `str()` gives version 2, `.v1` the old form."""
        return PieceCid.of_payload(self.root, self.payload_bytes)

    def group_range(self, leaf_index: int) -> tuple[int, int]:
        """Return the payload bytes (half open) that a proof of leaf `leaf_index` re-reads; empty where padding is proved.

        Raises UsageError for an index outside the tree.
        """
        if not 0 <= leaf_index < 1 << self.height:
            raise UsageError(f"leaf {leaf_index} is not in a tree of height {self.height}")
        start = (leaf_index >> GROUP_HEIGHT) * GROUP_PAYLOAD_BYTES
        return min(start, self.payload_bytes), min(start + GROUP_PAYLOAD_BYTES, self.payload_bytes)

    def proof(self, leaf_index: int, group: Buffer) -> LeafProof | None:
        """Return the proof of a leaf given the bytes of its `group_range`; None when they are not what was committed to.

        Raises UsageError for an index outside the tree or a group of another length.
        """
        start, end = self.group_range(leaf_index)
        payload = bytes(group)
        if len(payload) != end - start:
            raise UsageError(f"leaf {leaf_index} needs bytes {start} … {end}, {len(payload)} bytes were given")
        low = min(self.height, GROUP_HEIGHT)
        place = leaf_index >> low
        upper = _levels_above(self.groups or self.root, low, self.height)
        if place >= len(upper[0]) // LEAF_BYTES:
            leaves = bytes(LEAF_BYTES << low)
        else:
            leaves = _padded(payload, low)
        lower = _levels_above(leaves, 0, low)
        expected = upper[0][place * LEAF_BYTES : (place + 1) * LEAF_BYTES] or zero_root(low)
        if lower[-1] != expected:
            return None
        inside = leaf_index & ((1 << low) - 1)
        path = (*_path(lower, inside, 0), *_path(upper, place, low))
        return LeafProof(leaves[inside * LEAF_BYTES : (inside + 1) * LEAF_BYTES], path)


class Hasher:
    """Compute CommP as bytes arrive. Not thread-safe. Raises EnvironmentProblem where numba is not installed."""

    def __init__(self) -> None:
        self._kernels = _kernels()
        self._size_bytes = 0
        self._groups = bytearray()
        self._rest = bytearray(GROUP_PAYLOAD_BYTES)
        self._rest_bytes = 0
        self._scratch = np.empty(_GROUP_BYTES, np.uint8)

    def update(self, data: Buffer) -> None:
        """Take the next payload bytes."""
        view = memoryview(data).cast("B")
        self._size_bytes += view.nbytes
        at = 0
        if self._rest_bytes:
            at = min(GROUP_PAYLOAD_BYTES - self._rest_bytes, view.nbytes)
            self._take_rest(view[:at])
        whole = (view.nbytes - at) // GROUP_PAYLOAD_BYTES
        if whole:
            address = _address(view) + at
            for i in range(whole):
                self._groups += self._root_at(address + i * GROUP_PAYLOAD_BYTES, GROUP_HEIGHT)
            at += whole * GROUP_PAYLOAD_BYTES
        if at < view.nbytes:
            self._take_rest(view[at:])

    def finish(self) -> Commitment:
        """Return the commitment to everything so far; more may follow. Raises UsageError beyond 2^50 leaves."""
        height = height_of(self._size_bytes)
        if height <= GROUP_HEIGHT:
            root = bytes(self._groups) or self._padded_rest(height)
            return Commitment(self._size_bytes, root, b"")
        groups = bytes(self._groups)
        if self._rest_bytes:
            groups += self._padded_rest(GROUP_HEIGHT)
        return Commitment(self._size_bytes, _levels_above(groups, GROUP_HEIGHT, height)[-1], groups)

    def _take_rest(self, part: memoryview) -> None:
        self._rest[self._rest_bytes : self._rest_bytes + part.nbytes] = part
        self._rest_bytes += part.nbytes
        if self._rest_bytes == GROUP_PAYLOAD_BYTES:
            self._groups += self._root_at(_address(memoryview(self._rest)), GROUP_HEIGHT)
            self._rest_bytes = 0

    def _padded_rest(self, height: int) -> bytes:
        payload = self._rest[: self._rest_bytes].ljust(payload_capacity(height), b"\0")
        return self._root_at(_address(memoryview(payload)), height)

    def _root_at(self, address: int, height: int) -> bytes:
        self._kernels.pad(address, self._scratch.ctypes.data, 1 << (height - 2))
        return _root_in_place(self._kernels, self._scratch, height)


def commit(payload: Buffer | Iterable[Buffer]) -> Commitment:
    """Return the CommP of a payload, given whole or in pieces. Raises EnvironmentProblem, UsageError as `Hasher`."""
    hasher = Hasher()
    for part in [payload] if isinstance(payload, bytes | bytearray | memoryview) else payload:
        hasher.update(part)
    return hasher.finish()


def verify(root: bytes, height: int, leaf_index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether `leaf` is leaf `leaf_index` of the tree of `height` under `root`, as a PDP contract judges it.

    Only bottom leaves pass: the path has exactly `height` siblings of 32 bytes each.
    """
    if not 0 <= height <= MAX_HEIGHT or not 0 <= leaf_index < 1 << height:
        return False
    if len(leaf) != LEAF_BYTES or len(path) != height or any(len(sibling) != LEAF_BYTES for sibling in path):
        return False
    found = bytes(leaf)
    sha256 = hashlib.sha256
    for sibling in path:
        digest = bytearray(sha256(sibling + found if leaf_index & 1 else found + sibling).digest())
        digest[31] &= 0x3F
        found = bytes(digest)
        leaf_index >>= 1
    return found == root


class Claim(NamedTuple):
    """One proof to be verified: see `verify`."""

    root: bytes
    height: int
    leaf_index: int
    leaf: bytes
    path: Sequence[bytes]


def verify_all(claims: Sequence[Claim]) -> list[bool]:
    """Return `verify` of every claim, compiled: several proofs are hashed at a time. Raises EnvironmentProblem."""
    kernels = _kernels()
    verdicts = [False] * len(claims)
    by_height: dict[int, list[int]] = {}
    for i, claim in enumerate(claims):
        sound = 0 <= claim.height <= MAX_HEIGHT and 0 <= claim.leaf_index < 1 << claim.height
        sound = sound and len(claim.leaf) == LEAF_BYTES and len(claim.path) == claim.height
        if sound and all(len(sibling) == LEAF_BYTES for sibling in claim.path):
            by_height.setdefault(claim.height, []).append(i)
    for height, members in by_height.items():
        for start in range(0, len(members), 256):
            batch = members[start : start + 256]
            for i, top in zip(batch, _tops(kernels, [claims[i] for i in batch], height), strict=True):
                verdicts[i] = top == claims[i].root
    return verdicts


def challenge_index(seed: bytes, set_id: int, number: int, leaf_count: int) -> int:
    """Return the leaf that PDP challenge `number` of data set `set_id` asks for, of `leaf_count` frozen leaves.

    uint256(keccak256(seed ‖ set id ‖ number)) mod leafCount, big-endian, 32 + 32 + 8 bytes. Raises UsageError.
    """
    from sha3 import keccak_256

    if len(seed) != 32 or leaf_count < 1:
        raise UsageError(
            f"a challenge needs a seed of 32 bytes and at least one leaf, not {len(seed)} and {leaf_count}"
        )
    digest = keccak_256(seed + set_id.to_bytes(32, "big") + number.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") % leaf_count


def locate(data_leaves: Sequence[int], index: int) -> tuple[int, int]:
    """Return (piece, leaf inside it) of leaf `index` of a data set: leaves are numbered through its pieces in order.

    `data_leaves`: `PieceCid.data_leaves` of every piece as frozen for the period. Raises UsageError outside the set.
    """
    ends = list(itertools.accumulate(data_leaves))
    if not ends or not 0 <= index < ends[-1]:
        raise UsageError(f"leaf {index} is not in a data set of {ends[-1] if ends else 0} leaves")
    piece = bisect.bisect_right(ends, index)
    return piece, index - (ends[piece] - data_leaves[piece])


class _Kernels(Protocol):
    def pad(self, source: int, target: int, blocks: int) -> None: ...

    def nodes(self, source: int, target: int, count: int) -> None: ...


@functools.cache
def _kernels() -> _Kernels:
    try:
        from fieldstone.services.storage.codes import fr32_kernel, sha254_kernel
    except ImportError:
        raise EnvironmentProblem(
            "piece commitments are computed by compiled code, which needs numba: pip install 'fieldstone[storage]'"
        ) from None

    class Compiled:
        pad = staticmethod(fr32_kernel.pad)
        nodes = staticmethod(sha254_kernel.kernel())

    return Compiled()


def _root_in_place(kernels: _Kernels, scratch: NDArray[np.uint8], height: int) -> bytes:
    address = scratch.ctypes.data
    for level in range(height - 1, -1, -1):
        kernels.nodes(address, address, 1 << level)
    return scratch[:LEAF_BYTES].tobytes()


def _padded(payload: bytes, height: int) -> bytes:
    kernels = _kernels()
    padded = np.empty(LEAF_BYTES << height, np.uint8)
    whole = payload.ljust(payload_capacity(height), b"\0")
    kernels.pad(_address(memoryview(whole)), padded.ctypes.data, 1 << (height - 2))
    return padded.tobytes()


def _levels_above(nodes: bytes, low: int, high: int) -> list[bytes]:
    """Return the levels low … high over `nodes`, without the parts that stand over nothing but zeros."""
    kernels = _kernels()
    levels = [nodes]
    for height in range(low, high):
        below = levels[-1]
        if len(below) % 64:
            below += zero_root(height)
        count = len(below) // 64
        room = np.zeros(-(-count // 8) * 8 * 64, np.uint8)
        room[: len(below)] = np.frombuffer(below, np.uint8)
        kernels.nodes(room.ctypes.data, room.ctypes.data, count)
        levels.append(room[: 32 * count].tobytes())
    return levels


def _path(levels: Sequence[bytes], index: int, low: int) -> list[bytes]:
    path = []
    for height, level in enumerate(levels[:-1], start=low):
        at = (index ^ 1) * LEAF_BYTES
        path.append(level[at : at + LEAF_BYTES] or zero_root(height))
        index >>= 1
    return path


def _tops(kernels: _Kernels, claims: Sequence[Claim], height: int) -> list[bytes]:
    count = len(claims)
    siblings = np.frombuffer(b"".join([b"".join(claim.path) for claim in claims]), np.uint8)
    siblings = siblings.reshape(count, height, LEAF_BYTES)
    nodes = np.frombuffer(b"".join([claim.leaf for claim in claims]), np.uint8).reshape(count, LEAF_BYTES).copy()
    indices = np.array([claim.leaf_index for claim in claims], np.int64)
    pairs = np.zeros((-(-count // 8) * 8, 2, LEAF_BYTES), np.uint8)
    rows = np.arange(count)
    for level in range(height):
        side = indices >> level & 1
        pairs[rows, side] = nodes
        pairs[rows, 1 - side] = siblings[:, level]
        kernels.nodes(pairs.ctypes.data, pairs.ctypes.data, count)
        nodes = pairs.reshape(-1)[: count * LEAF_BYTES].reshape(count, LEAF_BYTES).copy()
    return [row.tobytes() for row in nodes]


def _address(view: memoryview) -> int:
    if not view.nbytes:
        return 0
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])
