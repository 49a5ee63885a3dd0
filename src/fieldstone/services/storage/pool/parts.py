"""What writing, reading, repair and sweeping have in common: the nodes, the database, the keys, the clock, the threads."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from fieldstone.clock import Clock
from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.database import Database
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.download import Download
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes
from fieldstone.services.storage.pool.placement import Candidate, TooFewNodes, has_room
from fieldstone.services.storage.pool.profile import SEGMENT_BYTES, Profile, automatic
from fieldstone.services.storage.pool.segments import Segment, SegmentGone, Share
from fieldstone.services.storage.pool.stream import Rooms
from fieldstone.services.storage.pool.vouchers import VoucherBook

VETTING_MS = 504 * 3_600_000  # a node is new for 504 hours (reference 2.5)
FAILURES_UNTIL_AVOIDED = 3
AVOIDED_MS = 60_000  # after that it is tried again
_CACHED_SEGMENTS = 4_096
_INLINE = b"fieldstone/pool/inline/v1\0"


@dataclass(slots=True)
class Parts:
    """The parts of one pool. `writer` names this start of this gateway; `writing`: segments that are on their way here."""

    database: Database
    directory: Directory
    nodes: Nodes
    vouchers: VoucherBook
    clock: Clock
    threads: ThreadPoolExecutor
    master_key: bytes
    writer: str
    scores: Callable[[Node], float]
    vetting_ms: int = VETTING_MS
    writing: set[bytes] = field(default_factory=set)
    rooms: Rooms = field(default_factory=Rooms)
    _cache: OrderedDict[bytes, Segment] = field(default_factory=OrderedDict)

    # ---- keys ----

    def wrap(self, key: bytes, segment_id: bytes) -> bytes:
        """Wrap a new segment's key."""
        return cipher.wrap_key(self.master_key, key, segments.key_context(segment_id))

    def opener(self, segment: Segment) -> cipher.SegmentCipher:
        """Return what opens a segment. Raises CheckFailed for another master key."""
        return segments.cipher_of(segment, self.master_key)

    def seal_inline(self, body: bytes, key: bytes, name: bytes) -> bytes:
        """Return a small object sealed under its own `key`, with all that is needed to open it but the master key."""
        wrapped = cipher.wrap_key(self.master_key, key, _INLINE + name)
        return name + wrapped + cipher.SegmentCipher(key, name).seal(body)

    def open_inline(self, sealed: bytes) -> bytes:
        """Return a small object's bytes. Raises CheckFailed when they were changed or belong to another master key."""
        name, wrapped = sealed[:16], sealed[16 : 16 + cipher.WRAPPED_KEY_BYTES]
        key = cipher.unwrap_key(self.master_key, wrapped, _INLINE + name)
        return cipher.SegmentCipher(key, name).open(sealed[16 + cipher.WRAPPED_KEY_BYTES :])

    # ---- nodes ----

    def candidates(self) -> list[Candidate]:
        """Return the nodes that may get shares now, with their scores; who failed three times in a row rests a minute."""
        now_ms = self.clock.now_ms()
        found = []
        for node in self.directory:
            health = self.nodes.health(node.did)
            rested_ms = now_ms - health.last_failure_ms
            if health.failures_in_row >= FAILURES_UNTIL_AVOIDED and 0 <= rested_ms < AVOIDED_MS:
                continue
            vetting = bool(node.joined_ms) and now_ms - node.joined_ms < self.vetting_ms
            found.append(Candidate(node, self.scores(node), vetting))
        return found

    def automatic_profile(self) -> Profile:
        """Return the profile of `Pool.automatic_profile`. Raises TooFewNodes."""
        known = [node for node in self.directory if self.scores(node) > 0]
        if not known:
            raise TooFewNodes(0, 1)
        share_bytes = SEGMENT_BYTES // automatic(len(known)).k
        able = sum(
            self.nodes.health(node.did).offline_since_ms is None and has_room(node, share_bytes) for node in known
        )
        return automatic(max(able, -(-len(known) // 2)))

    # ---- segments ----

    async def segment(self, segment_id: bytes) -> Segment:
        """Return a segment and where its shares are. Raises SegmentGone."""
        found = self._cache.get(segment_id)
        if found is None:
            found = await self.database.read(lambda c: segments.load(c, segment_id))
            if found is None:
                raise SegmentGone(f"segment {segment_id.hex()} is not there any more: the object was deleted")
            self._cache[segment_id] = found
            while len(self._cache) > _CACHED_SEGMENTS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(segment_id)
        return found

    def forget(self, segment_id: bytes) -> None:
        """Look a segment's shares up again at the next read."""
        self._cache.pop(segment_id, None)

    def download(self, segment: Segment) -> Download:
        """Return what reads a segment."""

        async def noted(share: Share, problem: NodeProblem) -> None:
            if problem.kind == "missing":  # it signed for the share and does not have it: that is a loss
                await self.note_fault(segment, share, "lost", "missing", {"said": str(problem)[:300]})

        return Download(self.nodes, self.directory, self.vouchers, segment, noted)

    async def note_fault(self, segment: Segment, share: Share, state: str, kind: str, facts: dict[str, object]) -> None:
        """Note that a held share is `corrupt` or `lost`, with the evidence; it is not read any more.

        Where only k are held it stays so: nobody signs that a share is lost, and who sits on our line could say it of all.
        """
        now_ms = self.clock.now_ms()
        facts = {**facts, "segment": segment.id.hex(), "number": share.number, "root": (share.root or b"").hex()}
        detail = json.dumps(facts, sort_keys=True, separators=(",", ":"))

        def note(connection: Connection) -> None:
            if segments.mark(connection, share.id, state, now_ms, keep=segment.layout.k):
                segments.note_incident(connection, share.device, share.id, kind, detail, now_ms)

        self.forget(segment.id)
        with suppress(Retryable):
            await self.database.write(note)
        self.forget(segment.id)
