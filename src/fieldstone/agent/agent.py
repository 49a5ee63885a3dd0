"""The agent: what runs beside a device. It signs, numbers, keeps, sends, checks receipts, and tries again.

Messages leave strictly in order, because the network accepts only rising numbers: when the first one has to wait, all
wait. What an answer means for a message:

| answer                                                    | the agent                                            |
|-----------------------------------------------------------|------------------------------------------------------|
| receipt that verifies                                      | keeps it; done                                       |
| no answer, 5xx, UNAVAILABLE, receipt that does not verify   | waits, doubling up to five minutes, then tries again |
| RATE_LIMITED                                               | waits as long as the door asks                       |
| UNKNOWN_DEVICE, TIME_FUTURE                                | waits: enrolment or time may cure it                 |
| REPLAYED with a position (an answer was lost)               | asks for that position's receipt, if it can; done    |
| SEQ_TOO_LOW (a later one overtook it)                      | signs the readings again under the next number       |
| TOO_LARGE for many                                         | sends half as many at a time                         |
| anything else                                              | keeps message and reason as refused; goes on         |
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cbor2
import msgspec

from fieldstone.agent.buffer import Buffer, Message, Reading
from fieldstone.agent.transport import NetworkInfo, RateLimited, Result, Transport
from fieldstone.clock import Clock, SystemClock
from fieldstone.errors import CheckFailed, Rejected, Retryable, UsageError
from fieldstone.identity import cose
from fieldstone.identity.keys import PublicKey, Signer
from fieldstone.identity.report import SCHEMA_VERSION, Report, encode
from fieldstone.journal.receipts import Receipt, verify_receipt

_LOG = logging.getLogger("fieldstone.agent")
_WAIT_CODES = frozenset({"UNAVAILABLE", "UNKNOWN_DEVICE", "TIME_FUTURE", "RATE_LIMITED"})
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 300.0
_MOST_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Flushed:
    """What one attempt to send did. `wait_s`: seconds until the next attempt makes sense (0: at once)."""

    accepted: int = 0
    refused: int = 0
    waiting: int = 0
    wait_s: float = 0.0
    problem: str = ""


class Agent:
    """Signs and delivers one device's reports. The buffer file belongs to this device and network alone."""

    def __init__(
        self,
        key: Signer,
        buffer: Buffer,
        transport: Transport,
        *,
        network: NetworkInfo | None = None,
        clock: Clock | None = None,
        batch: int = 100,
        jitter: random.Random | None = None,
    ) -> None:
        """`network`: known already (for a first start without connection); otherwise it is asked and then pinned.

        Raises CheckFailed when the buffer belongs to another device or the network is another than the pinned one.
        """
        self.key = key
        self.buffer = buffer
        self.transport = transport
        self._clock = clock or SystemClock()
        self._batch = self._full_batch = max(1, batch)
        self._failures = 0
        self._not_before_ms = 0
        self._jitter = jitter or random.Random()
        owner = buffer.get("device")
        if owner is None:
            buffer.put("device", key.public.device_id)
        elif owner != key.public.device_id:
            raise CheckFailed(f"the buffer belongs to {owner}, not to {key.public.device_id}: use another file")
        self._network: NetworkInfo | None = None
        pinned = buffer.get("network")
        if pinned is not None:
            self._network = msgspec.json.decode(pinned, type=NetworkInfo)
        if network is not None:
            self._pin(network)

    @property
    def network(self) -> NetworkInfo:
        """The network this agent sends to; asked once, then pinned in the buffer. Raises Retryable when unreachable."""
        if self._network is None:
            self._pin(self.transport.network())
        assert self._network is not None
        return self._network

    def _pin(self, network: NetworkInfo) -> None:
        known = self._network
        if known is not None and (known.network_id, known.chain_id, known.public_key) != (
            network.network_id,
            network.chain_id,
            network.public_key,
        ):
            raise CheckFailed(
                f"the node now says it is network {network.network_id!r} with key {network.public_key}; this buffer was "
                f"made for {known.network_id!r} with key {known.public_key}. If the change is wanted, use a new buffer file"
            )
        if network.schema_version != SCHEMA_VERSION:
            raise UsageError(
                f"the network speaks schema {network.schema_version}, this agent {SCHEMA_VERSION}: update it"
            )
        PublicKey.from_device_id(network.public_key)
        self._network = network
        self.buffer.put("network", msgspec.json.encode(network).decode())

    def observe(self, service: str, kind: str, t_ms: int, values: Mapping[str, float | None]) -> None:
        """Keep one reading durably; `pack` signs it together with others."""
        self.buffer.add_reading(service, kind, Reading(t_ms, values))

    def pack(self, *, readings: int = 60, after_ms: int = 600_000) -> int:
        """Sign waiting readings: full reports, and a partial one when its oldest is older than `after_ms`.

        Returns how many reports were signed. Raises Retryable when the network is not known yet.
        """
        made = 0
        if self.buffer.oldest_reading() is not None:
            _ = self.network  # asked now, since signing runs inside a transaction
        while (oldest := self.buffer.oldest_reading()) is not None:
            service, kind, t_ms, count = oldest
            if count < readings and self._clock.now_ms() - t_ms < after_ms:
                break

            def sign(seq: int, rows: Sequence[Reading], service: str = service, kind: str = kind) -> bytes:
                return self._sign(seq, service, kind, rows)

            self.buffer.sign_readings(service, kind, readings, sign, self._clock.now_ms())
            made += 1
        return made

    def record(self, service: str, kind: str, readings: Sequence[Reading]) -> int:
        """Sign readings as one report and keep it; return its number. Raises UsageError on unusable readings."""
        if not readings:
            raise UsageError("a report needs at least one reading")
        _ = self.network  # asked now, since signing runs inside a transaction
        return self.buffer.add_message(lambda seq: self._sign(seq, service, kind, readings), self._clock.now_ms())

    def send_document(self, service: str, kind: str, document: bytes) -> int:
        """Sign a document (a report kind of bytes: proofs, leases) as of now and keep it; return its number."""
        network = self.network
        now_ms = self._clock.now_ms()

        def sign(seq: int) -> bytes:
            report = Report(SCHEMA_VERSION, service, kind, seq, now_ms, now_ms, [], {}, document)
            aad = cose.network_aad(network.network_id, network.chain_id, network.schema_version)
            return cose.sign(self.key, encode(report), aad)

        return self.buffer.add_message(sign, now_ms)

    def _sign(self, seq: int, service: str, kind: str, readings: Sequence[Reading]) -> bytes:
        network = self.network
        times_ms = [reading.t_ms for reading in readings]
        names = dict.fromkeys(name for reading in readings for name in reading.values)
        report = Report(
            schema_version=SCHEMA_VERSION,
            service=service,
            kind=kind,
            seq=seq,
            start_ms=min(times_ms),
            end_ms=max(times_ms),
            times_ms=times_ms,
            columns={name: [reading.values.get(name) for reading in readings] for name in names},
        )
        aad = cose.network_aad(network.network_id, network.chain_id, network.schema_version)
        return cose.sign(self.key, encode(report, network.kind_table()), aad)

    def flush(self) -> Flushed:
        """Send what waits, one batch, unless a pause is still running. Never raises for what the network answers."""
        now_ms = self._clock.now_ms()
        if now_ms < self._not_before_ms:
            return Flushed(wait_s=(self._not_before_ms - now_ms) / 1_000, problem="pausing")
        pending = self.buffer.queued(self._batch, _MOST_BYTES)
        if not pending:
            return Flushed()
        try:
            results = self.transport.send([message.message for message in pending])
        except RateLimited as limit:
            return self._pause(str(limit), limit.retry_after_s)
        except Retryable as error:
            return self._pause(str(error))
        except Rejected as error:
            return self._refused_whole(pending, error)
        return self._take(pending, results)

    def _refused_whole(self, pending: Sequence[Message], error: Rejected) -> Flushed:
        if error.reason.code in _WAIT_CODES:
            return self._pause(str(error))
        if len(pending) > 1:  # one of them spoils the body, or it is too large: find out with smaller bodies
            self._batch = max(1, len(pending) // 2)
            return Flushed(problem=str(error))
        self.buffer.refuse(pending[0].seq, error.reason.code, error.detail, self._clock.now_ms())
        return Flushed(refused=1, problem=str(error))

    def _take(self, pending: Sequence[Message], results: Sequence[Result]) -> Flushed:
        accepted = refused = waiting = 0
        problem = ""
        for message, result in zip(pending, results, strict=True):
            now_ms = self._clock.now_ms()
            if result.ok or (result.code == "REPLAYED" and result.position is not None):
                try:
                    answer = result.receipt if result.ok else self.transport.receipt(result.position or 0)
                except Retryable as error:
                    waiting, problem = waiting + 1, str(error)
                    continue
                except (UsageError, Rejected) as error:
                    # Durable, says the network, but without proof: keeping the message would stop all that follow.
                    _LOG.warning("no receipt for report %d at position %s: %s", message.seq, result.position, error)
                    self.buffer.accept(message.seq, result.position or 0, b"", now_ms)
                    accepted += 1
                    continue
                receipt = self._valid_receipt(message, answer)
                if receipt is None:
                    waiting, problem = waiting + 1, f"the receipt for report {message.seq} does not verify"
                    continue
                self.buffer.accept(message.seq, receipt.position, receipt.to_json(), now_ms)
                accepted += 1
            elif result.code == "SEQ_TOO_LOW":
                self.buffer.renumber(message.seq, self._sign_again, now_ms)
            elif result.code in _WAIT_CODES:
                waiting, problem = waiting + 1, f"{result.code}: {result.detail or ''} {result.remedy or ''}".strip()
            else:
                code, detail = result.code or "UNLISTED", result.detail or result.remedy or ""
                _LOG.warning("report %d was refused: %s %s", message.seq, code, detail)
                self.buffer.refuse(message.seq, code, detail, now_ms)
                refused += 1
        if waiting:
            pause = self._pause(problem)
            return Flushed(accepted, refused, waiting, pause.wait_s, problem)
        self._failures = 0
        self._batch = min(self._full_batch, self._batch * 2)
        return Flushed(accepted, refused)

    def _sign_again(self, seq: int, message: bytes) -> bytes:
        payload = cbor2.loads(cose.parse(message).payload)
        network = self.network
        aad = cose.network_aad(network.network_id, network.chain_id, network.schema_version)
        return cose.sign(self.key, cbor2.dumps({**payload, 4: seq}, canonical=True), aad)

    def _valid_receipt(self, message: Message, answer: object) -> Receipt | None:
        network = self.network
        try:
            if isinstance(answer, (str, bytes)):
                receipt = Receipt.from_json(answer)
            else:
                receipt = msgspec.convert(answer, Receipt)
        except (msgspec.ValidationError, CheckFailed) as error:
            _LOG.warning("the receipt for report %d cannot be read: %s", message.seq, error)
            return None
        key = PublicKey.from_device_id(network.public_key)
        valid = receipt.network_id == network.network_id and verify_receipt(receipt, message.message, key)
        return receipt if valid else None

    def _pause(self, problem: str, wait_s: float | None = None) -> Flushed:
        """Wait 1 s, 2 s, 4 s … up to five minutes, each spread by ± half so that a fleet does not return at once."""
        if wait_s is None:
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(self._failures, 16))
            wait_s *= self._jitter.uniform(0.5, 1.5)
        self._failures += 1
        self._not_before_ms = self._clock.now_ms() + int(wait_s * 1_000)
        _LOG.info("waiting %.1f s: %s", wait_s, problem)
        return Flushed(waiting=1, wait_s=wait_s, problem=problem)

    def drain(self, stop: threading.Event, *, most_s: float = 60.0) -> Flushed:
        """Send until nothing waits, `stop` is set or `most_s` seconds have passed; return the sums."""
        accepted = refused = 0
        deadline_ms = self._clock.now_ms() + int(most_s * 1_000)
        last = Flushed()
        while not stop.is_set() and self.buffer.counts()["queued"]:
            last = self.flush()
            accepted, refused = accepted + last.accepted, refused + last.refused
            if self._clock.now_ms() + int(last.wait_s * 1_000) > deadline_ms:
                break
            if last.wait_s:
                stop.wait(last.wait_s)
        return Flushed(accepted, refused, self.buffer.counts()["queued"], last.wait_s, last.problem)

    def run(self, stop: threading.Event, *, readings: int = 60, after_ms: int = 600_000) -> None:
        """Sign and send until `stop` is set. What is not delivered then waits in the buffer for the next start."""
        while not stop.is_set():
            wait_s = 1.0
            try:
                self.pack(readings=readings, after_ms=after_ms)
                flushed = self.flush()
                if flushed.accepted or flushed.refused:
                    wait_s = 0.0
                elif flushed.wait_s:
                    wait_s = min(flushed.wait_s, 5.0)
            except Retryable as error:
                wait_s = self._pause(str(error)).wait_s
            if wait_s:
                stop.wait(wait_s)
