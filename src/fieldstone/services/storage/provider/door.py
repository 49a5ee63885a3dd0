"""What a provider answers, without a server around it: `app` (ASGI) and `lane` (straight from the socket) both ask here."""

from __future__ import annotations

import asyncio
import base64
import mmap
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

import msgspec
from blake3 import blake3

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import Signer
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.incoming import Incoming
from fieldstone.services.storage.provider.index import Row
from fieldstone.services.storage.provider.metrics import Metrics
from fieldstone.services.storage.provider.orders import Gate, Gateways, LooksUp, Order, challenge_subject
from fieldstone.services.storage.provider.reading import OpenShare
from fieldstone.services.storage.provider.refusals import refuse
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.provider.vouchers import Vouchers
from fieldstone.services.storage.records import RECEIPT, Hash, LiveReceipt, ProofSet, ShareReceipt, live_purpose

CAPACITY = b"fieldstone/storage/capacity/v1\0"
MOST_CHALLENGES = 5_000
LARGEST_CHALLENGE = 262_144

_PIECE_BYTES = 4_194_304
_STRAIGHT_BYTES = 1_048_576  # that are hashed while the cache has them, and written while more come
_SPARE_BYTES = 262_144  # behind a piece: room for the trailer, so that it goes out in the same write
_SLOWEST_BYTES_S = 32_768
_PATIENCE_S = 15.0

T = TypeVar("T")


class Body(Protocol):
    """A request's body, read piece by piece."""

    async def fill(self, view: memoryview) -> None:
        """Fill all of `view`. Raises Gone when the client leaves or the body is shorter."""
        ...


class Straight(Body, Protocol):
    """A body that a thread can read from the socket itself."""

    @property
    def is_long(self) -> bool:
        """Whether that pays."""
        ...

    def receive(self, view: memoryview, patience_s: float) -> None:
        """Fill all of `view`, from a thread. Raises Gone, TimeoutError."""
        ...

    def received(self) -> None:
        """End what `receive` began."""
        ...

    def stop(self) -> None:
        """Make `receive` raise at once; the connection is lost."""
        ...


class Gone(Exception):
    """The client went away."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes start … end of an open file; whoever sends them closes it. `again`: they went out lately, caching pays."""

    opened: OpenShare
    start: int
    end: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A read that was admitted: `Door.hand_out` gives the answer, `check` comes first where it `needs_check`."""

    order: Order
    opened: OpenShare
    start: int
    end: int
    needs_check: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. Either `body` or `file`."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    file: FileRange | None = None


class CapacityStatement(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What a provider says about itself, signed for CAPACITY. Bytes; `at_ms`: Unix ms."""

    provider: str
    at_ms: int
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    shares: int
    bad: int
    lost: int


class _Challenge(msgspec.Struct, array_like=True, frozen=True):
    seed: Hash
    asked: list[tuple[records.ShareId, records.NotNegative]]


