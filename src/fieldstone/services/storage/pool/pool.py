"""The pool: bytes in, shares on nodes; shares on nodes, bytes out. What the S3 server calls.

    write   encrypt ─ code ─ place ─ upload ─ receipts ─▶ Stored, its segments pending in the database
    adopt   inside the catalogue's transaction: pending → live      drop: one use less
    read    ask the fewest shares, check, decrypt; a wrong byte never comes out

What a crash leaves pending is swept (`sweep`); what nodes lose is repaired (`repair`); leases are reported (`lease`).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

from sqlalchemy import Connection, Engine

from fieldstone.clock import Clock, SystemClock
from fieldstone.errors import Retryable, UsageError
from fieldstone.identity.keys import Signer
from fieldstone.services.storage.codes import cipher, erasure
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.coding import STEP_BYTES, CodedSegment
from fieldstone.services.storage.pool.database import Database, ThreadDatabase
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.download import Download, Window, share_offset
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes
from fieldstone.services.storage.pool.placement import Candidate, place
from fieldstone.services.storage.pool.profile import INLINE_BYTES, Profile, SegmentRef, Stored, automatic
from fieldstone.services.storage.pool.segments import Segment, SegmentGone, Share
from fieldstone.services.storage.pool.source import Source
from fieldstone.services.storage.pool.tables import create_tables
from fieldstone.services.storage.pool.upload import Receipt, Upload
from fieldstone.services.storage.pool.vouchers import VoucherBook

WINDOW_BYTES = 16 * 2**20
MEMORY_BYTES = 2**30  # of segments being written, all clients together
_CACHED_SEGMENTS = 4_096
_INLINE_CONTEXT = b"fieldstone/pool/inline/v1\0"
_VETTING_MS = 504 * 3_600_000  # 504 hours (reference 2.5)


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
        vetting_ms: int = _VETTING_MS,
    ) -> None:
        """`key`: the gateway's device key. `master_key`: 32 bytes that wrap the segments' keys; lost, all is lost.

        `database`: how to run transactions (default: own threads); `scores`: 0 … 1 by which placement weighs nodes.
        Raises UsageError for a master key of another length, EnvironmentProblem for tables of a newer version.
        """
        if len(master_key) != cipher.KEY_BYTES:
            raise UsageError(f"the master key has {len(master_key)} bytes, it needs {cipher.KEY_BYTES}")
        create_tables(engine)
        self._own_database = ThreadDatabase(engine) if database is None else None
        self.database: Database = database or self._own_database  # type: ignore[assignment]
        self.directory = directory
        self.clock = clock or SystemClock()
        self.nodes = Nodes(key, self.clock, tls)
        self.vouchers = VoucherBook(self.database)
        self.writer = f"{self.nodes.gateway}/{secrets.token_hex(8)}"  # this start of this gateway
        self.writing: set[bytes] = set()  # segments of which an upload runs here
        self._master = master_key
        self._scores = scores or (lambda node: 1.0)
        self._vetting_ms = vetting_ms
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pool-code")
        self._memory = _Budget(memory_bytes)
        self._cache: OrderedDict[bytes, Segment] = OrderedDict()
        self._tails: set[asyncio.Task[None]] = set()
        self._seed = random.SystemRandom()

    async def close(self) -> None:
        """Finish what runs in the background, give back unused vouchers, close connections."""
        if self._tails:
            await asyncio.gather(*self._tails, return_exceptions=True)
        with suppress(Retryable):
            await self.vouchers.close()
        self.nodes.close()
        self._threads.shutdown()
        if self._own_database is not None:
            self._own_database.close()

    def automatic_profile(self) -> Profile:
        """Return the profile for as many nodes as are known now. Raises UsageError when there is none."""
        return automatic(len(self.directory))

    # ---- in the catalogue's transaction ----

    def adopt(self, connection: Connection, stored: Stored) -> None:
        """Count a use of each segment: it is live from the commit on. Raises SegmentGone (Retryable)."""
        segments.adopt(connection, stored.segments)

    def drop(self, connection: Connection, stored: Stored) -> None:
        """Count a use less; segments without any are deleted later. Raises SegmentGone when the counts are off."""
        segments.drop(connection, stored.segments, self.clock.now_ms())

    # ---- writing ----

    async def write(
        self, source: AsyncIterator[bytes | memoryview], *, profile: Profile, size_hint: int | None = None
    ) -> Stored:
        """Store everything that `source` gives; return when enough signed receipts are durable in the database.

        `size_hint`: the exact length, if known; sending then begins before the source has ended. Not yet adopted
        segments are swept after a while. Raises UsageError when the source has another length than announced, Retryable
        (NotStored, TooFewNodes) when the network cannot take it now.
        """
        plain = Source(source)
        if size_hint is None or size_hint <= INLINE_BYTES:
            head = await plain.take(INLINE_BYTES + 1)
            if len(head) <= INLINE_BYTES:
                if size_hint is not None and len(head) != size_hint:
                    raise UsageError(f"the source gave {len(head)} bytes, {size_hint} were announced")
                return Stored(len(head), (), self._seal_inline(bytes(head)))
            if size_hint is not None:
                raise UsageError(f"the source went on after the {size_hint} bytes that were announced")
            plain.give_back(head)
        refs: list[SegmentRef] = []
        finishing: list[asyncio.Task[None]] = []
        try:
            while await self._goes_on(plain, size_hint):
                if len(finishing) > 1:
                    await finishing.pop(0)
                size, part = await self._next_part(plain, profile, size_hint)
                writer = _SegmentWriter(self, profile, size)
                finishing.append(await writer.take(part))
                refs.append(SegmentRef(writer.segment.id, size))
            for task in finishing:
                await task
        except BaseException:
            for task in finishing:
                task.cancel()
            await asyncio.gather(*finishing, return_exceptions=True)
            await self._abandon([ref.id for ref in refs])
            raise
        return Stored(sum(ref.size_bytes for ref in refs), tuple(refs))

    async def _goes_on(self, plain: Source, size_hint: int | None) -> bool:
        if size_hint is None:
            return await plain.has_more()
        if plain.taken_bytes < size_hint:
            return True
        await plain.expect_end()
        return False

    async def _next_part(self, plain: Source, profile: Profile, size_hint: int | None) -> tuple[int, Source]:
        if size_hint is not None:
            return min(profile.segment_bytes, size_hint - plain.taken_bytes), plain
        # the layout depends on the length: gather first
        gathered = await plain.take(profile.segment_bytes)
        return len(gathered), Source(_once(gathered))

    async def _abandon(self, segment_ids: Iterable[bytes]) -> None:
        """Let the sweeper have segments that will never be adopted."""
        ids = list(segment_ids)
        with suppress(Retryable):
            await self.database.write(lambda c: segments.abandon(c, ids, self.clock.now_ms()))

    def _seal_inline(self, body: bytes) -> bytes:
        key, name = os.urandom(cipher.KEY_BYTES), os.urandom(16)
        wrapped = cipher.wrap_key(self._master, key, _INLINE_CONTEXT + name)
        return name + wrapped + cipher.SegmentCipher(key, name).seal(body)

    def _open_inline(self, sealed: bytes) -> bytes:
        name, wrapped = sealed[:16], sealed[16 : 16 + cipher.WRAPPED_KEY_BYTES]
        key = cipher.unwrap_key(self._master, wrapped, _INLINE_CONTEXT + name)
        return cipher.SegmentCipher(key, name).open(sealed[16 + cipher.WRAPPED_KEY_BYTES :])

    def candidates(self) -> list[Candidate]:
        """Return the nodes that may get shares now, with their scores; those that fail in a row are left out for a while."""
        now_ms = self.clock.now_ms()
        found = []
        for node in self.directory:
            health = self.nodes.health(node.did)
            if health.failures_in_row >= 3 and health.offline_since_ms is not None:
                continue
            vetting = bool(node.joined_ms) and now_ms - node.joined_ms < self._vetting_ms
            found.append(Candidate(node, self._scores(node), vetting))
        return found

    # ---- reading ----

    async def read(self, stored: Stored, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield plain bytes `start` … `end` (half open), checked. Raises UsageError for a range outside,
        NotReadable when too few shares can be had, SegmentGone when the object was deleted long ago."""
        end = stored.size_bytes if end is None else end
        if not 0 <= start <= end <= stored.size_bytes:
            raise UsageError(f"bytes {start} … {end} are not inside the object's {stored.size_bytes}")
        if start == end:
            return
        if stored.inline is not None:
            yield self._open_inline(stored.inline)[start:end]
            return
        before = 0
        for ref in stored.segments:
            low, high = max(start - before, 0), min(end - before, ref.size_bytes)
            before += ref.size_bytes
            if low < high:
                async for part in self._read_segment(ref, low, high):
                    yield part

    async def _read_segment(self, ref: SegmentRef, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield bytes of one segment, the next window being fetched while one is used."""
        segment = await self.segment(ref.id)
        ahead: asyncio.Task[list[bytes]] | None = None
        try:
            parts = _windows(start, end)
            ahead = asyncio.create_task(self._read_window(segment, *parts[0]))
            for following in [*parts[1:], None]:
                plain = await ahead
                ahead = asyncio.create_task(self._read_window(segment, *following)) if following else None
                for part in plain:
                    yield part
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _read_window(self, segment: Segment, start: int, end: int) -> list[bytes]:
        low, high = cipher.sealed_range(start, end, segment.size_bytes)
        download = self.download(segment)
        layout = segment.layout
        window = Window.over(layout, low // layout.stripe_bytes, -(-high // layout.stripe_bytes))
        opener = segments.cipher_of(segment, self._master)
        sealed = window.data[low - window.start : high - window.start]
        loop = asyncio.get_running_loop()
        used = await download.fill(window, low, high)
        try:
            return await loop.run_in_executor(self._threads, _open, opener, sealed, start, end, segment.size_bytes)
        except cipher.NotAuthentic:
            await self._read_certainly(download, window, used)
        return await loop.run_in_executor(self._threads, _open, opener, sealed, start, end, segment.size_bytes)

    async def _read_certainly(self, download: Download, window: Window, used: Mapping[int, tuple[int, int]]) -> None:
        """Some share lied: fill the window from shares that are what they committed to, and note who did."""
        segment = download.segment
        layout = segment.layout
        data, _, wrong = await download.certain(range(layout.k))
        found = {share.number: (share, "wrong_root") for share in wrong}
        parity = [number for number in used if number >= layout.k]
        if parity:
            code = erasure.code(layout.k, layout.n)
            data = {**data, **await asyncio.to_thread(code.decode, data, parity)}
        for number, (start, end) in used.items():
            if number not in found and not _is_same(window, number, data[number], start, end):
                found[number] = (segment.shares[number], "wrong_bytes")
        for number in range(layout.k):
            for stripe in range(window.first, window.last):
                at = share_offset(layout, stripe)
                block = window.block(number, stripe)
                block[:] = data[number][at : at + len(block)]
        now_ms = self.clock.now_ms()

        def note(connection: Connection) -> None:
            for share, kind in found.values():
                segments.mark(connection, share.id, "corrupt", now_ms)
                asked = used.get(share.number, (0, share.size_bytes))
                detail = {"segment": segment.id.hex(), "number": share.number, "range": asked,
                          "root": (share.root or b"").hex()}  # fmt: skip
                body = json.dumps(detail, sort_keys=True, separators=(",", ":"))
                segments.note_incident(connection, share.device, share.id, kind, body, now_ms)

        for share, _ in found.values():
            self.nodes.note_wrong_bytes(share.device)
        self.forget(segment.id)
        with suppress(Retryable):
            await self.database.write(note)

    def download(self, segment: Segment) -> Download:
        """Return what reads a segment."""
        return Download(self.nodes, self.directory, self.vouchers, segment, self._share_problem)

    async def _share_problem(self, share: Share, problem: NodeProblem) -> None:
        """A node says that it does not have a share it signed for: that is a loss, and it is noted."""
        if problem.kind != "missing":
            return
        now_ms = self.clock.now_ms()

        def note(connection: Connection) -> None:
            segments.mark(connection, share.id, "lost", now_ms)
            body = json.dumps({"said": str(problem)[:200]})
            segments.note_incident(connection, share.device, share.id, "missing", body, now_ms)

        with suppress(Retryable):
            await self.database.write(note)
        self._cache.clear()

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

    def master_wrap(self, key: bytes, segment_id: bytes) -> bytes:
        """Wrap a new segment's key."""
        return cipher.wrap_key(self._master, key, segments.key_context(segment_id))


class _SegmentWriter:
    """Writes one segment: plan, code, upload, note receipts."""

    def __init__(self, pool: Pool, profile: Profile, size_bytes: int) -> None:
        self._pool = pool
        self._profile = profile
        key, segment_id = os.urandom(cipher.KEY_BYTES), os.urandom(16)
        layout = Layout(cipher.sealed_bytes(size_bytes), profile.k, profile.n, profile.block_bytes)
        wrapped = pool.master_wrap(key, segment_id)
        self.segment = Segment(segment_id, size_bytes, layout, profile.leaf_bytes, wrapped, {})
        self._seal = cipher.SegmentCipher(key, segment_id)
        self._weight = layout.share_bytes * layout.n + 2 * STEP_BYTES

    async def take(self, plain: Source) -> asyncio.Task[None]:
        """Take the segment's bytes from the source; return the task that ends when enough receipts are written down."""
        pool, layout = self._pool, self.segment.layout
        placement = place(self._profile, pool.candidates(), seed=pool._seed, share_bytes=layout.share_bytes)
        await pool._memory.take(self._weight)
        try:
            coded = CodedSegment(layout, self.segment.size_bytes, self.segment.leaf_bytes, self._seal)
            upload = Upload(pool.nodes, coded, self._profile, placement, self._plan)
            relaxed = ", ".join(map(str, placement.relaxed))
            shares = [share for share, _ in upload.first]
            pool.writing.add(self.segment.id)
            now_ms = pool.clock.now_ms()
            await pool.database.write(
                lambda c: segments.plan(c, self.segment, shares, writer=pool.writer, relaxed=relaxed, now_ms=now_ms)
            )
        except BaseException:
            self._release()
            raise
        upload.start()
        try:
            await self._code(plain, coded)
        except BaseException:
            await upload.stop()
            self._release()
            await pool._abandon([self.segment.id])
            raise
        return asyncio.create_task(self._finish(upload))

    async def _code(self, plain: Source, coded: CodedSegment) -> None:
        """Feed the segment step by step; while one is coded, the next is taken from the source."""
        loop = asyncio.get_running_loop()
        left = self.segment.size_bytes
        rooms = [memoryview(bytearray(min(left, STEP_BYTES))) for _ in range(2 if left > STEP_BYTES else 1)]
        working: asyncio.Future[int] | None = None
        try:
            for step in range(-(-left // STEP_BYTES)):
                room = rooms[step % 2][: min(left, STEP_BYTES)]
                if await plain.read_into(room) < len(room):
                    raise UsageError(f"the source ended {left} bytes before the length that was announced")
                left -= len(room)
                if working is not None:
                    coded.publish(await working)
                working = loop.run_in_executor(self._pool._threads, coded.advance, room)
            if working is not None:
                coded.publish(await working)
        except BaseException:
            if working is not None:
                await asyncio.gather(working, return_exceptions=True)
            raise

    async def _finish(self, upload: Upload) -> None:
        pool, profile = self._pool, self._profile
        tail: asyncio.Task[None] | None = None
        try:
            receipts = await upload.enough(need=profile.least, goal=profile.n - profile.spare)
            await self._note(receipts.values(), first=True)
            if upload.waiting and upload.is_running:
                tail = asyncio.create_task(self._tail(upload))
                pool._tails.add(tail)
                tail.add_done_callback(pool._tails.discard)
            else:
                await self._leave(upload)
        finally:
            if tail is None:
                await upload.stop()
                self._release()

    async def _tail(self, upload: Upload) -> None:
        try:
            receipts = await upload.tail()
            with suppress(Retryable):
                await self._note(receipts.values(), first=False)
                await self._leave(upload)
        finally:
            await upload.stop()
            self._release()

    async def _plan(self, shares: Sequence[Share]) -> None:
        now_ms = self._pool.clock.now_ms()
        await self._pool.database.write(lambda c: segments.plan_shares(c, self.segment.id, shares, now_ms))

    async def _note(self, receipts: Iterable[Receipt], *, first: bool) -> None:
        rows = [(receipt.share.id, receipt.root, receipt.message) for receipt in receipts]
        now_ms = self._pool.clock.now_ms()

        def write(connection: Connection) -> None:
            if first:
                segments.complete(connection, self.segment.id)
            segments.hold(connection, rows, now_ms)

        if rows or first:
            await self._pool.database.write(write)
            self._pool.forget(self.segment.id)

    async def _leave(self, upload: Upload) -> None:
        """Shares that were planned but not taken into account may be on their nodes all the same."""
        ids = [share.id for share in upload.failed]
        if ids:
            now_ms = self._pool.clock.now_ms()
            await self._pool.database.write(lambda c: segments.leave(c, ids, now_ms))

    def _release(self) -> None:
        self._pool.writing.discard(self.segment.id)
        self._pool._memory.give(self._weight)
        self._weight = 0


class _Budget:
    """So many bytes may be in use at a time; who wants more waits. One alone may exceed it."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._used = 0
        self._freed = asyncio.Condition()

    async def take(self, count: int) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self._used == 0 or self._used + count <= self._size)
            self._used += count

    def give(self, count: int) -> None:
        if count:
            self._used -= count
            task = asyncio.get_running_loop().create_task(self._wake())
            task.add_done_callback(lambda done: None)

    async def _wake(self) -> None:
        async with self._freed:
            self._freed.notify_all()


def _windows(start: int, end: int) -> list[tuple[int, int]]:
    """Cut a range at multiples of WINDOW_BYTES."""
    cuts = [start, *range((start // WINDOW_BYTES + 1) * WINDOW_BYTES, end, WINDOW_BYTES), end]
    return list(pairwise(cuts))


def _open(opener: cipher.SegmentCipher, sealed: memoryview, start: int, end: int, size_bytes: int) -> list[bytes]:
    """Return the plain bytes of a range, a piece per chunk: nothing is joined."""
    low, _ = cipher.sealed_range(start, end, size_bytes)
    parts = []
    at = start
    while at < end:
        until = min(end, (at // cipher.CHUNK_BYTES + 1) * cipher.CHUNK_BYTES)
        first, last = cipher.sealed_range(at, until, size_bytes)
        parts.append(opener.open_range(sealed[first - low : last - low], at, until, size_bytes))
        at = until
    return parts


def _is_same(window: Window, number: int, true: memoryview, start: int, end: int) -> bool:
    """Say whether the window holds bytes `start` … `end` of a share as they should be."""
    layout = window.layout
    at = start
    while at < end:
        stripe = min(at // layout.block_bytes, layout.stripes - 1)
        block = window.block(number, stripe)
        offset = at - share_offset(layout, stripe)
        until = min(len(block), offset + end - at)
        if block[offset:until] != true[at : at + until - offset]:
            return False
        at += until - offset
    return True


async def _once(body: bytearray) -> AsyncIterator[memoryview]:
    yield memoryview(body)
