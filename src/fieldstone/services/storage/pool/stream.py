"""A long read: one request per share, whose bytes run stripe by stripe through a ring of memory.

A request for a window of every share costs the gateway and the provider a signature, a voucher and a dozen turns of
their loops; a long read therefore asks every share once for all that is wanted of it. The ring bounds memory: who is
ahead by its length is not read from until the slowest has come after, TCP does the rest. As many readers as there are
share the memory: rings shrink when there are many.

A share that fails, or is slow while others are not, is replaced from the stripe that is waited for onward.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from fieldstone.services.storage.codes import erasure
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.nodes import LEAST_TIME_S
from fieldstone.services.storage.pool.segments import Share

MEMORY_BYTES = 128 * 2**20  # of rings, shared out among readers
LARGEST_RING_BYTES = 16 * 2**20
SMALLEST_RING_BYTES = 4 * 2**20
_LEAST_STRIPES = 3
_MOST_BLOCKS = 16  # taken in one system call
_STARVED = 4  # times the patience: most shares are late together, so it is not they who are slow


class Rooms:
    """Memory for rings. Freed rings are kept: mapping a page anew costs more than the encryption of what it holds."""

    def __init__(
        self,
        memory_bytes: int = MEMORY_BYTES,
        largest_bytes: int = LARGEST_RING_BYTES,
        smallest_bytes: int = SMALLEST_RING_BYTES,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._largest, self._smallest = largest_bytes, smallest_bytes
        self._free: dict[int, list[mmap.mmap]] = {}
        self._kept_bytes = 0
        self.readers = 0

    def take(self, least_bytes: int, most_bytes: int) -> mmap.mmap:
        """Return memory for a reader: the less, the more there are, `least_bytes` at least."""
        self.readers += 1
        size = self._largest
        while size > self._smallest and (size * self.readers > self._memory_bytes or size >= 2 * most_bytes):
            size //= 2
        size = -(-max(size, least_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        free = self._free.get(size)
        if free:
            self._kept_bytes -= size
            return free.pop()
        memory = mmap.mmap(-1, size)
        with suppress(OSError, AttributeError):
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memory

    def give_back(self, memory: mmap.mmap) -> None:
        """Take memory back that nobody writes to or looks at any more."""
        self.readers -= 1
        if self._kept_bytes + len(memory) <= self._memory_bytes:
            self._kept_bytes += len(memory)
            self._free.setdefault(len(memory), []).append(memory)


class Feed:
    """One share's bytes on their way into the ring, from stripe `first` on. A sink (`wire.Sink`) that may be full for now."""

    def __init__(self, stream: Stream, share: Share, first: int) -> None:
        self.share, self.first = share, first
        self.number = share.number
        self.stripe = first  # the one that is coming
        self.task: asyncio.Task[None] | None = None
        self.waited_s = 0.0  # for the ring, not for the node
        self.moved_s = stream.time()
        self._stream = stream
        self._resume: Callable[[], None] | None = None
        self._paused_s = 0.0
        self._at = 0  # in the block that is coming
        self._rows = stream.blocks(self.number)

    def range(self) -> tuple[int, int]:
        """Return which bytes of the share are wanted."""
        layout = self._stream.layout
        return self.first * layout.block_bytes, min(layout.share_bytes, self._stream.last * layout.block_bytes)

    @property
    def is_full(self) -> bool:
        """Whether it waits for the ring."""
        return self._resume is not None

    def buffer(self) -> memoryview:
        """See wire.Sink."""
        stream = self._stream
        if self.stripe >= stream.limit:
            return memoryview(b"")
        return stream.block(self.number, self.stripe)[self._at :]

    def buffers(self) -> list[memoryview]:
        """See wire.Sink."""
        stream = self._stream
        stop = min(stream.limit, self.stripe + _MOST_BLOCKS)
        full = min(stop, stream.layout.full_stripes)
        row = (self.stripe - stream.first) % stream.rows
        count = max(full - self.stripe, 0)
        found = self._rows[row : row + count]
        if len(found) < count:  # on from the beginning of the ring
            found += self._rows[: count - len(found)]
        found += [stream.block(self.number, stripe) for stripe in range(max(full, self.stripe), stop)]
        if self._at and found:
            found[0] = found[0][self._at :]
        return found

    def advance(self, count: int) -> None:
        """See wire.Sink."""
        layout, before = self._stream.layout, self.stripe
        self._at += count
        while self.stripe < self._stream.last:
            size = layout.block_bytes if self.stripe < layout.full_stripes else layout.last_block_bytes
            if self._at < size:
                break
            self._at -= size
            self.stripe += 1
        self._stream.arrived(self, before)

    def wait(self, resume: Callable[[], None]) -> bool:
        """See wire.Sink."""
        if self.stripe >= self._stream.last:
            return False
        if self._resume is None:
            self._paused_s = self._stream.time()
        self._resume = resume
        return True

    def go_on(self) -> None:
        """Take more, if there is room now."""
        if self._resume is not None and self.stripe < self._stream.limit:
            resume, self._resume = self._resume, None
            self.moved_s = self._stream.time()
            self.waited_s += self.moved_s - self._paused_s
            resume()