class Door:
    """One provider's answers."""

    def __init__(
        self,
        store: Store,
        key: Signer,
        gateways: Gateways,
        *,
        largest_share_bytes: int = 268_435_456,
        threads: int = 4,
        most_pieces: int = 16,
        metrics: Metrics | None = None,
    ) -> None:
        """`most_pieces`: 4 MiB each, of bodies in memory at a time; more uploads wait, and their senders with them."""
        self.store, self.key = store, key
        self.provider = key.public.device_id
        self.metrics = metrics or Metrics(store)
        self.vouchers = Vouchers(store.index, store.committer)
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="disk")
        self._gate = Gate(self.provider, gateways, store.clock)
        self._gateways = gateways
        self._largest = largest_share_bytes
        self._receivers = ThreadPoolExecutor(most_pieces, thread_name_prefix="receive")
        self._pieces = asyncio.Semaphore(most_pieces)
        self._spare: list[mmap.mmap] = []  # page-aligned, as writing and reading past the page cache want it
        self._challenging = asyncio.Semaphore(2)
        self._challenge_wait = 0
        self._capacity: tuple[float, Answer] = (-1.0, Answer(500))

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do work that touches the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)

    def close(self) -> None:
        """Wait for the threads. The store is closed by whoever opened it."""
        self._receivers.shutdown()
        self.threads.shutdown()

    def buffer(self) -> mmap.mmap:
        """Return page-aligned memory; `give_back` it when nobody looks at it any more. From any thread."""
        try:
            return self._spare.pop()
        except IndexError:
            return mmap.mmap(-1, _PIECE_BYTES + _SPARE_BYTES)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Keep memory for the next who needs it: mapping it anew costs more than what is done in it."""
        self._spare.append(buffer)

    async def _admit(
        self, authorization: bytes | None, operation: Literal["put", "get", "delete"], share: bytes
    ) -> Order:
        """Check an order; ask the network about a gateway that enrolled a moment ago. Raises Rejected."""
        try:
            return self._gate.admit(authorization, operation, share)
        except Rejected as error:
            if error.reason.code != "UNKNOWN_GATEWAY" or not isinstance(self._gateways, LooksUp):
                raise
            if not await asyncio.to_thread(self._gateways.look_up, error.subject):
                raise
        return self._gate.admit(authorization, operation, share)

    async def put(self, name: str, authorization: bytes | None, length: int | None, body: Body) -> Answer:
        """Store a share; the answer is the signed receipt. Raises Rejected, Gone."""
        started_s = time.perf_counter()
        share = share_id(name)
        order = await self._admit(authorization, "put", share)
        if length is None:
            raise refuse("LENGTH_NEEDED", name)
        if length > self._largest:
            raise refuse("SHARE_TOO_LARGE", name, f"{length} bytes, taken are up to {self._largest}")
        if length == 0 or order.record.end not in (0, order.record.start + length):
            raise refuse("WRONG_LENGTH", name, f"{length} bytes announced")
        incoming = self.store.begin(share, order.record.gateway, length, order.digest)
        try:
            if getattr(body, "is_long", False):  # a Straight: asking for the protocol itself takes 30 µs
                future = await self._take_straight(incoming, cast(Straight, body), length, name)
            else:
                future = await self._take_pieces(incoming, body, length, name)
            row = await asyncio.wrap_future(future)
        finally:
            incoming.abort()
        receipt = ShareReceipt(
            share=share, provider=self.provider, gateway=row.gateway, size_bytes=row.size_bytes,
            leaf_bytes=row.leaf_bytes, root=row.root, stored_ms=row.stored_ms,
        )  # fmt: skip
        self.metrics.stored(length, time.perf_counter() - started_s)
        return Answer(201, records.sign(self.key, receipt, RECEIPT), "application/cose")

    async def _take_pieces(self, incoming: Incoming, body: Body, left: int, name: str) -> Future[Row]:
        while True:
            async with self._pieces:
                buffer = self.buffer()
                view, size = memoryview(buffer), min(left, _PIECE_BYTES)
                await _in_time(body.fill(view[:size]), size, name)
                left -= size
                future = await self.run(_take, incoming, view, size, left == 0)
                self.give_back(buffer)  # not after a failure: a thread may still look at it
            if future is not None:
                return future

    async def _take_straight(self, incoming: Incoming, body: Straight, length: int, name: str) -> Future[Row]:
        async with self._pieces:
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._receivers, self._receive, incoming, body, length, name)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                body.stop()  # the thread must let go of the socket before that is closed
                await asyncio.gather(work, return_exceptions=True)
                raise

    def _receive(self, incoming: Incoming, body: Straight, left: int, name: str) -> Future[Row]:
        """Read, hash and write a body piece by piece; in a thread of its own, which a slow sender holds up."""
        buffer = self.buffer()
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
            raise refuse("TOO_SLOW", name) from None
        finally:
            body.received()
            self.give_back(buffer)

    async def get(self, name: str, authorization: bytes | None) -> Answer:
        """Open the bytes that the order names. Raises Rejected."""
        asked = self.ask(name, authorization)
        if asked.needs_check:
            try:
                await self.run(self.store.check, asked.opened, asked.start, asked.end)
            except BaseException:
                asked.opened.close()
                raise
        return self.hand_out(asked)

    def ask(self, name: str, authorization: bytes | None) -> Asked:
        """Admit a read and open the share; whoever does not go on closes it. Raises Rejected."""
        share = share_id(name)
        order = self._gate.admit(authorization, "get", share)
        start, end = order.record.start, order.record.end
        opened = self.store.open(share)
        try:
            if not start < end <= opened.row.size_bytes:
                raise refuse("BAD_RANGE", name, f"bytes {start} … {end} of {opened.row.size_bytes}")
            return Asked(order, opened, start, end, opened.needs_check(start, end, self.store.clock.now_ms()))
        except BaseException:
            opened.close()
            raise

    def hand_out(self, asked: Asked) -> Answer:
        """Take the order's voucher and return the answer. Raises Rejected; then the share is closed."""
        opened, start, end = asked.opened, asked.start, asked.end
        try:
            self.vouchers.take(asked.order, end - start)
        except BaseException:
            opened.close()
            raise
        self.metrics.served(end - start)
        size = opened.row.size_bytes
        headers = () if end - start == size else (("content-range", f"bytes {start}-{end - 1}/{size}"),)
        file = FileRange(opened, start, end, opened.note_read(start, end))
        return Answer(206 if headers else 200, b"", "application/octet-stream", headers, file)

    async def delete(self, name: str, authorization: bytes | None) -> Answer:
        """Forget a share. Raises Rejected."""
        share = share_id(name)
        order = await self._admit(authorization, "delete", share)
        await asyncio.wrap_future(self.store.delete(share, order.record.gateway, order.digest, order.message))
        return Answer(204)

    async def challenge(self, authorization: bytes | None, body: bytes) -> Answer:
        """Prove leaves at once: COSE over a ProofSet (number 0), signed for `live_purpose(seed)`. Raises Rejected.

        The order is one to `get` `challenge_subject(body)`, of no bytes.
        """
        await self._admit(authorization, "get", challenge_subject(body))
        try:
            challenge = msgspec.msgpack.decode(body, type=_Challenge)
        except msgspec.DecodeError as error:
            raise refuse("BAD_CHALLENGE", "", str(error)) from None
        if len(challenge.asked) > MOST_CHALLENGES:
            raise refuse("BAD_CHALLENGE", "", f"{len(challenge.asked)} leaves, at most {MOST_CHALLENGES}")
        if self._challenge_wait >= 4:
            raise refuse("TOO_MANY", "", "challenges wait already")
        self._challenge_wait += 1
        try:
            async with self._challenging:
                proofs = await self.run(self.store.prove_all, challenge.asked)
        finally:
            self._challenge_wait -= 1
        self.metrics.challenged(len(challenge.asked), len(proofs))
        record = records.encode(ProofSet(number=0, proofs=tuple(proofs)))
        said = LiveReceipt(provider=self.provider, seed=challenge.seed, proofs=blake3(record).digest())
        receipt = base64.urlsafe_b64encode(records.sign(self.key, said, records.LIVE_RECEIPT)).rstrip(b"=").decode()
        signed = cose.sign(self.key, record, live_purpose(challenge.seed))
        return Answer(200, signed, "application/cose", ((records.LIVE_HEADER, receipt),))

    def capacity(self) -> Answer:
        """Say what is free and used, as JSON and signed. Looked at once a second at most."""
        at_s, answer = self._capacity
        if 0 <= time.monotonic() - at_s < 1.0:
            return answer
        totals = self.store.totals()
        statement = CapacityStatement(
            provider=self.provider, at_ms=self.store.clock.now_ms(), capacity_bytes=self.store.capacity_bytes,
            used_bytes=self.store.used_bytes, free_bytes=self.store.free_bytes(), shares=totals.shares,
            bad=totals.bad, lost=totals.lost,
        )  # fmt: skip
        signed = cose.sign(self.key, msgspec.msgpack.encode(statement), CAPACITY)
        facts: dict[str, Any] = {name: getattr(statement, name) for name in statement.__struct_fields__}
        facts["signed"] = base64.urlsafe_b64encode(signed).decode("ascii").rstrip("=")
        answer = Answer(200, msgspec.json.encode(facts))
        self._capacity = time.monotonic(), answer
        return answer

    def problem(self, error: Rejected) -> Answer:
        """Turn a refusal into an answer; one of a voucher says where to count on from."""
        reason = error.reason
        self.metrics.refused(reason.code)
        body: dict[str, Any] = {"code": reason.code, "detail": error.detail, "remedy": reason.remedy}
        if reason.code == "VOUCHER_TOO_LOW":
            body["egress_bytes"] = self.vouchers.newest(error.subject)
        headers = (("retry-after", "2"),) if reason.http_status in (429, 503) else ()
        return Answer(reason.http_status, msgspec.json.encode(body), headers=headers)


def share_id(name: str) -> bytes:
    """Read a share id from an address. Raises Rejected BAD_SHARE_ID: nothing else ever becomes part of a path."""
    if len(name) != 32 or not name.isascii() or name.strip("0123456789abcdef"):
        raise refuse("BAD_SHARE_ID", name[:64])
    return bytes.fromhex(name)


def send_pieces(file: FileRange, piece_bytes: int) -> list[tuple[int, int]]:
    """Cut a range into (offset, length)."""
    return [(at, min(piece_bytes, file.end - at)) for at in range(file.start, file.end, piece_bytes)]


def read_piece(file: FileRange, offset: int, length: int) -> bytes:
    """Read a piece of an open file. Raises OSError when it ends early."""
    data = os.pread(file.opened.fd, length, offset)
    if len(data) != length:
        raise OSError(f"the file ended before byte {offset + length}")
    return data


def _take(incoming: Incoming, view: memoryview, size: int, is_last: bool) -> Future[Row] | None:
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
