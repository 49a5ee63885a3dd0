"""Which shares a gateway reads in secret, and the chain of its secrets: what gateway and verification both work out.

`secret_reads` says what it is for. Nothing heavy is imported here: gateways draw too.
"""

from __future__ import annotations

from blake3 import blake3

from fieldstone.services.storage.challenge_draw import draw

__all__ = ["Links", "is_drawn", "leaf_drawn", "link_before", "pair_is_drawn"]

LINK_CONTEXT = b"fieldstone/storage/chain-link/v1\0"
PAIR_CONTEXT = b"fieldstone/storage/secret-pair/v1\0"
SHARE_CONTEXT = b"fieldstone/storage/secret-share/v1\0"


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


def is_drawn(secret: bytes, seed: bytes, device: str, share: bytes, held: int) -> bool:
    """Tell whether a share is read, of a provider that is. `held`: the gateway's shares on it."""
    return _word(secret, seed, device, share)[0] % (1 << max(0, held.bit_length() - 1)) == 0


def leaf_drawn(secret: bytes, seed: bytes, device: str, share: bytes, leaves: int) -> int:
    """Return which leaf of a share is read."""
    return _word(secret, seed, device, share)[1] % leaves


def _word(secret: bytes, seed: bytes, device: str, share: bytes) -> tuple[int, int]:
    both = blake3(SHARE_CONTEXT + secret + seed + device.encode() + share).digest(length=16)
    return int.from_bytes(both[:8], "little"), int.from_bytes(both[8:], "little")
