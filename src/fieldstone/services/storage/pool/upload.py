"""Put one coded segment on its nodes: n uploads at once, the slow replaced or left behind, every receipt checked.

A segment counts as stored when all but `profile.spare` shares are held. Nodes that fail are replaced by spare nodes at
once, slow ones when most others are done. When nobody is left to replace a failed node, k + margin receipts will do;
with fewer the write fails. Uploads that are still running then may finish in the background (`tail`).

Every share is written down as planned before its first byte leaves.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from fieldstone.errors import Retryable
from fieldstone.services.storage.codes.stripes import Layout
from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.nodes import NodeProblem, Nodes, time_limit_s
from fieldstone.services.storage.pool.placement import Placement
from fieldstone.services.storage.pool.profile import Profile
from fieldstone.services.storage.pool.segments import Share
from fieldstone.services.storage.pool.wire import Blocks

GRACE = 0.25  # part of the time so far that the last ones get once enough are there
SHORTEST_GRACE_S, LONGEST_GRACE_S = 0.05, 0.5
SLOW = 3.0  # times as long as the median of those done: a replacement starts
LEAST_USUAL_S = 0.1  # a median below counts as this
TAIL_S = 10.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """A share that is held: where, under which commitment, and the signed message that says so."""

    share: Share
    node: Node
    leaf_bytes: int
    root: bytes
    message: bytes


class NotStored(Retryable):
    """Too few nodes took their share. `have` receipts of `need`; `problems`: what the nodes said, newest last."""

    def __init__(self, have: int, need: int, problems: Sequence[NodeProblem]) -> None:
        self.have, self.need, self.problems = have, need, tuple(problems)
        last = f" Last problem: {problems[-1]}" if problems else ""
        super().__init__(f"{have} shares of a segment were stored, {need} are needed: try again later.{last}")


class Coded(Protocol):
    """Shares that can be sent: a segment being coded, or shares that repair has regenerated."""

    layout: Layout

    @property
    def is_whole(self) -> bool: ...

    def blocks(self, number: int) -> Blocks: ...

    def root(self, number: int, leaf_bytes: int) -> bytes: ...


class Upload:
    """The upload of one segment. `plan` writes further shares down before they are sent to."""

    def __init__(
        self,
        nodes: Nodes,
        coded: Coded,
        profile: Profile,
        placement: Placement,
        plan: Callable[[Sequence[Share]], Awaitable[None]],
    ) -> None:
        self._nodes = nodes
        self._coded = coded
        self._profile = profile
        self._plan = plan
        self._size_bytes = coded.layout.share_bytes
        self._spares = list(placement.spares)
        self._running: dict[asyncio.Task[Receipt], Share] = {}
        self._attempts: Counter[int] = Counter()  # of them by the share's number
        self._done: asyncio.Queue[asyncio.Task[Receipt]] = asyncio.Queue()
        self._nodes_by_did: dict[str, Node] = {}
        self._began: dict[int, float] = {}
        self._took: list[float] = []
        self.first = [
            (self._share(index, node), node) for index, node in zip(placement.indexes, placement.nodes, strict=True)
        ]
        self.receipts: dict[int, Receipt] = {}
        self.problems: list[NodeProblem] = []
        self.failed: list[Share] = []  # planned, but not held: the sweeper's

    @property
    def waiting(self) -> set[int]:
        """Numbers of the shares that are not held yet."""
        return {share.number for share, _ in self.first} - self.receipts.keys()

    @property
    def is_running(self) -> bool:
        """Whether uploads are under way."""
        return bool(self._running)

    def start(self) -> None:
        """Begin to send, once; the blocks follow as they are coded."""
        if self._nodes_by_did:
            return
        for share, node in self.first:
            self._send(share, node)

    async def enough(self, *, need: int, goal: int) -> dict[int, Receipt]:
        """Wait for `goal` receipts, or for `need` when no more can come; return those that are there.

        To be called when all is coded: from now on the nodes have `time_limit_s`. Raises NotStored when fewer than
        `need` can be had.
        """
        began = time.monotonic()
        limit = began + time_limit_s(self._size_bytes)
        while len(self.receipts) < goal and self._running:
            left_s = limit - time.monotonic()
            if left_s <= 0:
                self._time_out()
                break
            patience_s = self._patience()
            await self._next(left_s if patience_s is None else min(patience_s, left_s))
        if len(self.receipts) < need:
            self.cancel()
            raise NotStored(len(self.receipts), need, self.problems)
        grace_s = min(LONGEST_GRACE_S, max(SHORTEST_GRACE_S, GRACE * (time.monotonic() - began)))
        deadline = time.monotonic() + grace_s
        while self.waiting and self._running and (left := deadline - time.monotonic()) > 0:
            await self._next(left)
        return dict(self.receipts)

    async def tail(self, most_s: float = TAIL_S) -> dict[int, Receipt]:
        """Let the rest finish for a while; return what has come since. Nothing runs any more afterwards."""
        before = set(self.receipts)
        deadline = time.monotonic() + most_s
        while self.waiting and self._running and (left := deadline - time.monotonic()) > 0:
            await self._next(left)
        await self.stop()
        return {number: receipt for number, receipt in self.receipts.items() if number not in before}

    async def stop(self) -> None:
        """Cancel what runs and wait until it has let go of the segment's memory."""
        running = list(self._running)
        self.cancel()
        for task in running:
            with suppress(BaseException):
                await task

    def cancel(self) -> None:
        """Cancel what runs."""
        for task, share in self._running.items():
            task.cancel()
            self.failed.append(share)
        self._running.clear()
        self._attempts.clear()

    # ---- one share ----

    def _share(self, number: int, node: Node) -> Share:
        return Share(os.urandom(16), number, node.did, self._size_bytes)

    def _send(self, share: Share, node: Node) -> None:
        self._began[share.number] = time.monotonic()  # of the newest attempt: a spare node may be slow too
        self._nodes_by_did[node.did] = node
        task = asyncio.create_task(self._store(share, node))
        self._running[task] = share
        self._attempts[share.number] += 1
        task.add_done_callback(self._done.put_nowait)

    async def _store(self, share: Share, node: Node) -> Receipt:
        held = await self._nodes.put(node, share.id, share.size_bytes, lambda: self._coded.blocks(share.number))
        expected = self._coded.root(share.number, held.receipt.leaf_bytes)
        if held.receipt.root != expected:
            raise self._nodes.bad_receipt(node, "its receipt commits to other bytes than it was sent")
        return Receipt(share, node, held.receipt.leaf_bytes, expected, held.message)

    async def _next(self, wait_s: float | None) -> None:
        """Wait for the next upload to end; replace it when it failed, and slow ones when `wait_s` has passed."""
        try:
            async with asyncio.timeout(wait_s):
                task = await self._done.get()
        except TimeoutError:
            await self._hedge()
            return
        share = self._running.pop(task, None)
        if share is None:  # cancelled as the slower of two
            return
        self._attempts[share.number] -= 1
        try:
            receipt = task.result()
        except NodeProblem as problem:
            self.problems.append(problem)
            self.failed.append(share)
            if share.number not in self.receipts and not self._is_running(share.number):
                await self._replace(share.number)
            return
        if share.number in self.receipts:
            self.failed.append(share)
            return
        self.receipts[share.number] = receipt
        self._took.append(time.monotonic() - self._began[share.number])
        if not self._is_running(share.number):
            return
        for other, twin in list(self._running.items()):
            if twin.number == share.number:
                other.cancel()
                self.failed.append(twin)
                del self._running[other]
        self._attempts[share.number] = 0

    def _time_out(self) -> None:
        for share in self._running.values():
            node = self._nodes_by_did[share.device]
            self.problems.append(self._nodes.timed_out(node, "it did not take a share in time"))
        self.cancel()

    def _is_running(self, number: int) -> bool:
        return self._attempts[number] > 0

    async def _replace(self, number: int) -> None:
        if not self._spares:
            return
        node = self._spares.pop(0)
        share = self._share(number, node)
        await self._plan([share])
        self._send(share, node)

    def _patience(self) -> float | None:
        """Return for how long to wait before slow uploads are doubled; None: too few are done to know what slow is."""
        if not self._spares or len(self._took) < self._profile.k or not self._coded.is_whole:
            return None
        oldest = min((self._began[number] for number in self.waiting if self._is_running(number)), default=None)
        if oldest is None:
            return None
        return max(0.01, oldest + self._slow_s() - time.monotonic())

    def _slow_s(self) -> float:
        return SLOW * max(sorted(self._took)[len(self._took) // 2], LEAST_USUAL_S)

    async def _hedge(self) -> None:
        if not self._took:
            return
        before = time.monotonic() - self._slow_s()
        for number in sorted(self.waiting):
            if self._spares and self._is_running(number) and self._began[number] <= before:
                await self._replace(number)
