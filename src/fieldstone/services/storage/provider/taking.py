"""A store request from order to receipt. A thread does all of it where the body can be read straight from the socket.

The event loop hears of such a request twice, when it came and when it is answered: three threads that hand a share on to
each other, each waking the next while it still holds the interpreter's lock, cost as much as the signatures.
"""

from __future__ import annotations

import asyncio
import mmap
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from fieldstone.identity.keys import Signer
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.incoming import Incoming
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.metrics import Metrics
from fieldstone.services.storage.provider.orders import Order
from fieldstone.services.storage.provider.refusals import refuse
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.records import RECEIPT, ShareReceipt

_PIECE_BYTES = 4_194_304
_STRAIGHT_BYTES = 2_097_152  # at a time: fewer wake-ups and writes, and still the disk begins before the last byte came
_SPARE_BYTES = 262_144  # behind a piece: room for the trailer, so that it goes out in the same write
_SLOWEST_BYTES_S = 32_768
_PATIENCE_S = 15.0


class Body(Protocol):
    """A request's body, read piece by piece."""

    async def fill(self, view: memoryview) -> None:
        """Fill all of `view`. Raises Gone when the client leaves or the body is shorter."""
        ...


class Straight(Protocol):
    """A body that a thread can read from the socket itself."""

    def receive(self, view: memoryview, patience_s: float) -> None:
        """Fill all of `view`, from a thread. Raises Gone, TimeoutError."""
        ...

    def received(self) -> None:
        """End what `receive` began."""
        ...

    def stop(self) -> None:
        """Make `receive` raise at once, from another thread; the connection is lost."""
        ...


class Gone(Exception):
    """The client went away."""


@dataclass(frozen=True, slots=True)
class Coming:
    """A store that was admitted: share `share` of `length` bytes by `order`."""

    share: bytes
    order: Order
    length: int


class Buffers:
    """Page-aligned memory, as writing and reading past the page cache want it. From any thread."""

    def __init__(self) -> None:
        self.spare: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """Return memory; `give_back` it when nobody looks at it any more."""
        try:
            return self.spare.pop()
        except IndexError:
            return mmap.mmap(-1, _PIECE_BYTES + _SPARE_BYTES)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Keep memory for the next who needs it: mapping it anew costs more than what is done in it."""
        self.spare.append(buffer)


class Taking:
    """Takes admitted shares in."""

    def __init__(
        self,
        store: Store,
        key: Signer,
        metrics: Metrics,
        buffers: Buffers,
        threads: ThreadPoolExecutor,
        most_pieces: int,
    ) -> None:
        """`threads` serve bodies that come through an event loop; straight ones have `most_pieces` of their own."""
        self._store, self._key, self._metrics = store, key, metrics
        self._buffers = buffers
        self._threads = threads
        self._receivers = ThreadPoolExecutor(most_pieces, thread_name_prefix="receive")
        self._pieces = asyncio.Semaphore(most_pieces)
        self._straight: set[Straight] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Break off what still comes and wait for the threads: they must let go of their sockets."""
        with self._lock:
            self._is_closed = True
            for body in self._straight:
                body.stop()
        self._receivers.shutdown()

    # straight from the socket

    def receive(self, coming: Coming, body: Straight) -> Future[bytes]:
        """Take a share in a thread; the future gives the signed receipt, or Rejected or Gone."""
        return self._receivers.submit(self._receive, coming, body)

    def _receive(self, coming: Coming, body: Straight) -> bytes:
        started_s = time.perf_counter()
        with self._lock:
            if self._is_closed:
                raise Gone
            self._straight.add(body)
        try:
            incoming = self._begin(coming)
            try:
                row = self._read(incoming, body, coming)
            finally:
                incoming.abort()
        finally:
            with self._lock:
                self._straight.discard(body)
            body.received()
        return self._receipt(row, coming, started_s)

    def _read(self, incoming: Incoming, body: Straight, coming: Coming) -> Row:
        buffer, left = self._buffers.take(), coming.length
        view = memoryview(buffer)
        try:
            while True:
                size = min(left, _STRAIGHT_BYTES)
                body.receive(view[:size], _PATIENCE_S + size / _SLOWEST_BYTES_S)
                left -= size
                if not left:
                    return incoming.finish(view, size)
                incoming.take(view[:size])
        except TimeoutError:
            raise refuse("TOO_SLOW", coming.share.hex()) from None
        finally:
            self._buffers.give_back(buffer)

    # through the event loop

    async def take(self, coming: Coming, body: Body) -> bytes:
        """Take a share; return the signed receipt. Raises Rejected, Gone."""
        started_s = time.perf_counter()
        incoming = self._begin(coming)
        try:
            row = await self._take_pieces(incoming, body, coming)
        finally:
            incoming.abort()
        return self._receipt(row, coming, started_s)

    async def _take_pieces(self, incoming: Incoming, body: Body, coming: Coming) -> Row:
        loop, left = asyncio.get_running_loop(), coming.length
        while True:
            async with self._pieces:
                buffer = self._buffers.take()
                view, size = memoryview(buffer), min(left, _PIECE_BYTES)
                await _in_time(body.fill(view[:size]), size, coming.share.hex())
                left -= size
                row = await loop.run_in_executor(self._threads, _take, incoming, view, size, left == 0)
                self._buffers.give_back(buffer)  # not after a failure: a thread may still look at it
            if row is not None:
                return row

    # both

    def _begin(self, coming: Coming) -> Incoming:
        order = coming.order
        return self._store.begin(coming.share, order.record.gateway, coming.length, order.digest)

    def _receipt(self, row: Row, coming: Coming, started_s: float) -> bytes:
        receipt = ShareReceipt(
            share=row.share, provider=coming.order.record.provider, gateway=row.gateway, size_bytes=row.size_bytes,
            leaf_bytes=row.leaf_bytes, root=row.root, stored_ms=row.stored_ms,
        )  # fmt: skip
        self._metrics.stored(coming.length, time.perf_counter() - started_s)
        return records.sign(self._key, receipt, RECEIPT)


def _take(incoming: Incoming, view: memoryview, size: int, is_last: bool) -> Row | None:
    if is_last:
        return incoming.finish(view, size)
    incoming.take(view[:size])
    return None


async def _in_time(work: Any, size: int, name: str) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S + size / _SLOWEST_BYTES_S):
            await work
    except TimeoutError:
        raise refuse("TOO_SLOW", name) from None
