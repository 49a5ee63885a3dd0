"""Providers of the storage lab: honest ones with their troubles, and adversaries. One class per idea.

Everybody answers through the same records; what differs is what they have, when they send it, and what they say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from fieldstone.services.contract import Round
from fieldstone.services.storage import records
from fieldstone.services.storage.challenge import LeafRead
from fieldstone.services.storage.codes.fast_tree import leaf_range
from fieldstone.services.storage.lab_shares import checked
from fieldstone.services.storage.lab_world import Provider, World

HOUR_MS = 3_600_000
KIB = 1_024


@dataclass
class Honest:
    """Holds everything, answers in seconds, reads what it is told to read."""

    delay_ms: int = 4_000

    def has(self, world: World, me: Provider, share: bytes, kib: int) -> bool:
        """Tell whether a KiB of a share is on the disk. A chunk lies in KiB (its first byte + 1) div 1,024."""
        return share in me.shares

    def has_leaf(self, world: World, me: Provider, share: bytes, leaf_index: int) -> bool:
        """Tell whether all of a leaf is on the disk."""
        if share not in me.shares:
            return False
        tree = me.shares[share].tree
        low, high = leaf_range(tree.size_bytes, tree.leaf_bytes, leaf_index)
        return all(self.has(world, me, share, kib) for kib in range(low // KIB, -(-high // KIB)))

    def proof(self, world: World, me: Provider, share: bytes, start: int) -> records.ChunkProof | None:
        """Return the answer to one question, None when it is left out."""
        return me.shares[share].proof(start) if self.has(world, me, share, (start + 1) // KIB) else None

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Answer what can be answered, in order."""
        found = [self.proof(world, me, share, start) for share, start in questions]
        proofs = tuple(one for one in found if one is not None)
        return [(self.delay_ms, records.encode(records.ProofSet(number=asked.number, proofs=proofs)))]

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Serve the leaf."""
        if not self.has_leaf(world, me, share, leaf_index):
            return me.latency_ms, None
        return me.latency_ms + int(world.dice.integers(5, 60)), me.shares[share].leaf(leaf_index)

    def check(
        self, world: World, me: Provider, asked: Round, tasks: Sequence[LeafRead]
    ) -> list[records.RetrievalCheck]:
        """Read and report the truth."""
        found = []
        for share, leaf, provider, *_ in tasks:
            one = world.provider(provider)
            world.reader = me.device
            took_ms, data = one.behaviour.read(world, one, share, leaf)
            found.append(checked(provider, share, leaf, took_ms, data))
        return found

    def vouchers(self, world: World, me: Provider) -> list[bytes]:
        """Redeem what the gateway read: a tenth of the stored bytes a day."""
        return [world.voucher(me, sum(one.tree.size_bytes for one in me.shares.values()) // 10)] if me.shares else []


@dataclass
class Outage(Honest):
    """Honest, but off for some hours of every day."""

    hours: float = 6.0

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Answer nothing while off."""
        return [] if self._is_off(asked.issued_ms) else super().answer(world, me, asked, questions)

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Serve nothing while off."""
        return (30_000, None) if self._is_off(world.now_ms) else super().read(world, me, share, leaf_index)

    def check(
        self, world: World, me: Provider, asked: Round, tasks: Sequence[LeafRead]
    ) -> list[records.RetrievalCheck]:
        """Check nothing while off."""
        return [] if self._is_off(asked.issued_ms) else super().check(world, me, asked, tasks)

    def _is_off(self, moment_ms: int) -> bool:
        return moment_ms % (24 * HOUR_MS) < self.hours * HOUR_MS


@dataclass
class BitRot(Honest):
    """Honest, but one KiB in `one_in` is damaged and not noticed; the damage is sent as it is."""

    one_in: int = 20_000

    def proof(self, world: World, me: Provider, share: bytes, start: int) -> records.ChunkProof | None:
        """Send the damaged chunk with its old siblings."""
        one = super().proof(world, me, share, start)
        if one is None or _dice(me, share, (start + 1) // KIB) % self.one_in:
            return one
        return msgspec.structs.replace(one, chunk=bytes([one.chunk[0] ^ 1]) + one.chunk[1:])


@dataclass
class Drops(Honest):
    """Keeps a part of what it is paid for, and says nothing about the rest. `from_ms`: honest before."""

    share_dropped: float = 0.05
    from_ms: int = 0

    def has(self, world: World, me: Provider, share: bytes, kib: int) -> bool:
        """Hold what a fixed draw by KiB left."""
        kept = _dice(me, share, kib) % 1_000_000 >= self.share_dropped * 1_000_000
        return share in me.shares and (kept or world.now_ms < self.from_ms)


@dataclass
class SilentWhenHit(Drops):
    """Drops, and stays silent in every round that asks about what is gone."""

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Answer only rounds that hit nothing."""
        whole = all(self.has(world, me, share, (start + 1) // KIB) for share, start in questions)
        return super().answer(world, me, asked, questions) if whole else []


@dataclass
class LateWhenHit(SilentWhenHit):
    """Drops, and answers too late what it cannot answer: "slow line"."""

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Send an empty answer after the deadline."""
        found = super().answer(world, me, asked, questions)
        late = records.encode(records.ProofSet(number=asked.number, proofs=()))
        return found or [(int(world.params["answer_within_s"]) * 1_000 + 5_000, late)]


@dataclass
class RootsOnly(Honest):
    """Keeps trees, down to the chaining values inside leaves, and no bytes; sends made-up chunks with true siblings."""

    def proof(self, world: World, me: Provider, share: bytes, start: int) -> records.ChunkProof | None:
        """Invent the chunk."""
        true = me.shares[share].proof(start)
        return msgspec.structs.replace(true, chunk=hashlib.shake_128(share).digest(len(true.chunk)))

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Invent the bytes."""
        return me.latency_ms, hashlib.shake_128(share).digest(len(me.shares[share].leaf(leaf_index)))


@dataclass
class Replays(Honest):
    """Kept the answers of its first day and threw the bytes away."""

    known: dict[tuple[bytes, int], records.ChunkProof] = field(default_factory=dict)
    until_ms: int = 0

    def proof(self, world: World, me: Provider, share: bytes, start: int) -> records.ChunkProof | None:
        """Answer from memory, else with some old answer posed as this one."""
        self.until_ms = self.until_ms or world.now_ms + 12 * HOUR_MS
        if world.now_ms < self.until_ms:
            one = super().proof(world, me, share, start)
            if one is not None:
                self.known[share, start] = one
            return one
        old = self.known.get((share, start))
        if old is None and self.known:
            old = msgspec.structs.replace(next(iter(self.known.values())), share=share, start=start)
        return old


@dataclass
class HotLeaves(Drops):
    """Precomputed: keeps the first leaves of every share, hoping that they are asked for."""

    kept: float = 0.5

    def has(self, world: World, me: Provider, share: bytes, kib: int) -> bool:
        """Hold the first leaves only."""
        one = me.shares.get(share)
        return one is not None and kib * KIB < one.tree.size_bytes * self.kept


@dataclass
class RefusesReads(Honest):
    """Proves everything and serves nobody (hostage data)."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Refuse."""
        return me.latency_ms, None


@dataclass
class ServesCheckers(Honest):
    """Proves everything, serves other providers (who read for committees) and refuses every gateway."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Look at who signed the order."""
        if any(one.device == world.reader for one in world.customers):
            return me.latency_ms, None
        return super().read(world, me, share, leaf_index)


@dataclass
class ServesPublicDraw(Honest):
    """Proves everything and serves only what the round's public seed says that committees read."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Look the leaf up in the public draw."""
        if (me.device, share, leaf_index) not in world.open_tests:
            return me.latency_ms, None
        return super().read(world, me, share, leaf_index)


@dataclass
class SlowReads(Honest):
    """Proves everything and serves after half a minute."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Take 30 s."""
        return 30_000, me.shares[share].leaf(leaf_index)


@dataclass
class CorruptReads(Honest):
    """Proves everything and serves garbage."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Serve another leaf's worth of noise; every reader gets other noise."""
        return me.latency_ms, world.dice.bytes(len(me.shares[share].leaf(leaf_index)))


@dataclass
class Slanders(Honest):
    """Stores honestly; as a checker it denounces everybody outside its ring and vouches for the ring."""

    ring: Callable[[World, str], bool] = lambda world, device: False

    def check(
        self, world: World, me: Provider, asked: Round, tasks: Sequence[LeafRead]
    ) -> list[records.RetrievalCheck]:
        """Say what serves the ring."""
        found = []
        for share, leaf, provider, *_ in tasks:
            friend = self.ring(world, provider)
            data = world.all_shares[share].leaf(leaf) if friend else None
            found.append(checked(provider, share, leaf, 40, data))
        return found


@dataclass
class RefusesWithFriends(Slanders):
    """Serves nobody, and has friends among the checkers who vouch for it."""

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Refuse."""
        return me.latency_ms, None


@dataclass
class Vanishes(Honest):
    """Leaves for good at a moment."""

    from_ms: int = 0

    def answer(
        self, world: World, me: Provider, asked: Round, questions: Sequence[tuple[bytes, int]]
    ) -> list[tuple[int, bytes]]:
        """Answer until it leaves."""
        return [] if world.now_ms >= self.from_ms else super().answer(world, me, asked, questions)

    def read(self, world: World, me: Provider, share: bytes, leaf_index: int) -> tuple[int, bytes | None]:
        """Serve until it leaves."""
        return (30_000, None) if world.now_ms >= self.from_ms else super().read(world, me, share, leaf_index)

    def check(
        self, world: World, me: Provider, asked: Round, tasks: Sequence[LeafRead]
    ) -> list[records.RetrievalCheck]:
        """Check until it leaves."""
        return [] if world.now_ms >= self.from_ms else super().check(world, me, asked, tasks)

    def vouchers(self, world: World, me: Provider) -> list[bytes]:
        """Redeem until it leaves."""
        return [] if world.now_ms >= self.from_ms else super().vouchers(world, me)


@dataclass
class InflatesEgress(Honest):
    """Redeems vouchers that it wrote itself, the newest one twice, and one made out to somebody else."""

    def vouchers(self, world: World, me: Provider) -> list[bytes]:
        """Forge, replay and borrow."""
        true = super().vouchers(world, me)
        forged = records.AccessOrder(
            operation="get",
            gateway=world.gateway.public.device_id,
            provider=me.device,
            share=bytes(16),
            expires_ms=world.now_ms,
            egress_bytes=2**50,
        )
        other = next(one for one in world.providers if one is not me)
        return [*true, *true, records.sign(me.key, forged, records.ACCESS), world.voucher(other, 2**30)]


def _dice(me: Provider, share: bytes, kib: int) -> int:
    """Return a fixed draw of a device about a KiB of a share, uniform in 64 bits."""
    name = me.device.encode() + share + kib.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
