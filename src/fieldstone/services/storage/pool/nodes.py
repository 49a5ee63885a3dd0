"""The client of the providers' HTTP interface: signed orders out, share bytes and receipts back, and how each node does.

    PUT, GET, DELETE /v1/shares/{share hex}     GET /v1/capacity     POST /v1/challenge     GET /healthz

A node's failures are told apart (`NodeProblem.kind`), because only wrong bytes are fraud: offline and timeout may be a
broken line, refused a full disk, missing a loss that the provider admits.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import msgspec
from blake3 import blake3

from fieldstone.clock import Clock
from fieldstone.errors import Rejected, Retryable
from fieldstone.identity.keys import Signer
from fieldstone.services.storage import records
from fieldstone.services.storage.pool.directory import Node
from fieldstone.services.storage.pool.health import Health
from fieldstone.services.storage.pool.intake import Intake
from fieldstone.services.storage.pool.line import Line
from fieldstone.services.storage.pool.wire import Answer, Blocks, Sink, WireProblem

ORDER_LIFE_MS = 600_000
LEAST_TIME_S = 15.0
LEAST_BYTES_PER_S = 150_000  # slower than this is failed (reference 2.5)
LARGEST_PROOFS = 2_097_152  # of an answer to a live challenge
LEAST_LEAF_BYTES, MOST_LEAF_BYTES = 1_024, 2**20  # of a receipt: the network allows fewer (`leaf_bytes_allowed`)
NOT_HELD = ("SHARE_UNKNOWN", "SHARE_DELETED", "SHARE_DAMAGED")  # `provider.refusals`

Kind = Literal["offline", "timeout", "refused", "missing", "full", "broken", "bad_receipt"]


class NodeProblem(Retryable):
    """A node did not do what was asked. `kind` says how, `code` is the provider's own reason if it gave one.

    `egress_bytes`: with VOUCHER_TOO_LOW, the newest number that it says it has an order for. `order`: with SHARE_DELETED,
    the order to delete that it shows, not looked at yet (`Nodes.had_deleted`).
    """

    order: bytes = b""

    def __init__(self, node: Node, kind: Kind, message: str, code: str = "", egress_bytes: int | None = None) -> None:
        self.node, self.kind, self.code, self.egress_bytes = node, kind, code, egress_bytes
        super().__init__(f"node {node.url} ({node.did[-8:]}): {message}")


class Refusal(msgspec.Struct, frozen=True):
    """What a provider's error body may say."""

    code: str = ""
    detail: str = ""
    egress_bytes: int | None = None
    order: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A receipt that was checked: `message` as it was signed, `receipt` what it says."""

    message: bytes
    receipt: records.ShareReceipt


class Nodes:
    """All nodes this gateway talks to. `key` is the gateway's device key; `tls` for https addresses."""

    def __init__(self, key: Signer, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self._key = key
        self._clock = clock
        self._tls = tls
        self._lines: dict[str, Line] = {}  # by device: who moves leaves no connections behind
        self._intake = Intake()
        self._health: dict[str, Health] = {}
        self.gateway = key.public.device_id
        self._waiting: dict[str, asyncio.Event] = {}  # who wants to know of the next paid read, by node
        self.read_sizes: deque[int] = deque(maxlen=256)  # of the latest paid reads: secret test reads look like them

    def health(self, device: str) -> Health:
        """Return a node's record, a fresh one for a new node."""
        return self._health.setdefault(device, Health())

    async def put(self, node: Node, share: bytes, size_bytes: int, body: Callable[[], Blocks]) -> Held:
        """Store a share; return the node's receipt, its signature and fields checked but not yet the commitment.

        Raises NodeProblem. Takes as long as it takes: the caller sets a limit once all bytes are made.
        """
        order = self._order("put", node, share, end=size_bytes)
        answer = await self._ask(node, "PUT", share, order, size_bytes, length=size_bytes, body=body)
        try:
            receipt = records.open_signed(answer.body, records.ShareReceipt, node.did, records.RECEIPT)
        except Rejected as error:
            raise self._failed(node, "bad_receipt", f"its receipt is not one: {error}") from None
        claimed = (receipt.share, receipt.provider, receipt.gateway, receipt.size_bytes)
        if claimed != (share, node.did, self.gateway, size_bytes):
            raise self._failed(node, "bad_receipt", "its receipt is about something else than was sent")
        if not LEAST_LEAF_BYTES <= receipt.leaf_bytes <= MOST_LEAF_BYTES:
            # in leaves of a byte, the hash to compare it with would keep this gateway busy for a minute
            raise self._failed(node, "bad_receipt", f"its receipt is for leaves of {receipt.leaf_bytes} bytes")
        return Held(answer.body, receipt)

    async def get(
        self,
        node: Node,
        share: bytes,
        start: int,
        end: int,
        egress_bytes: int,
        sink: Sink,
        *,
        limited: bool = True,
        is_test: bool = False,
    ) -> None:
        """Read bytes `start` … `end` of a share into `sink`. `egress_bytes`: of `VoucherBook.order`. Raises NodeProblem.

        `limited` False: the caller looks after the time, because `sink` may keep the node waiting. `is_test`: no paid read;
        the node sees no difference.
        """
        if not is_test:
            self.read_sizes.append(end - start)
            if waiting := self._waiting.pop(node.did, None):
                waiting.set()
        order = self._order("get", node, share, start=start, end=end, egress_bytes=egress_bytes)
        answer = await self._ask(node, "GET", share, order, end - start, sink=sink, limited=limited)
        if answer.length != end - start:
            raise self._failed(node, "broken", f"it sent {answer.length} bytes of {end - start}")

    async def beside_a_read(self, device: str, patience_s: float) -> bool:
        """Wait until a paid read is sent to a node, or for `patience_s`; tell whether there was one."""
        event = self._waiting.setdefault(device, asyncio.Event())
        try:
            async with asyncio.timeout(patience_s):
                await event.wait()
                return True
        except TimeoutError:
            return False

    async def delete(self, node: Node, share: bytes) -> None:
        """Delete a share; one that the node does not hold counts as deleted, and is no failure. Raises NodeProblem."""
        await self._ask(node, "DELETE", share, self._order("delete", node, share), 0, may_lack=True)

    async def capacity(self, node: Node) -> bytes:
        """Return what the node says about its space, as it signed it. Raises NodeProblem."""
        return (await self._exchange(node, 0, "GET", "/v1/capacity")).body

    async def challenge(self, node: Node, body: bytes) -> bytes:
        """Ask a live challenge (msgpack [seed, [[share, first byte of a chunk], …]]); return the node's signed ProofSet.

        Raises NodeProblem.
        """
        return (await self.live(node, body))[0]

    async def live(self, node: Node, body: bytes) -> tuple[bytes, bytes, int]:
        """Ask a live challenge; return the signed ProofSet, the signed LiveReceipt and how many µs it took.

        Raises NodeProblem.
        """

        async def blocks() -> Blocks:
            yield (memoryview(body),)

        headers = (("authorization", self._order("get", node, blake3(body).digest()[:16])),)
        room = _Room(LARGEST_PROOFS)
        began = time.monotonic()
        try:
            async with asyncio.timeout(LEAST_TIME_S):
                answer = await self._exchange(
                    node, len(body), "POST", "/v1/challenge", headers, length=len(body), body=blocks, sink=room
                )
        except TimeoutError:
            raise self.timed_out(node, f"no answer to a challenge within {LEAST_TIME_S:.0f} s") from None
        took_us = int((time.monotonic() - began) * 1_000_000)
        text = answer.headers.get(records.LIVE_HEADER.encode(), b"")
        try:
            receipt = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except ValueError:
            receipt = b""
        return room.taken(), receipt, took_us

    async def is_up(self, node: Node) -> bool:
        """Ask whether a node lives, and take note."""
        try:
            await self._exchange(node, 0, "GET", "/healthz")
        except NodeProblem:
            return False
        return True

    def had_deleted(self, problem: NodeProblem, share: bytes) -> bool:
        """Tell whether a node refused a share because we had ordered it to delete it: it shows our own signature."""
        try:
            order = records.open_signed(problem.order, records.AccessOrder, self.gateway, records.ACCESS)
        except Rejected:
            return False
        said = (order.operation, order.gateway, order.provider, order.share)
        return said == ("delete", self.gateway, problem.node.did, share)

    def timed_out(self, node: Node, message: str) -> NodeProblem:
        """Count a node that the caller has waited for long enough; return the problem."""
        return self._failed(node, "timeout", message)

    def bad_receipt(self, node: Node, message: str) -> NodeProblem:
        """Count a node whose receipt the caller found wrong; return the problem."""
        return self._failed(node, "bad_receipt", message)

    def note_wrong_bytes(self, device: str) -> None:
        """Count bytes that were proved wrong."""
        self.health(device).wrong_bytes += 1

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._intake.close()

    def _order(
        self,
        operation: Literal["put", "get", "delete"],
        node: Node,
        share: bytes,
        *,
        start: int = 0,
        end: int = 0,
        egress_bytes: int = 0,
    ) -> str:
        order = records.AccessOrder(
            operation=operation,
            gateway=self.gateway,
            provider=node.did,
            share=share,
            expires_ms=self._clock.now_ms() + ORDER_LIFE_MS,
            start=start,
            end=end,
            egress_bytes=egress_bytes,
        )
        message = records.sign(self._key, order, records.ACCESS)
        return "Fieldstone " + base64.urlsafe_b64encode(message).rstrip(b"=").decode()

    async def _ask(
        self,
        node: Node,
        method: str,
        share: bytes,
        order: str,
        size_bytes: int,
        *,
        length: int | None = None,
        body: Callable[[], Blocks] | None = None,
        sink: Sink | None = None,
        limited: bool = True,
        may_lack: bool = False,
    ) -> Answer:
        path = f"/v1/shares/{share.hex()}"
        headers = (("authorization", order),)
        return await self._exchange(
            node, size_bytes, method, path, headers, length=length, body=body, sink=sink, limited=limited,
            may_lack=may_lack,
        )  # fmt: skip

    async def _exchange(
        self,
        node: Node,
        size_bytes: int,
        method: str,
        path: str,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        length: int | None = None,
        body: Callable[[], Blocks] | None = None,
        sink: Sink | None = None,
        limited: bool = True,
        may_lack: bool = False,
    ) -> Answer:
        line = self._line(node)
        limit_s, health = time_limit_s(size_bytes), self.health(node.did)
        began = time.monotonic()

        def silent() -> None:
            if body is None:
                health.kept_waiting(time.monotonic() - began, size_bytes)

        try:
            # a body may still be in the making: whoever makes it limits the time (`upload`)
            async with asyncio.timeout(limit_s if limited and body is None else None):
                answer = await line.request(method, path, headers, length=length, body=body, sink=sink, silent=silent)
        except TimeoutError:
            raise self._failed(node, "timeout", f"{method} took longer than {limit_s:.0f} s") from None
        except WireProblem as problem:
            kind: Kind = "offline" if problem.kind == "offline" else "broken"
            raise self._failed(node, kind, str(problem)) from None
        except OSError as error:  # of ours: no descriptors are left
            raise self._failed(node, "broken", f"the connection cannot be used: {error}") from None
        said = refusal(answer) if answer.status >= 300 else None
        is_well = said is None or (may_lack and said.code in NOT_HELD)
        health.answered(self._clock.now_ms(), is_well=is_well)
        if said is not None and not is_well:
            raise self._refused(node, method, answer.status, said)
        if body is None:  # how long a body was in the making says nothing of the node
            waited_s = sink.waited_s if sink is not None else 0.0
            health.timed(time.monotonic() - began - waited_s, size_bytes)
        return answer

    def _line(self, node: Node) -> Line:
        line = self._lines.get(node.did)
        if line is None or line.url != node.url:
            if line is not None:
                line.retire()
            line = self._lines[node.did] = Line(node.url, self._tls, self._intake)
        return line

    def keep_only(self, devices: Collection[str]) -> None:
        """Close the connections to all others than `devices`: they are listed no more."""
        for device in self._lines.keys() - set(devices):
            self._lines.pop(device).retire()

    def _failed(self, node: Node, kind: Kind, message: str, code: str = "") -> NodeProblem:
        is_away = kind in ("offline", "timeout", "broken")
        self.health(node.did).failed(self._clock.now_ms(), is_away=is_away)
        return NodeProblem(node, kind, message, code)

    def _refused(self, node: Node, method: str, status: int, said: Refusal) -> NodeProblem:
        kind: Kind = "full" if status == 507 else "missing" if said.code in NOT_HELD else "refused"
        text = f"{method} was refused with {status} {said.code[:40]} {said.detail[:200]}".strip()
        problem = self._failed(node, kind, text, said.code[:40])
        if said.code == "VOUCHER_TOO_LOW":
            problem.egress_bytes = said.egress_bytes
        elif said.code == "SHARE_DELETED":
            problem.order = _bytes_of(said.order)
        return problem


def refusal(answer: Answer) -> Refusal:
    """Return what a provider said with a refusal: nothing where it is none of ours, like the page of a proxy."""
    try:
        return msgspec.json.decode(answer.body, type=Refusal)
    except (msgspec.DecodeError, ValueError, RecursionError):  # text that is no UTF-8, or nests too deep
        return Refusal()


class _Room:
    """A sink for an answer of unknown length up to `most_bytes` (wire.Sink)."""

    waited_s = 0.0

    def __init__(self, most_bytes: int) -> None:
        self._all = memoryview(bytearray(most_bytes))
        self._at = 0

    def taken(self) -> bytes:
        return bytes(self._all[: self._at])

    def buffer(self) -> memoryview:
        return self._all[self._at :]

    def buffers(self) -> list[memoryview]:
        return [self.buffer()]

    def advance(self, count: int) -> None:
        self._at += count

    def wait(self, resume: Callable[[], None]) -> bool:
        return False


def _bytes_of(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""


def time_limit_s(size_bytes: int) -> float:
    """Return how long a node may take for so many bytes."""
    return max(LEAST_TIME_S, size_bytes / LEAST_BYTES_PER_S)