class Stream:
    """Stripes `first` … `last` (half open) of a segment in order.

    `fetch` asks for the feeds' bytes; `shares` in the order in which they are to be asked; `patience_s`: after which a
    single share is slow; `too_late` hears whose share was given up. `ready` a stripe, look at it by `sealed`, then `release` it; `close` at the end.
    """

    def __init__(
        self,
        layout: Layout,
        first: int,
        last: int,
        shares: Sequence[Share],
        rooms: Rooms,
        fetch: Callable[[Sequence[Feed]], Awaitable[dict[Feed, asyncio.Task[None]]]],
        patience_s: Callable[[Sequence[Share]], float],
        too_late: Callable[[Share], None],
    ) -> None:
        self.layout, self.first, self.last = layout, first, last
        self._shares = list(shares)
        self._rooms, self._fetch, self._patience_s, self._too_late = rooms, fetch, patience_s, too_late
        stripe = layout.stripe_bytes
        self._memory = rooms.take(min(_LEAST_STRIPES, last - first) * stripe, (last - first) * stripe)
        self.rows = min(last - first, len(self._memory) // stripe)
        self.ring_bytes = self.rows * stripe
        self._ring = memoryview(self._memory)[: self.ring_bytes]
        self._parity: dict[int, memoryview] = {}
        self._low = first
        # a third of the ring is let go of at a time: waking all feeds for every stripe costs more than reading it
        self._step = max(1, self.rows // 3)
        self.span = self.rows - self._step + 1  # so many stripes can be ready before the first of them is released
        self.limit = first + self.rows  # stripes from here on have no room yet, or are not wanted
        self._arrived = [0] * (last - first)
        self._waiter: tuple[int, asyncio.Future[None]] | None = None
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self.feeds: list[Feed] = []
        self.past: list[Feed] = []  # left out; as far as what they brought is still in the ring, it counts as theirs
        self._rebuilt = first  # up to here nothing is missing

    # ---- where bytes go ----

    def block(self, number: int, stripe: int) -> memoryview:
        """Return the place of a share's block in the ring."""
        layout = self.layout
        size = layout.block_bytes if stripe < layout.full_stripes else layout.last_block_bytes
        row = (stripe - self.first) % self.rows
        if number < layout.k:
            at = row * layout.stripe_bytes + number * size
            return self._ring[at : at + size]
        room = self._parity.get(number)
        if room is None:
            room = self._parity[number] = memoryview(np.empty(self.rows * layout.block_bytes, np.uint8))  # type: ignore[arg-type]
        return room[row * layout.block_bytes : row * layout.block_bytes + size]

    def blocks(self, number: int) -> list[memoryview]:
        """Return the places of a share's full blocks in the ring, one per row."""
        rows = min(self.rows, max(self.layout.full_stripes - self.first, 0))
        return [self.block(number, self.first + row) for row in range(rows)]

    def sealed(self, start: int, end: int) -> memoryview:
        """Return the segment's bytes `start` … `end` of ready stripes: in place, or put together at the ring's seam."""
        origin = self.first * self.layout.stripe_bytes
        low = (start - origin) % self.ring_bytes
        high = low + end - start
        if high <= self.ring_bytes:
            return self._ring[low:high]
        return memoryview(bytes(self._ring[low:]) + bytes(self._ring[: high - self.ring_bytes]))

    # ---- waiting ----

    def arrived(self, feed: Feed, before: int) -> None:
        """Note that a feed has brought something: the stripes from `before` to the one that is coming."""
        feed.moved_s = self.time()
        for stripe in range(before, feed.stripe):
            self._arrived[stripe - self.first] += 1
            whole = self._arrived[stripe - self.first] >= self.layout.k
            if whole and self._waiter is not None and stripe == self._waiter[0]:
                self._wake()

    async def ready(self, stripe: int) -> bool:
        """Wait until a stripe and all before it are complete; False when too few shares are left."""
        if not self.feeds:
            await self._ask(self.layout.k, self.first)
        while self._rebuilt <= stripe:
            if not await self._complete(self._rebuilt):
                return False
            await self._rebuild(self._rebuilt)
            self._rebuilt += 1
        return True

    def release(self, stripe: int) -> None:
        """Give the room of all stripes before `stripe` to those that come."""
        self._low = max(self._low, stripe)
        limit = min(self._low + self.rows, self.last)
        if limit - self.limit >= min(self._step, self.last - self.limit) > 0:
            self.limit = limit
            for feed in self.feeds:
                if feed.is_full:
                    feed.go_on()

    def most_brought(self) -> int:
        """Return how many shares have brought the stripe that is waited for."""
        return len(self.brought(min(self._rebuilt, self.last - 1)))

    def brought(self, stripe: int) -> list[Feed]:
        """Return the feeds that have brought a stripe."""
        return [feed for feed in self.feeds if feed.first <= stripe < feed.stripe]

    async def close(self) -> None:
        """Stop asking; afterwards nothing writes to the ring."""
        await self._stop(self.feeds)

    def give_back(self) -> None:
        """Give the memory back. After `close`, and when nobody looks at what `sealed` returned."""
        self._ring.release()
        self._rooms.give_back(self._memory)

    async def _stop(self, feeds: Sequence[Feed]) -> None:
        """Break off what still runs, and wait: it must not write into the ring any more."""
        tasks = [feed.task for feed in feeds if feed.task is not None and not feed.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, stripe: int) -> bool:
        """Wait until k shares have brought a stripe, asking more when some fail or are slow, and when those are slow too."""
        asked_s, place, waits = self.time(), stripe - self.first, 1
        while self._arrived[place] < self.layout.k:
            await self._replace_failed(stripe)
            if self._arrived[place] >= self.layout.k:
                break
            late = [feed for feed in self.feeds if feed.stripe <= stripe]
            if not late:
                return False
            patience_s = waits * self._patience_s([feed.share for feed in self.feeds])
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s if self._shares else LEAST_TIME_S / 4):
                    await self._arrival(stripe)
                continue
            now = self.time()
            stuck = [feed for feed in late if now - feed.moved_s > LEAST_TIME_S]
            await self._drop(stuck, for_good=True)
            for feed in stuck:
                self._too_late(feed.share)
            lacking = self.layout.k - self._arrived[place]
            if lacking <= self.layout.k // 2 or now - asked_s > _STARVED * patience_s:
                await self._ask(lacking, stripe)
                asked_s = self.time()
                waits *= 2  # if it is this line that is slow, more requests do not make it faster
        if len(self.feeds) > self.layout.k:  # who was doubled has come, or is not waited for any more
            brought = sorted(self.brought(stripe), key=lambda feed: feed.number)[: self.layout.k]
            await self._drop([feed for feed in self.feeds if feed not in brought])
        return True

    async def _arrival(self, stripe: int) -> None:
        self._waiter = stripe, self._loop.create_future()
        try:
            await self._waiter[1]
        finally:
            self._waiter = None

    def _wake(self, _done: object = None) -> None:
        if self._waiter is not None and not self._waiter[1].done():
            self._waiter[1].set_result(None)

    async def _replace_failed(self, stripe: int) -> None:
        failed = [feed for feed in self.feeds if feed.stripe <= stripe and feed.task is not None and feed.task.done()]
        if failed:
            for feed in failed:
                self._forget(feed)
            await self._ask(len(failed), stripe)

    async def _drop(self, feeds: Sequence[Feed], *, for_good: bool = False) -> None:
        await self._stop(feeds)
        for feed in feeds:
            self._forget(feed)
            if not for_good:
                self._shares.append(feed.share)  # it was only slow: better than nothing when the others fail

    def _forget(self, feed: Feed) -> None:
        """Leave a feed out; what it has brought of stripes that are not complete counts no more: others rebuild it."""
        self.feeds.remove(feed)
        self.past.append(feed)
        for stripe in range(max(feed.first, self._rebuilt), feed.stripe):
            self._arrived[stripe - self.first] -= 1
        feed.stripe = min(feed.stripe, self._rebuilt)

    async def _ask(self, count: int, stripe: int) -> None:
        asked, self._shares = self._shares[: max(count, 0)], self._shares[max(count, 0) :]
        if asked:
            feeds = [Feed(self, share, stripe) for share in asked]
            self.feeds += feeds
            for feed, task in (await self._fetch(feeds)).items():
                feed.task = task
                task.add_done_callback(self._wake)

    async def _rebuild(self, stripe: int) -> None:
        """Compute the blocks of a stripe that no data share has brought."""
        have = {feed.number: feed for feed in self.brought(stripe)}
        missing = [number for number in range(self.layout.k) if number not in have]
        if not missing:
            return
        # they would go on writing where the rebuilt blocks are
        await self._drop([feed for feed in self.feeds if feed.number in missing])
        used = sorted(have)[: self.layout.k]
        blocks = {number: self.block(number, stripe) for number in used}
        code = erasure.code(self.layout.k, self.layout.n)
        for number, block in (await asyncio.to_thread(code.decode, blocks, missing)).items():
            self.block(number, stripe)[:] = block


def differing(stream: Stream, stripes: range, true: Mapping[int, memoryview], feeds: Sequence[Feed]) -> list[Feed]:
    """Return the feeds whose bytes of `stripes`, as they lie in the ring, are not those of the `true` shares."""
    found = []
    for feed in feeds:
        for stripe in stripes:
            if feed.first <= stripe < feed.stripe:
                block = stream.block(feed.number, stripe)
                at = stripe * stream.layout.block_bytes
                if block != true[feed.number][at : at + len(block)]:
                    found.append(feed)
                    break
    return found
