"""What a provider answers, without a server around it: `app` (ASGI) and `lane` (straight from the socket) both ask here."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
from blake3 import blake3

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.keys import Signer
from fieldstone.services.storage import records
from fieldstone.services.storage.provider.metrics import Metrics
from fieldstone.services.storage.provider.orders import Gate, Gateways, LooksUp, Order, challenge_subject
from fieldstone.services.storage.provider.reading import OpenShare
from fieldstone.services.storage.provider.refusals import refuse, refusing
from fieldstone.services.storage.provider.store import Store
from fieldstone.services.storage.provider.taking import Body, Buffers, Coming, Taking
from fieldstone.services.storage.provider.turns import Turns
from fieldstone.services.storage.provider.vouchers import Vouchers
from fieldstone.services.storage.records import Hash, LiveReceipt, ProofSet, live_purpose

CAPACITY = b"fieldstone/storage/capacity/v1\0"
MOST_CHALLENGES = 5_000
LARGEST_CHALLENGE = 262_144

T = TypeVar("T")


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
        """`most_pieces`: 4 MiB each, of bodies in memory at a time, and as many read straight from sockets; more uploads
        wait, and their senders with them."""
        self.store, self.key = store, key
        self.provider = key.public.device_id
        self.metrics = metrics = metrics or Metrics(store)
        self.vouchers = Vouchers(store.index, store.committer)
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="disk")
        self._gate = Gate(self.provider, gateways, store.clock)
        self._gateways = gateways
        self._largest = largest_share_bytes
        self.buffers = Buffers()
        self.taking = Taking(store, key, metrics, self.buffers, self.threads, most_pieces)
        self.turns = Turns(most_pieces)
        self._challenging = asyncio.Semaphore(2)
        self._challenge_wait = 0
        self._told: dict[str, tuple[float, Answer]] = {}  # what anybody may ask for, made once a second at most
        self._telling = asyncio.Lock()

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do work that touches the disk in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *args)

    def close(self) -> None:
        """Wait for the threads. The store is closed by whoever opened it."""
        self.taking.close()
        self.threads.shutdown()

    async def _admit(
        self, authorization: bytes | None, operation: Literal["put", "get", "delete"], share: bytes
    ) -> Order:
        """Check an order; ask the network about a gateway that enrolled a moment ago. Raises Rejected."""
        try:
            return self._gate.admit(authorization, operation, share)
        except Rejected as error:
            await self._look_up(error)
        return self._gate.admit(authorization, operation, share)

    async def _look_up(self, error: Rejected) -> None:
        """Raise an order's refusal, unless it was for a gateway that the network knows by now."""
        if error.reason.code != "UNKNOWN_GATEWAY" or not isinstance(self._gateways, LooksUp):
            raise error
        if not await asyncio.to_thread(self._gateways.look_up, error.subject):
            raise error

    def expect(self, name: str, authorization: bytes | None, length: int | None) -> Coming:
        """Admit a store; `taking` does the rest. Raises Rejected."""
        share = share_id(name)
        order = self._gate.admit(authorization, "put", share)
        if length is None:
            raise refuse("LENGTH_NEEDED", name)
        if length > self._largest:
            raise refuse("SHARE_TOO_LARGE", name, f"{length} bytes, taken are up to {self._largest}")
        if length == 0 or order.record.end not in (0, order.record.start + length):
            raise refuse("WRONG_LENGTH", name, f"{length} bytes announced")
        return Coming(share, order, length)

    async def expect_stranger(
        self, error: Rejected, name: str, authorization: bytes | None, length: int | None
    ) -> Coming:
        """Admit a store that `expect` refused with `error`, if the network knows its gateway by now. Raises Rejected."""
        await self._look_up(error)
        return self.expect(name, authorization, length)

    async def put(self, name: str, authorization: bytes | None, length: int | None, body: Body) -> Answer:
        """Store a share; the answer is the signed receipt. Raises Rejected, Gone."""
        try:
            coming = self.expect(name, authorization, length)
        except Rejected as error:
            coming = await self.expect_stranger(error, name, authorization, length)
        return stored(await self.taking.take(coming, body))

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
        """Prove chunks at once: COSE over a ProofSet (number 0), signed for `live_purpose(seed)`. Raises Rejected.

        The order is one to `get` `challenge_subject(body)`, of no bytes.
        """
        await self._admit(authorization, "get", challenge_subject(body))
        try:
            challenge = msgspec.msgpack.decode(body, type=_Challenge)
        except msgspec.DecodeError as error:
            raise refuse("BAD_CHALLENGE", "", str(error)) from None
        if len(challenge.asked) > MOST_CHALLENGES:
            raise refuse("BAD_CHALLENGE", "", f"{len(challenge.asked)} chunks, at most {MOST_CHALLENGES}")
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

    async def capacity(self) -> Answer:
        """Say what is free and used, as JSON and signed."""
        return await self._tell("capacity", self._capacity)

    async def counts(self) -> Answer:
        """Say what Prometheus asks for."""
        return await self._tell("counts", self._counts)

    async def _tell(self, what: str, make: Callable[[], Answer]) -> Answer:
        """Answer whoever asks, one look at a time: nobody needs an order for it, and a look costs."""
        async with self._telling:
            at_s, answer = self._told.get(what, (-1e9, Answer(500)))
            if time.monotonic() - at_s >= 1.0:
                with refusing("capacity"):
                    answer = await self.run(make)
                self._told[what] = time.monotonic(), answer
            return answer

    def _counts(self) -> Answer:
        return Answer(200, self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    def _capacity(self) -> Answer:
        totals = self.store.totals_lately()
        statement = CapacityStatement(
            provider=self.provider, at_ms=self.store.clock.now_ms(), capacity_bytes=self.store.capacity_bytes,
            used_bytes=self.store.used_bytes, free_bytes=self.store.free_bytes(), shares=totals.shares,
            bad=totals.bad, lost=totals.lost,
        )  # fmt: skip
        signed = cose.sign(self.key, msgspec.msgpack.encode(statement), CAPACITY)
        facts: dict[str, Any] = {name: getattr(statement, name) for name in statement.__struct_fields__}
        facts["signed"] = base64.urlsafe_b64encode(signed).decode("ascii").rstrip("=")
        return Answer(200, msgspec.json.encode(facts))

    def problem(self, error: Rejected) -> Answer:
        """Turn a refusal into an answer; one of a voucher says where to count on from, one of a deleted share who ordered it."""
        reason = error.reason
        self.metrics.refused(reason.code)
        body: dict[str, Any] = {"code": reason.code, "detail": error.detail, "remedy": reason.remedy}
        if reason.code == "VOUCHER_TOO_LOW":
            body["egress_bytes"] = self.vouchers.newest(error.subject)
        if reason.code == "SHARE_DELETED":
            order = self.store.index.delete_order(bytes.fromhex(error.subject)) or b""
            body["order"] = base64.urlsafe_b64encode(order).decode("ascii").rstrip("=")
        headers = (("retry-after", "2"),) if reason.http_status in (429, 503) else ()
        return Answer(reason.http_status, msgspec.json.encode(body), headers=headers)


def stored(receipt: bytes) -> Answer:
    """Return the answer to a store."""
    return Answer(201, receipt, "application/cose")


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
