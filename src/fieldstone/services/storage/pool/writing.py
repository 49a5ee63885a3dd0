"""One segment on its way out: plan it in the database, code it, upload it, note the receipts."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from sqlalchemy import Connection

from fieldstone.errors import Retryable, UsageError
from fieldstone.services.storage.codes import cipher
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool import segments
from fieldstone.services.storage.pool.coding import STEP_BYTES, CodedSegment
from fieldstone.services.storage.pool.parts import Parts
from fieldstone.services.storage.pool.placement import place
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.segments import Segment, Share
from fieldstone.services.storage.pool.source import Source
from fieldstone.services.storage.pool.upload import Receipt, Upload

SLOW_SOURCE_S = 2.0  # for the first step of 6 MiB
SEED = random.SystemRandom()  # nobody outside can foresee who gets which share


class Budget:
    """So many bytes of memory may be in use at a time; who wants more waits. One alone may exceed it."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._used = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def take(self, count: int) -> None:
        """Wait until `count` bytes are free, in the order of asking, and take them."""
        if not self._waiting and self._fits(count):
            self._used += count
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(count)
            else:
                self._waiting = [one for one in self._waiting if one[1] is not turn]
                self.give(0)  # whoever waited behind may fit
            raise

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._used -= count
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(wanted):
                    break
                self._used += wanted
                turn.set_result(None)
            self._waiting.pop(0)

    def _fits(self, count: int) -> bool:
        return self._used == 0 or self._used + count <= self._size


class SegmentWriter:
    """Writes one segment of `size_bytes` plain bytes."""

    def __init__(
        self, parts: Parts, memory: Budget, tails: set[asyncio.Task[None]], profile: Profile, size_bytes: int
    ) -> None:
        self._parts = parts
        self._memory = memory
        self._tails = tails
        self._profile = profile
        key, segment_id = os.urandom(cipher.KEY_BYTES), os.urandom(16)
        layout = Layout(cipher.sealed_bytes(size_bytes), profile.k, profile.n, profile.block_bytes)
        self.segment = Segment(segment_id, size_bytes, layout, parts.wrap(key, segment_id), {})
        self._seal = cipher.SegmentCipher(key, segment_id)
        self._weight = layout.share_bytes * layout.n + 2 * min(STEP_BYTES, size_bytes)
        self._held_bytes = 0  # of the memory that all writers share

    async def take(self, plain: Source) -> asyncio.Task[None]:
        """Take the segment's bytes from the source; return the task that ends when enough receipts are written down.

        Raises TooFewNodes, UsageError when the source ends early, whatever the source raises.
        """
        parts, layout = self._parts, self.segment.layout
        placement = place(self._profile, parts.candidates(), seed=SEED, share_bytes=layout.share_bytes)
        upload: Upload | None = None
        planned: asyncio.Future[None] | None = None
        try:
            coded = CodedSegment(layout, self.segment.size_bytes, self._profile.leaf_bytes, self._seal)
            upload = Upload(parts.nodes, coded, self._profile, placement, self._plan)
            relaxed = ", ".join(map(str, placement.relaxed))
            shares = [share for share, _ in upload.first]
            parts.writing.add(self.segment.id)
            now_ms = parts.clock.now_ms()
            plan = parts.database.write(
                lambda c: segments.plan(c, self.segment, shares, writer=parts.writer, relaxed=relaxed, now_ms=now_ms)
            )
            planned = asyncio.ensure_future(plan)  # written while the first bytes arrive
            await self._code(plain, coded, upload, planned)
        except BaseException:
            if upload is not None:
                await upload.stop()
            if planned is not None:  # or it would be written after it was abandoned
                await asyncio.gather(planned, return_exceptions=True)
            self._release()
            await self.abandon()
            raise
        return asyncio.create_task(self._finish(upload))

    async def abandon(self) -> None:
        """Let the sweeper have a segment that will never be adopted."""
        now_ms = self._parts.clock.now_ms()
        with suppress(Retryable):
            await self._parts.database.write(lambda c: segments.abandon(c, [self.segment.id], now_ms))

    async def _code(self, plain: Source, coded: CodedSegment, upload: Upload, planned: asyncio.Future[None]) -> None:
        """Feed the segment step by step; while one is coded, the next is taken from the source.

        Memory is taken with the first step: who announces bytes and does not send them keeps nobody waiting. Sending begins
        with it too, when all shares are written down as `planned`, unless the source is slow: nodes do not wait long for a
        body to go on.
        """
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        left = self.segment.size_bytes
        working: asyncio.Future[int] | None = None
        try:
            for step in range(-(-left // STEP_BYTES)):
                size = min(left, STEP_BYTES)
                pieces = await plain.pieces(size)
                if sum(map(len, pieces)) < size:
                    raise UsageError(f"the source ended after {plain.taken_bytes} bytes, more were announced")
                left -= size
                if step == 0:
                    is_slow = time.monotonic() - began >= SLOW_SOURCE_S
                    await planned
                    await self._memory.take(self._weight)
                    self._held_bytes = self._weight
                    if not is_slow:
                        upload.start()
                if working is not None:
                    coded.publish(await working)
                working = loop.run_in_executor(self._parts.threads, coded.advance, pieces)
            if working is not None:
                coded.publish(await working)
            upload.start()
        except BaseException:
            if working is not None:
                await asyncio.gather(working, return_exceptions=True)
            raise

    async def _finish(self, upload: Upload) -> None:
        has_tail = False
        try:
            receipts = await upload.enough(need=self._profile.least, goal=self._profile.n - self._profile.spare)
            await self._note(receipts.values(), first=True)
            if upload.waiting and upload.is_running:
                has_tail = True
                tail = asyncio.create_task(self._tail(upload))
                self._tails.add(tail)
                tail.add_done_callback(self._tails.discard)
            else:
                await upload.stop()
                await self._leave(upload)
        except BaseException:
            await upload.stop()
            await self.abandon()
            raise
        finally:
            if not has_tail:
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
        now_ms = self._parts.clock.now_ms()
        await self._parts.database.write(lambda c: segments.plan_shares(c, self.segment.id, shares, now_ms))

    async def _note(self, receipts: Iterable[Receipt], *, first: bool) -> None:
        rows = [(one.share.id, one.leaf_bytes, one.root, one.message) for one in receipts]
        now_ms = self._parts.clock.now_ms()

        def write(connection: Connection) -> None:
            if first:
                segments.complete(connection, self.segment.id)
            segments.hold(connection, rows, now_ms)

        if rows or first:
            await self._parts.database.write(write)
            self._parts.forget(self.segment.id)

    async def _leave(self, upload: Upload) -> None:
        """Shares that were planned but are not counted may be on their nodes all the same."""
        ids = [share.id for share in upload.failed]
        if ids:
            now_ms = self._parts.clock.now_ms()
            await self._parts.database.write(lambda c: segments.leave(c, ids, now_ms))

    def _release(self) -> None:
        self._parts.writing.discard(self.segment.id)
        self._memory.give(self._held_bytes)
        self._held_bytes = 0
