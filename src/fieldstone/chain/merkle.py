"""Build the cumulative-balance Merkle tree, node for node as OpenZeppelin's StandardMerkleTree.

Rules (OpenZeppelin `merkle-tree` 1.0, "standard-v1"):

- leaf = keccak(keccak(abi.encode(address, uint256))): two 32-byte words, hashed twice, because a 64-byte value hashed
  once could be passed off as an inner node (second preimage);
- leaf hashes sorted ascending as bytes; an array of 2n − 1 nodes with `nodes[2n − 2 − i] = leaf_i`;
- node i = keccak(min(l, r) ‖ max(l, r)) of its children 2i + 1 and 2i + 2; the root is node 0; for n = 1 it is the leaf.

Pure: no file, clock or randomness. Sorting, pairing and proof gathering are NumPy; only the hashing is a Python loop.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sha3 import keccak_256

from fieldstone.errors import CheckFailed, UsageError

DUMP_FORMAT = "standard-v1"
LEAF_ENCODING = ("address", "uint256")
UINT256_MAX = 2**256 - 1

_CHUNK_ROWS = 16_384  # hash in runs that stay in the cache; lists of a million small objects cost more than hashing


@dataclass(frozen=True)
class Proofs:
    """Proofs of a run of leaves: `siblings` (rows, depth, 32) uint8, of which the first `lengths[row]` count."""

    lengths: NDArray[np.uint8]
    siblings: NDArray[np.uint8]

    def row(self, index: int) -> list[bytes]:
        """Return one proof as a list of 32-byte siblings, leaf to root."""
        return [self.siblings[index, level].tobytes() for level in range(int(self.lengths[index]))]


class Tree:
    """A Merkle tree over `(address, amount)` leaves, kept in the order given.

    Addresses are "0x" and 40 hex digits (any case, no checksum test here), amounts integers below 2²⁵⁶. Like
    OpenZeppelin's, the tree itself accepts the same account twice; `from_balances` and the CSV reader cannot.
    Raises UsageError on no leaves or on a malformed leaf, naming its index.
    """

    def __init__(self, leaves: Sequence[tuple[str, int]]) -> None:
        if len(leaves) == 0:
            raise UsageError("a Merkle tree needs at least one leaf; the list is empty")
        self.addresses = [address for address, _ in leaves]
        self.amounts = [amount for _, amount in leaves]
        count = len(leaves)
        hashes = _leaf_hashes(self.addresses, self.amounts)
        order = _sort_order(hashes)
        self.nodes: NDArray[np.uint8] = np.empty((2 * count - 1, 32), dtype=np.uint8)
        self.nodes[count - 1 :] = hashes[order[::-1]]
        # position of every leaf, in the order given, in `nodes`
        self.tree_index: NDArray[np.int64] = np.empty(count, dtype=np.int64)
        self.tree_index[order] = 2 * count - 2 - np.arange(count)
        _hash_inner(self.nodes, count)

    @classmethod
    def from_balances(cls, balances: Mapping[str, int]) -> Tree:
        """Build from account → cumulative amount in token base units, leaves in ascending account order.

        Raises UsageError when two spellings (letter case) name one account: its two leaves could both be claimed.
        """
        leaves = sorted((address.lower(), amount) for address, amount in balances.items())
        for (first, _), (second, _) in itertools.pairwise(leaves):
            if first == second:
                raise UsageError(f"account {first} appears twice, in different letter case")
        return cls(leaves)

    @property
    def root(self) -> bytes:
        """The 32-byte root."""
        return bytes(self.nodes[0])

    @property
    def root_hex(self) -> str:
        """The root as "0x" and 64 hex digits."""
        return "0x" + self.root.hex()

    @property
    def total(self) -> int:
        """Sum of all leaf amounts, in the unit of the amounts."""
        return sum(self.amounts)

    @property
    def depth(self) -> int:
        """Length of the longest proof; the others are at most one shorter."""
        return len(self.nodes).bit_length() - 1

    def __len__(self) -> int:
        return len(self.addresses)

    def find(self, address: str) -> int:
        """Return the index of the first leaf of `address` (any letter case). Raises UsageError when there is none."""
        wanted = address.lower()
        for index, candidate in enumerate(self.addresses):
            if candidate.lower() == wanted:
                return index
        raise UsageError(f"address {address} is not a leaf of this tree of {len(self)} leaves")

    def proof(self, index: int) -> list[bytes]:
        """Return the proof of the leaf at `index` (order given): 32-byte siblings, leaf to root."""
        node = int(self.tree_index[index])
        siblings = []
        while node > 0:
            siblings.append(self.nodes[((node + 1) ^ 1) - 1].tobytes())
            node = (node - 1) // 2
        return siblings

    def proofs(self, start: int = 0, stop: int | None = None) -> Proofs:
        """Return the proofs of leaves `start` … `stop` − 1 at once; a full set takes rows × depth × 32 bytes."""
        node = self.tree_index[start:stop].copy()
        words = self.nodes.view(np.uint64)
        siblings = np.zeros((len(node), self.depth, 4), dtype=np.uint64)
        lengths = (np.frexp((node + 1).astype(np.float64))[1] - 1).astype(np.uint8)
        for level in range(self.depth):
            below_root = node > 0
            sibling = np.where(below_root, ((node + 1) ^ 1) - 1, 0)
            np.take(words, sibling, axis=0, out=siblings[:, level], mode="clip")
            if not below_root.all():
                siblings[~below_root, level] = 0
            node = np.where(below_root, (node - 1) >> 1, 0)
        return Proofs(lengths, siblings.view(np.uint8))

    def proof_chunks(self, rows: int = 65_536) -> Iterator[Proofs]:
        """Yield the proofs of all leaves in runs of `rows`, so that memory stays bounded (65,536 × 20 × 32 = 42 MB)."""
        for start in range(0, len(self), rows):
            yield self.proofs(start, start + rows)

    def dump(self) -> dict[str, Any]:
        """Return what OpenZeppelin's `tree.dump()` returns; amounts are decimal texts."""
        nodes = self.nodes.tobytes().hex()
        return {
            "format": DUMP_FORMAT,
            "leafEncoding": list(LEAF_ENCODING),
            "tree": ["0x" + nodes[at : at + 64] for at in range(0, len(nodes), 64)],
            "values": [
                {"value": [address, str(amount)], "treeIndex": tree_index}
                for address, amount, tree_index in zip(
                    self.addresses, self.amounts, self.tree_index.tolist(), strict=True
                )
            ],
        }

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Tree:
        """Rebuild from `dump` (ours or OpenZeppelin's), trusting the values only.

        Raises UsageError on another format and CheckFailed when the nodes do not follow from the values.
        """
        if dump.get("format") != DUMP_FORMAT or tuple(dump.get("leafEncoding", ())) != LEAF_ENCODING:
            raise UsageError(f"not a {DUMP_FORMAT} dump of ({', '.join(LEAF_ENCODING)}) leaves")
        try:
            tree = cls([(str(entry["value"][0]), int(entry["value"][1])) for entry in dump["values"]])
            stated = [bytes.fromhex(node.removeprefix("0x")) for node in dump["tree"]]
            stated_index = [int(entry["treeIndex"]) for entry in dump["values"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the dump is damaged: {error!r}") from error
        if b"".join(stated) != tree.nodes.tobytes() or stated_index != tree.tree_index.tolist():
            raise CheckFailed(f"the dump's nodes do not follow from its values; their root is {tree.root_hex}")
        return tree


def leaf_hash(address: str, amount: int) -> bytes:
    """Return the double-hashed leaf of one account. Raises UsageError on a malformed address or amount."""
    return bytes(keccak_256(keccak_256(_encode([address], [amount]).tobytes()).digest()).digest())


def verify(root: bytes, address: str, amount: int, proof: Sequence[bytes]) -> bool:
    """Tell whether `proof` leads from the leaf (address, amount) to `root`. Raises UsageError on a malformed leaf."""
    node = leaf_hash(address, amount)
    for sibling in proof:
        if len(sibling) != 32:
            return False
        node = keccak_256(node + sibling if node < sibling else sibling + node).digest()
    return node == root


def _encode(addresses: Sequence[str], amounts: Sequence[int]) -> NDArray[np.uint8]:
    """ABI-encode the leaves as rows of 64 bytes, in batch: per-row objects would cost more than the hashing."""
    count = len(addresses)
    try:
        if set(map(len, addresses)) != {42}:
            raise ValueError
        texts = np.frombuffer("".join(addresses).encode("ascii"), dtype=np.uint8).reshape(count, 42)
        digits = bytes.fromhex(texts[:, 2:].tobytes().decode("ascii"))
        if not (texts[:, 0] == ord("0")).all() or not (texts[:, 1] == ord("x")).all() or len(digits) != 20 * count:
            raise ValueError
        words = b"".join([amount.to_bytes(32, "big") for amount in amounts])
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise UsageError(_first_fault(addresses, amounts)) from None
    encoded = np.zeros((count, 64), dtype=np.uint8)
    encoded[:, 12:32] = np.frombuffer(digits, dtype=np.uint8).reshape(count, 20)
    encoded[:, 32:] = np.frombuffer(words, dtype=np.uint8).reshape(count, 32)
    return encoded


def _first_fault(addresses: Sequence[Any], amounts: Sequence[Any]) -> str:
    for index, (address, amount) in enumerate(zip(addresses, amounts, strict=True)):
        if not is_address(address):
            return f"leaf {index}: {address!r} is not an address (0x and 40 hex digits)"
        if not isinstance(amount, int):
            return f"leaf {index}: amount {amount!r} is not an integer"
        if not 0 <= amount <= UINT256_MAX:
            return f"leaf {index}: amount {amount} is outside 0 … 2^256 − 1"
    return "the leaves cannot be encoded"


def is_address(text: object) -> bool:
    """Tell whether `text` is "0x" and 40 hex digits; letter case and checksum are not looked at."""
    if not isinstance(text, str) or len(text) != 42 or not text.startswith("0x"):
        return False
    return all(character in "0123456789abcdefABCDEF" for character in text[2:])


def _leaf_hashes(addresses: Sequence[str], amounts: Sequence[int]) -> NDArray[np.uint8]:
    keccak = keccak_256
    hashes = np.empty((len(addresses), 32), dtype=np.uint8)
    for start in range(0, len(addresses), _CHUNK_ROWS):
        try:
            encoded = _encode(addresses[start : start + _CHUNK_ROWS], amounts[start : start + _CHUNK_ROWS])
        except UsageError:
            raise UsageError(_first_fault(addresses, amounts)) from None
        run = [keccak(keccak(row).digest()).digest() for (row,) in struct.iter_unpack("64s", encoded.data)]
        hashes[start : start + _CHUNK_ROWS] = np.frombuffer(b"".join(run), dtype=np.uint8).reshape(-1, 32)
    return hashes


def _sort_order(hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Stable order of 32-byte rows as big-endian numbers; the first 8 bytes nearly always decide."""
    words = hashes.view(">u8").astype(np.uint64)
    order = np.argsort(words[:, 0], kind="stable")
    first = words[order, 0]
    if len(first) > 1 and (first[1:] == first[:-1]).any():
        order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
    return order


def _hash_inner(nodes: NDArray[np.uint8], count: int) -> None:
    """Fill nodes count − 2 … 0, one level at a time from the deepest, whose children are always there already."""
    keccak = keccak_256
    for level in range((count - 1).bit_length() - 1, -1, -1):
        last = min((2 << level) - 2, count - 2)
        for low in range((1 << level) - 1, last + 1, _CHUNK_ROWS):
            high = min(low + _CHUNK_ROWS - 1, last)
            pairs = nodes[2 * low + 1 : 2 * high + 3].reshape(-1, 2, 32).copy()
            swap = _left_is_larger(pairs)
            pairs[swap] = pairs[swap][:, ::-1]
            run = [keccak(pair).digest() for (pair,) in struct.iter_unpack("64s", pairs.data.cast("B"))]
            nodes[low : high + 1] = np.frombuffer(b"".join(run), dtype=np.uint8).reshape(-1, 32)


def _left_is_larger(pairs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    first = pairs.view(">u8")[:, :, 0]
    larger: NDArray[np.bool_] = first[:, 0] > first[:, 1]
    for row in np.flatnonzero(first[:, 0] == first[:, 1]):
        larger[row] = pairs[row, 0].tobytes() > pairs[row, 1].tobytes()
    return larger
