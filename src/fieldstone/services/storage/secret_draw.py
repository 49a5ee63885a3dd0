"""Which shares a gateway reads in secret, and the chain of its secrets: what gateway and verification both work out.

Nothing is drawn evenly over all shares, because customers do not read evenly, and whoever refuses what they read most
would fail few tests. Each time one class of shares is chosen, by age (under 1, 4, 16, 64 days, older) or by size (powers
of four), each class as often as any other; of that class about one share is read, at two leaves, at two moments: the
second read finds a share that was read lately, as customers' reads do.

`secret_reads` says what all this is for. Gateways draw too, so only NumPy is imported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import ArrayLike, NDArray

from fieldstone.services.storage.challenge_draw import draw
from fieldstone.units import DAY_MS

__all__ = ["Links", "is_drawn", "leaves_drawn", "link_before", "pair_is_drawn", "reads_drawn"]

LINK_CONTEXT = b"fieldstone/storage/chain-link/v1\0"
PAIR_CONTEXT = b"fieldstone/storage/secret-pair/v1\0"
CLASS_CONTEXT = b"fieldstone/storage/secret-class/v1\0"
SHARE_CONTEXT = b"fieldstone/storage/secret-share/v1\0"
AGES_MS = np.array([1, 4, 16, 64], dtype=np.int64) * DAY_MS


def link_before(link: bytes) -> bytes:
    """Return the link that a link is the secret of."""
    return blake3(LINK_CONTEXT + link).digest()


class Links:
    """A gateway's own chain, from its last link. `first`: the round of link 1."""

    def __init__(self, last: bytes, first: int, length: int) -> None:
        self.first, self.length = first, length
        self._links = [last]
        for _ in range(length):
            self._links.append(link_before(self._links[-1]))
        self._links.reverse()

    @property
    def tip(self) -> bytes:
        """What is published."""
        return self._links[0]

    def secret(self, number: int) -> bytes | None:
        """Return the secret of a round, None when the chain is not for it."""
        index = number - self.first + 1
        return self._links[index] if 1 <= index <= self.length else None


def pair_is_drawn(secret: bytes, seed: bytes, device: str, every: int) -> bool:
    """Tell whether the gateway reads from a provider in a round."""
    return draw(PAIR_CONTEXT + secret, seed, device, 1, every) == [0]


def reads_drawn(
    secret: bytes,
    seed: bytes,
    device: str,
    issued_ms: int,
    shares: Sequence[bytes],
    sizes: ArrayLike,
    leaf_bytes: ArrayLike,
    since_ms: ArrayLike,
) -> list[tuple[int, int]]:
    """Return (place in `shares`, leaf index) of what a gateway reads from a provider that is drawn.

    `shares`: all that it pays there when the round is asked, with their bytes and since when they are leased (Unix ms).
    """
    if not shares:
        return []
    size, leaf = np.asarray(sizes, dtype=np.int64), np.asarray(leaf_bytes, dtype=np.int64)
    rows = _class_of(secret, seed, device, issued_ms - np.asarray(since_ms, dtype=np.int64), size)
    found = []
    for row in rows.tolist():
        if is_drawn(secret, seed, device, shares[row], len(rows)):
            leaves = -(-int(size[row]) // int(leaf[row]))
            found += [(row, one) for one in leaves_drawn(secret, seed, device, shares[row], leaves)]
    return found


def _class_of(
    secret: bytes, seed: bytes, device: str, ages_ms: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the places of the shares of the class that is drawn."""
    word = draw(CLASS_CONTEXT + secret, seed, device, 1, 2**62)[0]
    by_size, pick = word & 1, word >> 1
    # the exponent of a float is exact for every size below 2^53
    classes = np.frexp(sizes.astype(np.float64))[1] // 2 if by_size else np.digitize(ages_ms, AGES_MS)
    there = np.unique(classes)
    return np.flatnonzero(classes == there[pick % there.size])


def is_drawn(secret: bytes, seed: bytes, device: str, share: bytes, held: int) -> bool:
    """Tell whether a share is read, of the class that is. `held`: the gateway's shares in it."""
    return _words(secret, seed, device, share)[0] % (1 << max(0, held - 1).bit_length()) == 0


def leaves_drawn(secret: bytes, seed: bytes, device: str, share: bytes, leaves: int) -> list[int]:
    """Return which two leaves of a share are read; the only one, when it has one."""
    _, first, second = _words(secret, seed, device, share)
    one = first % leaves
    return [one] if leaves == 1 else [one, (one + 1 + second % (leaves - 1)) % leaves]


def _words(secret: bytes, seed: bytes, device: str, share: bytes) -> tuple[int, int, int]:
    word = blake3(SHARE_CONTEXT + secret + seed + device.encode() + share).digest(length=24)
    first, second, third = (int.from_bytes(word[at : at + 8], "little") for at in (0, 8, 16))
    return first, second, third
