"""Group commit: many submissions, one fsync, one signature; the event loop never waits for the disk.

A single thread takes everything that is waiting, runs its preparations in order, appends all entries in one
transaction, signs one statement, and hands the receipts back with one call into the event loop. Under load the groups
grow by themselves, because whatever arrives during an fsync waits for the next one; `interval_ms` adds a wait for slow
disks. A queue that is full refuses at once (Retryable): memory stays bounded and the sender keeps the message.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from fieldstone.errors import FieldstoneError, Retryable, Terminal
from fieldstone.identity.keys import DeviceKey
from fieldstone.journal.entries import NewEntry
from fieldstone.journal.log import Journal
from fieldstone.journal.receipts import Receipt, SignedCommit

_RECOVER_EVERY_S = 1.0
_HOUSEKEEP_EVERY_S = 1.0

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """Something that turns into entries at the moment of its commit. All calls are made in the commit thread.

    `prepare` of every work in the group comes first, then the fsync, then `finish` of each, or `abandon` of each.
    """

    def prepare(self, received_ms: int) -> Sequence[NewEntry]:
        """Return the entries to write; none: nothing is written for this work. Must change no lasting state.

        `received_ms` is the time that the entries will carry.
        """
        ...

    def abandon(self) -> None:
        """Forget what `prepare` noted: the commit failed, nothing of it counts."""
        ...

    def finish(self, signed: SignedCommit | None, offset: int) -> T_co:
        """Return the submitter's answer. The entries are the commit's from index `offset`; None: there were none."""
        ...


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Work[T]
    future: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop
    size: int
    entries: Sequence[NewEntry] = ()
    error: BaseException | None = None
    answer: T | None = None


@dataclass(slots=True)
class CommitStats:
    """What the metrics page shows; `observe` gets (entries, seconds) of each commit, in the commit thread."""

    commits: int = 0
    entries: int = 0
    failures: int = 0
    observe: Callable[[int, float], None] = field(default=lambda entries, seconds: None)


class GroupCommit:
    """The commit thread in front of a journal. Start it once, `close` it once; submit from any event loop."""

    def __init__(
        self,
        journal: Journal,
        network_key: DeviceKey,
        *,
        network_id: str,
        interval_ms: int = 0,
        max_batch: int = 10_000,
        max_queue: int = 50_000,
    ) -> None:
        """`max_batch` and `max_queue` count entries (work counts with its `size`)."""
        self.journal = journal
        self.network_key = network_key
        self.network_id = network_id
        self.stats = CommitStats()
        self._interval_s = interval_ms / 1000
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue: deque[_Job] = deque()  # type: ignore[type-arg]
        self._queued = 0
        self._wake = threading.Condition()
        self._closing = False
        self._recover_at = 0.0
        self._housekeep_at = 0.0
        self._housekeeping: list[Callable[[], None]] = [journal.flush_rejections]
        self._thread = threading.Thread(target=self._run, name="fieldstone-commit", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Entries waiting for a commit."""
        return self._queued

    def every_second(self, action: Callable[[], None]) -> None:
        """Run `action` in the commit thread about once a second while idle or between commits."""
        self._housekeeping.append(action)

    async def submit(self, entries: Sequence[NewEntry]) -> list[Receipt]:
        """Make `entries` durable, in one transaction, and return their receipts in order.

        Raises Retryable when they are not durable: full queue, failed disk, closing.
        """
        if not entries:
            return []
        return await self.submit_work(_Plain(entries), len(entries))

    async def submit_work(self, work: Work[T], size: int = 1) -> T:
        """Run `work` in the next group commit and return its answer. Raises Retryable, or what `work` raises."""
        return await self.enqueue(work, size)

    def enqueue(self, work: Work[T], size: int = 1) -> asyncio.Future[T]:
        """Put `work` in line and return its future answer; call it from a running event loop. Raises Retryable."""
        loop = asyncio.get_running_loop()
        job: _Job[T] = _Job(work, loop.create_future(), loop, max(size, 1))
        with self._wake:
            if self._closing:
                raise Retryable("the journal is closing; send again when the network is back")
            if self._queued + job.size > self._max_queue and self._queued:
                raise Retryable(f"{self._queued} entries wait for the disk; send again later")
            self._queue.append(job)
            self._queued += job.size
            if len(self._queue) == 1:
                self._wake.notify()
        return job.future

    def close(self) -> None:
        """Commit what is waiting, then stop the thread. The journal stays open."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def receipt_at(self, position: int) -> Receipt | None:
        """Make the receipt of an older entry again, for a device whose answer was lost; None when there is no entry."""
        commit = self.journal.commit_of(position)
        if commit is None:
            return None
        return SignedCommit(self.network_id, commit, self.network_key).receipt(position - commit.first)

    # -- the commit thread

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._closing:
                    self._wake.wait(timeout=_HOUSEKEEP_EVERY_S)
                if not self._queue and self._closing:
                    break
            if self._queue and self._interval_s and self._queued < self._max_batch and not self._closing:
                time.sleep(self._interval_s)
            jobs = self._take()
            if jobs:
                self._commit(jobs)
                self._answer(jobs)
            self._housekeep()
        self._housekeep(force=True)

    def _take(self) -> list[_Job]:  # type: ignore[type-arg]
        jobs: list[_Job] = []  # type: ignore[type-arg]
        with self._wake:
            size = 0
            while self._queue and (not jobs or size + self._queue[0].size <= self._max_batch):
                jobs.append(self._queue.popleft())
                size += jobs[-1].size
            self._queued -= size
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:  # type: ignore[type-arg]
        if not self.journal.healthy and not self._try_recover():
            self._fail(jobs, Retryable(f"the journal is not healthy: {self.journal.failure}"))
            return
        with self.journal.exclusive() as received_ms:
            signed = self._append(jobs, received_ms)
        offset = 0
        for job in jobs:
            if job.error is None:
                try:
                    job.answer = job.work.finish(signed if job.entries else None, offset)
                except Exception as error:
                    job.error = error
            offset += len(job.entries)

    def _append(self, jobs: list[_Job], received_ms: int) -> SignedCommit | None:  # type: ignore[type-arg]
        entries: list[NewEntry] = []
        for job in jobs:
            try:
                job.entries = job.work.prepare(received_ms)
                entries.extend(job.entries)
            except Exception as error:
                job.error = error
        if not entries:
            return None
        started = time.perf_counter()
        try:
            commit = self.journal.append(entries)
        except FieldstoneError as error:
            self.stats.failures += 1
            self._recover_at = time.monotonic() + _RECOVER_EVERY_S
            for job in reversed(jobs):  # the last change is taken back first
                if job.error is None:
                    job.work.abandon()
            self._fail(jobs, error)
            return None
        self.stats.commits += 1
        self.stats.entries += len(entries)
        self.stats.observe(len(entries), time.perf_counter() - started)
        return SignedCommit(self.network_id, commit, self.network_key)

    def _fail(self, jobs: list[_Job], error: Exception) -> None:  # type: ignore[type-arg]
        for job in jobs:
            if job.error is None:
                job.error = error

    def _answer(self, jobs: list[_Job]) -> None:  # type: ignore[type-arg]
        loops = {id(job.loop): job.loop for job in jobs}
        for key, loop in loops.items():
            mine = [job for job in jobs if id(job.loop) == key]
            try:
                loop.call_soon_threadsafe(_resolve, mine)
            except RuntimeError:
                continue  # that loop is closed: nobody waits any more, and the entries are durable all the same

    def _try_recover(self) -> bool:
        if time.monotonic() < self._recover_at:
            return False
        self._recover_at = time.monotonic() + _RECOVER_EVERY_S
        return self.journal.recover()

    def _housekeep(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if now < self._housekeep_at and not force:
            return
        self._housekeep_at = now + _HOUSEKEEP_EVERY_S
        if not self.journal.healthy:
            self._try_recover()
        for action in self._housekeeping:
            try:
                action()
            except (FieldstoneError, OSError):
                continue  # caches and counters: the next second tries again


@dataclass(slots=True)
class _Plain:
    """Entries that are ready as they are."""

    entries: Sequence[NewEntry]

    def prepare(self, received_ms: int) -> Sequence[NewEntry]:
        return self.entries

    def abandon(self) -> None:
        pass  # nothing was noted

    def finish(self, signed: SignedCommit | None, offset: int) -> list[Receipt]:
        if signed is None:
            raise Terminal("entries without a commit")
        return [signed.receipt(index) for index in range(offset, offset + len(self.entries))]


def _resolve(jobs: list[_Job]) -> None:  # type: ignore[type-arg]
    for job in jobs:
        if job.future.done():  # the sender hung up; what is durable stays durable
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.answer)
