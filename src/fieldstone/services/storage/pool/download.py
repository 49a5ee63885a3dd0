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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes import erasure, fast_tree
from fieldstone.services.storage.pool.directory import Directory, Node
from fieldstone.services.storage.pool.nodes import LEAST_BYTES_PER_S, LEAST_TIME_S, NodeProblem, Nodes
from fieldstone.services.storage.pool.segments import Segment, Share
from fieldstone.services.storage.pool.stream import Feed, Rooms, Stream
from fieldstone.services.storage.pool.vouchers import VoucherBook
from fieldstone.services.storage.pool.window import Flat, Need, Scatter, Window, need_of, rebuild, share_offset
from fieldstone.services.storage.pool.wire import Sink

__all__ = ["Download", "Flat", "NotReadable", "Window", "need_of", "share_offset"]

FIRST_PATIENCE_S = 0.25  # for a node of which nothing is known
# and the bytes' time at the slowest speed that is no failure: a stall once must not stay in the way
MOST_PATIENCE_S = 2.0
SLOW = 2.0  # times as long as nodes usually need: the rest is asked elsewhere as well
LAGGARD = 4.0  # times as slow as the middle node: asked only when others fail
WHOLE_PATIENCE_S = 5.0  # for whole shares: to ask for more of them is dear


class NotReadable(Retryable):
    """Fewer than k shares of a segment can be had now. `have` and `need` count them."""

    def __init__(self, segment: bytes, have: int, need: int, problems: Sequence[str]) -> None:
        self.segment, self.have, self.need = segment, have, need
        said = f" Last: {problems[-1]}" if problems else ""
        super().__init__(
            f"segment {segment.hex()}: {have} of the {need} shares that are needed can be read now; try again.{said}"
        )


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
        await asyncio.to_thread(rebuild, layout, window, need.hull, used, missing)
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

        Reads whole shares until k are what their providers committed to, further ones where some keep us waiting.
        Raises NotReadable.
        """
        layout = self.segment.layout
        left = self._by_speed()
        good: dict[int, memoryview] = {}
        wrong: list[Share] = []
        running: dict[asyncio.Task[memoryview | NodeProblem | None], Share] = {}

        def ask(count: int) -> None:
            for _ in range(min(count, len(left))):
                share = left.pop(0)
                running[asyncio.create_task(self.whole_share(share))] = share

        try:
            ask(layout.k)
            waits = 1
            while running and len(good) < layout.k:
                patience_s = waits * WHOLE_PATIENCE_S if left else None
                done, _ = await asyncio.wait(running, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:  # each of them may take its full time: all that lack are asked for elsewhere as well
                    ask(layout.k - len(good))
                    waits *= 2
                for task in done:
                    share, body = running.pop(task), task.result()
                    if isinstance(body, memoryview):
                        good[share.number] = body
                        continue
                    if body is None:
                        wrong.append(share)
                    ask(1)
        finally:
            await _cut_off(list(running))
        if len(good) < layout.k:
            raise self.not_readable(len(good))
        code = erasure.code(layout.k, layout.n)
        good = dict(list(good.items())[: layout.k])
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
        lag_s = self._lag_s()
        usable = [s for s in shares if s is not None and self._is_promising(s, lag_s)]
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
            patience_s, waits = self._patience_s(list(running.values()), high - low), 1
            while len(have) < k and not need.by_share.keys() <= have:
                if not running:
                    raise self.not_readable(len(have))
                try:
                    async with asyncio.timeout(waits * patience_s if rest else None):
                        task = await done.get()
                except TimeoutError:
                    await ask(k - len(have))
                    waits *= 2  # if it is this line that is slow, more requests do not make it faster
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
        slow_s = self._lag_s()

        def rank(share: Share) -> tuple[int, bool, bool, float]:
            expected_s = self._expected_s(share)
            failures = min(self._nodes.health(share.device).failures_in_row, 3)
            return failures, expected_s > slow_s, share.number >= self.segment.layout.k, expected_s

        return sorted(known, key=rank)

    def _expected_s(self, share: Share) -> float:
        return self._nodes.health(share.device).expected_s(share.size_bytes)

    def _lag_s(self) -> float:
        """Return from when on a node lags behind the others of the segment."""
        speeds = sorted(map(self._expected_s, self.segment.shares.values()))
        return LAGGARD * speeds[len(speeds) // 2] + FIRST_PATIENCE_S if speeds else 0.0

    def _is_promising(self, share: Share, lag_s: float) -> bool:
        if self._directory.get(share.device) is None or self._nodes.health(share.device).failures_in_row:
            return False
        return self._expected_s(share) <= lag_s

    def _patience_s(self, shares: Sequence[Share], size_bytes: int) -> float:
        """Return for how long nothing looks slow yet, by what these nodes usually need."""
        usual = sorted(self._nodes.health(share.device).expected_s(size_bytes) for share in shares)
        patience_s = SLOW * usual[len(usual) // 2] if usual else 0.0
        return min(max(FIRST_PATIENCE_S, patience_s), MOST_PATIENCE_S + size_bytes / LEAST_BYTES_PER_S)


async def _cut_off(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Stop what still runs, and wait: it must not write into the window any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
