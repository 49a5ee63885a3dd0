"""How an object is cut, coded and spread: the profile of a bucket, and what the pool hands back for written bytes."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from fieldstone.errors import UsageError
from fieldstone.services.storage.codes.fast_tree import LEAF_BYTES

INLINE_BYTES = 4_096  # objects up to this size are kept encrypted in the catalogue's own row
SEGMENT_BYTES = 64 * 2**20
BLOCK_BYTES = 64 * 2**10
WIDEST_AUTOMATIC = 40


@dataclass(frozen=True, slots=True)
class Profile:
    """Any `k` of `n` shares give the bytes back; `segment_bytes` of plain text are coded as one unit.

    A write is acknowledged when all but `spare` of the n shares are held under signed receipts; when nodes fail and
    nobody can replace them, with at least k + `margin`. Raises UsageError when the numbers make no sense.
    """

    name: str
    k: int
    n: int
    block_bytes: int = BLOCK_BYTES
    segment_bytes: int = SEGMENT_BYTES
    leaf_bytes: int = LEAF_BYTES  # of the audit trees that providers build by default

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n <= 255:
            raise UsageError(f"profile {self.name}: k = {self.k} of n = {self.n}; wanted 1 ≤ k ≤ n ≤ 255")
        if self.block_bytes < 1 or self.leaf_bytes < 1 or self.segment_bytes < 1:
            raise UsageError(f"profile {self.name}: block, leaf and segment need at least one byte")

    @property
    def parity(self) -> int:
        """How many shares may be lost."""
        return self.n - self.k

    @property
    def margin(self) -> int:
        """Shares beyond k without which nothing is acknowledged: half of the parity, rounded up."""
        return (self.parity + 1) // 2

    @property
    def least(self) -> int:
        """Fewest receipts that a write may be acknowledged with: k + margin."""
        return self.k + self.margin

    @property
    def spare(self) -> int:
        """Slowest shares that an acknowledgement does not wait for: a tenth of n, at most what the margin leaves."""
        return min(self.n // 10, self.n - self.least)

    @property
    def expansion(self) -> float:
        """Stored bytes per byte."""
        return self.n / self.k

    @property
    def operator_cap(self) -> int:
        """Most shares of a segment with one operator, network prefix or hardware maker (reference 2.1)."""
        return max(1, self.parity // 4)


PROFILES = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("20/40", 20, 40),
            Profile("4/6", 4, 6),
            Profile("16/20", 16, 20),
            Profile("10/30", 10, 30),
            Profile("29/80", 29, 80),
        )
    }
)


def profile_named(name: str) -> Profile:
    """Return a profile by its name, `k/n` for others than the listed. Raises UsageError."""
    if name in PROFILES:
        return PROFILES[name]
    k, slash, n = name.partition("/")
    if not slash or not k.isdecimal() or not n.isdecimal():
        raise UsageError(f"no profile {name!r}; write k/n or one of {', '.join(PROFILES)}, or `auto`")
    return Profile(name, int(k), int(n))


def automatic(nodes: int) -> Profile:
    """Return the profile for a network of so many usable nodes: half of the shares may be lost, 40 shares at most.

    20/40 from forty nodes on; 6/12 with twelve. Raises UsageError when there is no node.
    """
    if nodes < 1:
        raise UsageError("no storage node is known: add providers to the network or to the gateway's node file")
    n = min(WIDEST_AUTOMATIC, nodes)
    return Profile(f"{max(1, n // 2)}/{n}", max(1, n // 2), n)


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """One coded segment: its 16-byte id and how many plain bytes it holds."""

    id: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Where written bytes are: segments in order, or `inline` (encrypted) for objects up to INLINE_BYTES."""

    size_bytes: int
    segments: tuple[SegmentRef, ...] = ()
    inline: bytes | None = None
