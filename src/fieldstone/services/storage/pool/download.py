"""Read bytes of a segment from the fewest shares that give them, and notice when any of them is wrong.

A read goes in windows of whole chunks. For each window the data shares that hold its bytes are asked (a small range
is one or two requests); their bytes go from the socket to their place in the window, nothing is put together later.
A share that fails is replaced at once; when most have come and some are slow, further shares are asked and the slow
ones cut off. Any k shares rebuild what is missing.

What comes is opened with the segment's key, so wrong bytes never leave as plain text. When a chunk does not open, the
window is read again the certain way: whole shares, each checked against the commitment that its provider signed, until
k are right. With the true bytes at hand every share that was used before is compared, and who lied is known.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import erasure, fast_tree
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.nodes import LEAST_BYTES_PER_S, LEAST_TIME_S, NodeProblem, Nodes
from fieldstone.services.storage.pool.segments import Segment, Share
from fieldstone.services.storage.pool.stream import Feed, Rooms, Stream
from fieldstone.services.storage.pool.vouchers import VoucherBook
from fieldstone.services.storage.pool.wire import Sink

FIRST_PATIENCE_S = 0.25  # for a node of which nothing is known
# and the bytes' time at the slowest speed that is no failure: a stall once must not stay in the way
MOST_PATIENCE_S = 2.0
SLOW = 2.0  # times as long as nodes usually need: the rest is asked elsewhere as well
LAGGARD = 4.0  # times as slow as the middle node: asked only when others fail


class NotReadable(Retryable):
    """Fewer than k shares of a segment can be had now. `have` and `need` count them."""

    def __init__(self, segment: bytes, have: int, need: int, problems: Sequence[str]) -> None:
        self.segment, self.have, self.need = segment, have, need
        said = f" Last: {problems[-1]}" if problems else ""
        super().__init__(
            f"segment {segment.hex()}: {have} of the {need} shares that are needed can be read now; try again.{said}"
        )


class Window:
    """Consecutive stripes of a segment in memory: k blocks in a row per stripe, as in the (padded) segment."""

    def __init__(self, layout: Layout, first: int, last: int) -> None:
        self.layout = layout
        self.first, self.last = first, last  # half open
        self.start = first * layout.stripe_bytes
        self._k, self._block_bytes, self._full = layout.k, layout.block_bytes, layout.full_stripes
        size = (min(last, self._full) - first) * layout.stripe_bytes
        if last > self._full:
            size += layout.k * layout.last_block_bytes
        self.data: memoryview = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]
        self._parity: dict[int, memoryview] = {}

    @classmethod
    def over(cls, layout: Layout, first: int, last: int) -> Window:
        """Make room for stripes `first` … `last`."""
        return cls(layout, first, last)

    def block(self, number: int, stripe: int) -> memoryview:
        """Return the place of block `stripe` of share `number`; room for a parity share is made when first asked for."""
        size = self._block_bytes if stripe < self._full else self.layout.last_block_bytes
        row = (stripe - self.first) * self._block_bytes
        if number < self._k:
            at = row * self._k + number * size
            return self.data[at : at + size]
        if number not in self._parity:
            self._parity[number] = memoryview(np.empty(len(self.data) // self._k, np.uint8))  # type: ignore[arg-type]
        return self._parity[number][row : row + size]


class Scatter:
    """A sink that puts a share's bytes, from `start` to `end`, where they belong in a window."""

    waited_s = 0.0

    def __init__(self, window: Window, number: int, start: int, end: int) -> None:
        self._window, self._number = window, number
        self._left = end - start
        self._stripe = min(start // window.layout.block_bytes, window.layout.stripes - 1)
        self._room = window.block(number, self._stripe)[start - self._stripe * window.layout.block_bytes :]

    def buffer(self) -> memoryview:
        """See wire.Sink."""
        return self._room

    def buffers(self) -> list[memoryview]:
        """See wire.Sink."""
        return [self._room]

    def advance(self, count: int) -> None:
        """See wire.Sink."""
        self._left -= count
        if count < len(self._room):
            self._room = self._room[count:]
        elif self._left > 0:
            self._stripe += 1
            self._room = self._window.block(self._number, self._stripe)
        else:
            self._room = memoryview(b"")

    def wait(self, resume: Callable[[], None]) -> bool:
        """See wire.Sink."""
        return False


@dataclass(frozen=True, slots=True)
class Need:
    """Which bytes of which data shares a read needs: number → (start, end) in the share, and their hull."""

    by_share: Mapping[int, tuple[int, int]]
    hull: tuple[int, int]


def need_of(layout: Layout, start: int, end: int) -> Need:
    """Return what bytes `start` … `end` of the (sealed) segment need."""
    first, last = start // layout.stripe_bytes, (end - 1) // layout.stripe_bytes
    if last > first + 1:  # every share is needed, and all of them nearly from end to end
        hull = (first * layout.block_bytes, min(layout.share_bytes, (last + 1) * layout.block_bytes))
        return Need(dict.fromkeys(range(layout.k), hull), hull)
    ranges: dict[int, tuple[int, int]] = {}
    for piece in layout.pieces(start, end):
        low, high = ranges.get(piece.share, (piece.start, piece.end))
        ranges[piece.share] = (min(low, piece.start), max(high, piece.end))
    hull = (min(low for low, _ in ranges.values()), max(high for _, high in ranges.values()))
    return Need(ranges, hull)


class Flat:
    """A sink that fills one piece of memory."""

    waited_s = 0.0

    def __init__(self, room: memoryview) -> None:
        self._room = room

    def buffer(self) -> memoryview:
        """See wire.Sink."""
        return self._room

    def buffers(self) -> list[memoryview]:
        """See wire.Sink."""
        return [self._room]

    def advance(self, count: int) -> None:
        """See wire.Sink."""
        self._room = self._room[count:]

    def wait(self, resume: Callable[[], None]) -> bool:
        """See wire.Sink."""
        return False


class Download:
    """Fills windows of one segment. `on_problem` hears of shares that a node could not give."""

    def __init__(
        self,
        nodes: Nodes,
        directory: Directory,
        vouchers: VoucherBook,
        segment: Segment,
        on_problem: Callable[[Share, NodeProblem], Awaitable[None]],
    ) -> None:
        self._nodes = nodes
        self._directory = directory
        self._vouchers = vouchers
        self._on_problem = on_problem
        self.segment = segment
        self.problems: list[str] = []
        self.whole_bytes = 0  # that came in whole shares, right or wrong

    async def fill(self, window: Window, start: int, end: int) -> dict[int, tuple[int, int]]:
        """Bring bytes `start` … `end` of the segment into the window.

        Returns the shares they came from, with the range of each. Raises NotReadable.
        """
        layout = self.segment.layout
        need = need_of(layout, start, end)
        is_part = len(need.by_share) < layout.k or any(asked != need.hull for asked in need.by_share.values())
        if is_part and await self._exact(window, need):
            return dict(need.by_share)
        have = await self._hull(window, need)
        missing = [number for number in need.by_share if number not in have]
        if not missing:
            return dict.fromkeys(need.by_share, need.hull)
        used = sorted(have)[: layout.k]
        await asyncio.to_thread(_rebuild, layout, window, need.hull, used, missing)
        return dict.fromkeys(used, need.hull)

    def stream(self, rooms: Rooms, first: int, last: int) -> Stream:
        """Return stripes `first` … `last` as a stream. Nothing is asked before the first is waited for."""
        return Stream(
            self.segment.layout,
            first,
            last,
            self._by_speed(),
            rooms,
            self._feed,
            lambda shares: self._patience_s(shares, self.segment.layout.block_bytes),
            self._too_late,
        )

    def not_readable(self, have: int) -> NotReadable:
        """Return the error that says that only so many shares can be had."""
        return NotReadable(self.segment.id, have, self.segment.layout.k, self.problems)

    async def certain(self, wanted: Sequence[int]) -> tuple[dict[int, memoryview], dict[int, memoryview], list[Share]]:
        """Return the `wanted` shares, the verified ones they were made of, and the shares that turned out wrong.

        Reads whole shares, k at a time, until k are what their providers committed to. Raises NotReadable.
        """
        layout = self.segment.layout
        left = self._by_speed()
        good: dict[int, memoryview] = {}
        wrong: list[Share] = []
        while len(good) < layout.k and left:
            batch, left = left[: layout.k - len(good)], left[layout.k - len(good) :]
            for share, body in zip(batch, await asyncio.gather(*map(self.whole_share, batch)), strict=True):
                if isinstance(body, memoryview):
                    good[share.number] = body
                elif body is None:
                    wrong.append(share)
        if len(good) < layout.k:
            raise self.not_readable(len(good))
        code = erasure.code(layout.k, layout.n)
        return await asyncio.to_thread(code.decode, good, wanted), good, wrong

    async def whole_share(self, share: Share) -> memoryview | NodeProblem | None:
        """Return all bytes of a share; None when they are not what its receipt committed to; or why none came."""
        try:
            node = self._node(share)
        except NodeProblem as problem:
            self.problems.append(str(problem))
            return problem
        room = memoryview(np.empty(share.size_bytes, np.uint8))  # type: ignore[arg-type]
        try:
            order = await self._vouchers.order({node.did: share.size_bytes})
            await self._get(node, share, 0, share.size_bytes, order[node.did], Flat(room))
        except NodeProblem as problem:
            self.problems.append(str(problem))
            await self._on_problem(share, problem)
            return problem
        self.whole_bytes += share.size_bytes
        tree = await asyncio.to_thread(fast_tree.Tree.build, room, share.leaf_bytes)
        return room if tree.commitment == share.root else None

    # ---- asking ----

    async def _exact(self, window: Window, need: Need) -> bool:
        """Ask for exactly the bytes that are needed; False when a share is not there, fails, or keeps us waiting."""
        shares = [self.segment.shares.get(number) for number in need.by_share]
        usable = [s for s in shares if s is not None and self._is_promising(s)]
        if len(usable) < len(shares):
            return False
        wanted = [(share, *need.by_share[share.number]) for share in usable]
        tasks = list(await self._ask(window, wanted))
        try:
            patience_s = self._patience_s(usable, max(end - start for _, start, end in wanted))
            done, late = await asyncio.wait(tasks, timeout=patience_s, return_when=asyncio.FIRST_EXCEPTION)
            return not late and not any(task.exception() for task in done)
        finally:
            await _cut_off(tasks)

    async def _hull(self, window: Window, need: Need) -> set[int]:
        """Ask for the hull of k shares, and of more when some fail or are slow; the first k, or the data itself, win."""
        k, (low, high) = self.segment.layout.k, need.hull
        rest = self._by_speed()
        have: set[int] = set()
        running: dict[asyncio.Task[None], Share] = {}
        done: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

        async def ask(count: int) -> None:
            more = [rest.pop(0) for _ in range(min(count, len(rest)))]
            for task, share in (await self._ask(window, [(share, low, high) for share in more])).items():
                running[task] = share
                task.add_done_callback(done.put_nowait)

        try:
            await ask(k)
            patience_s = self._patience_s(list(running.values()), high - low)
            while len(have) < k and not need.by_share.keys() <= have:
                if not running:
                    raise self.not_readable(len(have))
                try:
                    async with asyncio.timeout(patience_s if rest else None):
                        task = await done.get()
                except TimeoutError:
                    await ask(k - len(have))
                    continue
                share = running.pop(task)
                if task.exception() is None:
                    have.add(share.number)
                else:
                    await ask(1)
            return have
        finally:
            await _cut_off(list(running))

    async def _ask(self, window: Window, wanted: Sequence[tuple[Share, int, int]]) -> dict[asyncio.Task[None], Share]:
        orders: Counter[str] = Counter()
        for share, start, end in wanted:
            orders[share.device] += end - start
        numbers = await self._vouchers.order(orders)
        return {
            asyncio.create_task(self._fetch(window, share, start, end, numbers[share.device])): share
            for share, start, end in wanted
        }

    async def _feed(self, feeds: Sequence[Feed]) -> dict[Feed, asyncio.Task[None]]:
        """Ask for the bytes of feeds of a stream, each to the stream's end."""
        ranges = {feed: feed.range() for feed in feeds}
        orders: Counter[str] = Counter()
        for feed, (start, end) in ranges.items():
            orders[feed.share.device] += end - start
        numbers = await self._vouchers.order(orders)
        return {
            feed: asyncio.create_task(self._follow(feed, start, end, numbers[feed.share.device]))
            for feed, (start, end) in ranges.items()
        }

    async def _follow(self, feed: Feed, start: int, end: int, egress_bytes: int) -> None:
        try:
            node = self._node(feed.share)
            await self._get(node, feed.share, start, end, egress_bytes, feed, limited=False)
        except NodeProblem as problem:
            self.problems.append(str(problem))
            await self._on_problem(feed.share, problem)

    def _too_late(self, share: Share) -> None:
        node = self._directory.get(share.device)
        if node is not None:
            self.problems.append(str(self._nodes.timed_out(node, f"no byte for {LEAST_TIME_S:.0f} s")))

    async def _fetch(self, window: Window, share: Share, start: int, end: int, egress_bytes: int) -> None:
        try:
            node = self._node(share)
            await self._get(node, share, start, end, egress_bytes, Scatter(window, share.number, start, end))
        except NodeProblem as problem:
            self.problems.append(str(problem))
            await self._on_problem(share, problem)
            raise

    def _node(self, share: Share) -> Node:
        """Return who holds a share. Raises NodeProblem when it has left the list since we chose it."""
        node = self._directory.get(share.device)
        if node is None:
            raise NodeProblem(Node(did=share.device, url="not listed any more"), "offline", "it cannot be asked")
        return node

    async def _get(
        self, node: Node, share: Share, start: int, end: int, egress_bytes: int, sink: Sink, *, limited: bool = True
    ) -> None:
        try:
            await self._nodes.get(node, share.id, start, end, egress_bytes, sink, limited=limited)
        except NodeProblem as problem:
            newest = problem.egress_bytes
            if newest is None or not await self._vouchers.catch_up(node.did, newest):
                raise
            again = await self._vouchers.order({node.did: end - start})
            await self._nodes.get(node, share.id, start, end, again[node.did], sink, limited=limited)

    # ---- whom to ask ----

    def _by_speed(self) -> list[Share]:
        """Return shares on known nodes: data first, after them parity, then what fails or lags far behind."""
        known = [share for share in self.segment.shares.values() if self._directory.get(share.device) is not None]
        speeds = sorted(self._expected_s(share) for share in known)
        slow_s = LAGGARD * speeds[len(speeds) // 2] + FIRST_PATIENCE_S if speeds else 0.0

        def rank(share: Share) -> tuple[int, bool, bool, float]:
            expected_s = self._expected_s(share)
            failures = min(self._nodes.health(share.device).failures_in_row, 3)
            return failures, expected_s > slow_s, share.number >= self.segment.layout.k, expected_s

        return sorted(known, key=rank)

    def _expected_s(self, share: Share) -> float:
        return self._nodes.health(share.device).expected_s(share.size_bytes)

    def _is_promising(self, share: Share) -> bool:
        return self._directory.get(share.device) is not None and not self._nodes.health(share.device).failures_in_row

    def _patience_s(self, shares: Sequence[Share], size_bytes: int) -> float:
        """Return for how long nothing looks slow yet, by what these nodes usually need."""
        usual = sorted(self._nodes.health(share.device).expected_s(size_bytes) for share in shares)
        patience_s = SLOW * usual[len(usual) // 2] if usual else 0.0
        return min(max(FIRST_PATIENCE_S, patience_s), MOST_PATIENCE_S + size_bytes / LEAST_BYTES_PER_S)


async def _cut_off(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Stop what still runs, and wait: it must not write into the window any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def _rebuild(
    layout: Layout, window: Window, hull: tuple[int, int], have: Sequence[int], missing: Sequence[int]
) -> None:
    """Compute the hull's bytes of the missing data shares, stripe by stripe, into the window."""
    code = erasure.code(layout.k, layout.n)
    low, high = hull
    at = low
    while at < high:
        stripe = min(at // layout.block_bytes, layout.stripes - 1)
        offset = at - share_offset(layout, stripe)
        until = min(_block(layout, stripe), offset + high - at)
        parts = {number: window.block(number, stripe)[offset:until] for number in have}
        for number, part in code.decode(parts, missing).items():
            window.block(number, stripe)[offset:until] = part
        at += until - offset


def share_offset(layout: Layout, stripe: int) -> int:
    """Return where block `stripe` begins in a share."""
    return layout.share_bytes if stripe == layout.stripes else stripe * layout.block_bytes


def _block(layout: Layout, stripe: int) -> int:
    return layout.block_bytes if stripe < layout.full_stripes else layout.last_block_bytes
