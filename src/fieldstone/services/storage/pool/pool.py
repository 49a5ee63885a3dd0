"""The pool: bytes in, shares on nodes; shares on nodes, bytes out. What the S3 server calls.

    write   encrypt ─ code ─ place ─ upload ─ receipts ─▶ Stored, its segments pending in the database
    adopt   inside the catalogue's transaction: pending → live      drop: one use less
    read    ask the fewest shares, check, decrypt; a wrong byte never comes out

What a crash leaves pending is swept (`sweep`); what nodes lose is repaired (`repair`); leases are reported (`lease`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing, suppress

from sqlalchemy import Connection, Engine

from fieldstone.clock import Clock, SystemClock
from fieldstone.errors import Retryable, UsageError
from fieldstone.identity.keys import Signer
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.database import Database, ThreadDatabase
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.nodes import Nodes
from fieldstone.services.storage.pool.parts import VETTING_MS, Parts
from fieldstone.services.storage.pool.profile import INLINE_BYTES, Profile, SegmentRef, Stored
from fieldstone.services.storage.pool.readers import Readers
from fieldstone.services.storage.pool.reading import read_segment
from fieldstone.services.storage.pool.source import Source
from fieldstone.services.storage.pool.tables import create_tables
from fieldstone.services.storage.pool.vouchers import VoucherBook
from fieldstone.services.storage.pool.writing import Budget, SegmentWriter

MEMORY_BYTES = 2**30  # of segments being written, all clients together
_AT_ONCE = 2  # segments of one object that are on their way together


class Pool:
    """One gateway's pool. Use it from one event loop; `adopt` and `drop` from any thread."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        key: Signer,
        master_key: bytes,
        *,
        database: Database | None = None,
        clock: Clock | None = None,
        tls: ssl.SSLContext | None = None,
        threads: int = 2,
        memory_bytes: int = MEMORY_BYTES,
        scores: Callable[[Node], float] | None = None,
        vetting_ms: int = VETTING_MS,
    ) -> None:
        """`key`: the gateway's device key. `master_key`: 32 bytes that wrap the segments' keys; lost, all is lost.

        `database`: how to run transactions (default: own threads); `scores`: 0 … 1 by which placement weighs nodes (default: the network's).
        Raises UsageError for a master key of another length, EnvironmentProblem for tables of a newer version.
        """
        if len(master_key) != cipher.KEY_BYTES:
            raise UsageError(f"the master key has {len(master_key)} bytes, it needs {cipher.KEY_BYTES}")
        create_tables(engine)
        self._own_database = ThreadDatabase(engine) if database is None else None
        shared: Database = self._own_database if database is None else database  # type: ignore[assignment]
        self.clock = clock or SystemClock()
        self.directory = directory
        self.parts = Parts(
            database=shared,
            directory=directory,
            nodes=Nodes(key, self.clock, tls),
            vouchers=VoucherBook(shared),
            clock=self.clock,
            threads=ThreadPoolExecutor(threads, thread_name_prefix="pool-code"),
            master_key=master_key,
            writer=f"{key.public.device_id}/{secrets.token_hex(8)}",
            scores=scores or (lambda node: node.score),
            vetting_ms=vetting_ms,
        )
        self._readers = Readers(shared, self.clock)
        self._memory = Budget(memory_bytes)
        self._tails: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Finish what runs in the background, give back unused vouchers, close connections."""
        if self._tails:
            await asyncio.gather(*self._tails, return_exceptions=True)
        with suppress(Retryable):
            await self.parts.vouchers.close()
        self.parts.nodes.close()
        self.parts.threads.shutdown()
        if self._own_database is not None:
            self._own_database.close()

    def automatic_profile(self) -> Profile:
        """Return the profile for as many nodes as can take shares now. Raises TooFewNodes when none is known.

        Nodes come, go and fill up while a gateway runs, so every write chooses anew. It is never for fewer than half of
        the nodes that are in good standing: when more are out of reach, it is rather our line than their disks.
        """
        return self.parts.automatic_profile()

    # ---- in the catalogue's transaction ----

    def adopt(self, connection: Connection, stored: Stored) -> None:
        """Count a use of each segment: it is live from the commit on. Raises SegmentGone (Retryable)."""
        segments.adopt(connection, stored.segments)

    def drop(self, connection: Connection, stored: Stored) -> None:
        """Count a use less; segments without any are deleted later. Raises SegmentGone when the counts are off."""
        segments.drop(connection, stored.segments, self.clock.now_ms())

    # ---- bytes ----

    async def write(
        self, source: AsyncIterator[bytes | memoryview], *, profile: Profile | None, size_hint: int | None = None
    ) -> Stored:
        """Store everything that `source` gives; return when enough signed receipts are durable in the database.

        `profile`: None takes the automatic one, as of now.
        `size_hint`: the exact length, if known; sending then begins before the source has ended. Segments that nobody
        adopts are swept after a while. Raises UsageError when the source has another length than announced, Retryable
        (NotStored, TooFewNodes) when the network cannot take it now.
        """
        plain = Source(source)
        if size_hint is None or size_hint <= INLINE_BYTES:
            head = await plain.take(INLINE_BYTES + 1)
            if len(head) <= INLINE_BYTES and size_hint in (None, len(head)):
                drawn = os.urandom(16 + cipher.KEY_BYTES)  # once: a system call each
                return Stored(len(head), (), self.parts.seal_inline(bytes(head), drawn[16:], drawn[:16]))
            if size_hint is not None:
                raise UsageError(f"the source gave {len(head)} bytes or more, {size_hint} were announced")
            plain.give_back(head)
        if profile is None:
            profile = self.automatic_profile()
        writers: list[SegmentWriter] = []
        running: list[asyncio.Task[None]] = []
        try:
            while await _goes_on(plain, size_hint):
                if len(running) == _AT_ONCE:
                    await running.pop(0)
                size, part = await _next_part(plain, profile, size_hint)
                writers.append(SegmentWriter(self.parts, self._memory, self._tails, profile, size))
                running.append(await writers[-1].take(part))
            while running:
                await running.pop(0)
        except BaseException:
            await asyncio.sleep(0)  # a task that is cancelled before it has begun could not clean up
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for writer in writers:
                await writer.abandon()
            raise
        refs = [SegmentRef(writer.segment.id, writer.segment.size_bytes) for writer in writers]
        return Stored(sum(ref.size_bytes for ref in refs), tuple(refs))

    def holding(self, segment_ids: Sequence[bytes]) -> AbstractContextManager[None]:
        """Keep segments that are being read from being swept, however slow the reader; a day at most."""
        return self._readers.holding(segment_ids)

    def open_inline(self, inline: bytes) -> bytes:
        """Return the bytes of a small object (`Stored.inline`). Raises CheckFailed when they were changed."""
        return self.parts.open_inline(inline)

    async def read(self, stored: Stored, start: int = 0, end: int | None = None) -> AsyncIterator[bytes | memoryview]:
        """Yield plain bytes `start` … `end` (half open), checked. Raises UsageError for a range outside,
        NotReadable when too few shares can be had, SegmentGone when the object was deleted long ago."""
        end = stored.size_bytes if end is None else end
        if not 0 <= start <= end <= stored.size_bytes:
            raise UsageError(f"bytes {start} … {end} are not inside the object's {stored.size_bytes}")
        if stored.inline is not None:
            if start < end:
                yield self.parts.open_inline(stored.inline)[start:end]
            return
        before = 0
        for ref in stored.segments:
            low, high = max(start - before, 0), min(end - before, ref.size_bytes)
            before += ref.size_bytes
            if low < high:
                segment = await self.parts.segment(ref.id)
                async with aclosing(read_segment(self.parts, segment, low, high)) as pieces:
                    async for piece in pieces:  # closed at once when the reader leaves, not when it is collected
                        yield piece


async def _goes_on(plain: Source, size_hint: int | None) -> bool:
    if size_hint is None:
        return await plain.has_more()
    if plain.taken_bytes < size_hint:
        return True
    await plain.expect_end()
    return False


async def _next_part(plain: Source, profile: Profile, size_hint: int | None) -> tuple[int, Source]:
    """Return the next segment's size and where its bytes come from."""
    if size_hint is not None:
        return min(profile.segment_bytes, size_hint - plain.taken_bytes), plain
    gathered = await plain.take(profile.segment_bytes)  # the layout depends on the length

    async def once() -> AsyncIterator[memoryview]:
        yield memoryview(gathered)

    return len(gathered), Source(once())
