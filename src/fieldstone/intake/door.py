"""The door: cheap checks in a fixed order, before any signature is looked at.

    size → form (CBOR, COSE) → known device, not revoked, algorithm → budget → sequence number → time window

Every check costs about a microsecond; a signature costs eighty. A message that passes is a `Checked`. What the first
glance cannot read is not refused here but after its signature, by the full decoder: nobody without a key can make the
network decode odd payloads.

Nothing that an unsigned message claims changes any state, but for a device's budget, which is handed back when the
signature turns out wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fieldstone.errors import Rejected
from fieldstone.identity import cose
from fieldstone.identity.registry import Registry
from fieldstone.identity.report import KindTable, Limits
from fieldstone.intake import glance
from fieldstone.intake.budget import Bucket
from fieldstone.intake.checked import Checked, Run, Slot
from fieldstone.intake.marks import Marks, start_of
from fieldstone.intake.outcome import Outcome, from_rejection, refused
from fieldstone.intake.shape import learn
from fieldstone.policy import Policy

MAX_MESSAGES = 10_000
_TO_BE_SIGNED = b"\x84\x6aSignature1"
_BURST_MINUTES = 2
_SHORTEST_RUN = 5  # messages; for fewer the columns cost more than they save
_LONGEST_RUN_BYTES = 1 << 20  # a search through a body that only looks like a run is lost work: at most 10 ms of it


class Door:
    """The checks with the state they need. Used by one event loop."""

    def __init__(
        self, policy: Policy, registry: Registry, marks: Marks, kinds: KindTable, device_reports_per_minute: int
    ) -> None:
        self.registry = registry
        self.marks = marks
        self.kinds = kinds
        self.tentative: dict[str, int] = {}  # sequence numbers of the commit under way; the commit thread's own
        self._names = glance.names_of(kinds)
        self._by_protected: dict[bytes, Slot] = {}
        self._buckets: dict[str, Bucket] = {}
        self._rate_per_ms = device_reports_per_minute / 60_000
        self._capacity = float(_BURST_MINUTES * device_reports_per_minute)
        self._low = max(1.0, self._capacity / 2)  # only below that does the door look at the clock
        self.set_policy(policy)

    def set_policy(self, policy: Policy) -> None:
        """Use another policy from the next message on."""
        self.policy = policy
        self.limits = Limits.of(policy.intake)
        self._max_report_bytes = policy.intake.max_report_bytes
        self._aad = _bstr(cose.network_aad(policy.network_id, policy.chain_id, policy.schema_version))
        self._future_ms = policy.intake.future_tolerance_s * 1_000
        self._stale_ms = policy.intake.stale_after_s * 1_000
        self._by_protected = {}  # the signed bytes begin otherwise

    def check_body(self, body: bytes, now_ms: int, *, sequence: bool) -> list[Checked | Outcome]:
        """Cut a body into messages and check each. `sequence`: a CBOR sequence; otherwise one message, no more.

        An empty body is one refusal, and so is everything behind `MAX_MESSAGES` messages.
        """
        if not sequence:
            parts = glance.envelope(body, 0)
            if parts is not None and parts.end == len(body):
                return [self._check(parts, body, now_ms)]
        fates: list[Checked | Outcome] = []
        offset = 0
        size = len(body)
        while offset < size or not fates:
            if len(fates) >= MAX_MESSAGES:
                fates.append(refused("TOO_LARGE", f"more than {MAX_MESSAGES} messages; the rest was not looked at"))
                break
            parts = glance.envelope(body, offset)
            if parts is None or not (sequence or parts.end == size):
                fates.extend(self._check_odd(body[offset:], now_ms, sequence=sequence, room=MAX_MESSAGES - len(fates)))
                break
            fates.append(self._check(parts, body[offset : parts.end], now_ms))
            offset = parts.end
        return fates

    def check_run(self, body: bytes, now_ms: int) -> Run | None:
        """Check a body that is the usual sequence as a whole: one device's reports in its usual form, numbers rising.

        None when it is anything else or any of it might be refused: then `check_body` looks at each message, and gives
        the reasons. What passes here would pass there.
        """
        length = body[2] - 0x40 if 2 < len(body) <= _LONGEST_RUN_BYTES else 0
        if not 0 < length < 24:
            return None
        protected = body[3 : 3 + length]
        slot = self._by_protected.get(protected)
        if slot is None or slot.shape is None or self.registry.by_kid(slot.kid) is not slot.device:
            return None
        columns = slot.shape.columns(body, protected)
        if columns is None or not _SHORTEST_RUN <= len(columns.messages) <= MAX_MESSAGES:
            return None
        count = len(columns.messages)
        bucket = slot.bucket
        if (
            (bucket.tokens - count < self._low and bucket.level(now_ms, self._rate_per_ms, self._capacity) < count)
            or columns.seqs[0] <= slot.mark.last_seq
            or max(map(len, columns.messages)) > self._max_report_bytes
            or max(columns.ends_ms) > now_ms + self._future_ms
            or min(columns.ends_ms) < now_ms - self._stale_ms
        ):
            return None
        bucket.tokens -= count
        return Run(slot, columns)

    def check_times(self, start_ms: int, end_ms: int, now_ms: int) -> tuple[str, str] | None:
        """Return (code, detail) when a span lies outside the acceptance window around `now_ms`, else None."""
        if end_ms > now_ms + self._future_ms:
            return "TIME_FUTURE", f"ends {end_ms - now_ms} ms ahead of the network's clock"
        if end_ms < now_ms - self._stale_ms:
            return "TIME_STALE", f"ended {(now_ms - end_ms) // 1000} s ago, accepted are {self._stale_ms // 1000} s"
        return None

    def find_repeat(self, slot: Slot, seq: int, message: bytes) -> Outcome | None:
        """Return the refusal of a message whose very bytes were accepted before; None when they are not remembered."""
        with self.marks.lock:
            found = slot.mark.find(seq)
        if found is None or found[1] != start_of(hashlib.sha256(message).digest()):
            return None
        return refused("REPLAYED", f"seq {seq} is durable with these very bytes", slot.device.device, found[0])

    def learn(self, message: Checked) -> None:
        """Remember the form of an accepted report. A signed one, so that nobody else can use up a device's lessons."""
        slot = message.slot
        if slot.lessons and (slot.shape is None or slot.shape.head(message.payload) is None):
            slot.lessons -= 1
            slot.shape = learn(message.payload, self.limits)

    def give_back(self, slot: Slot, count: int = 1) -> None:
        """Return what messages took from a device's budget: it was not that device that sent them."""
        slot.bucket.tokens += count

    def _check_odd(self, rest: bytes, now_ms: int, *, sequence: bool, room: int) -> Iterator[Checked | Outcome]:
        """Go on message by message where the glance gave up: slower, and with a reason for each refusal."""
        for item in cose.split(rest) if sequence else (rest,):
            if room == 0:
                yield refused("TOO_LARGE", f"more than {MAX_MESSAGES} messages; the rest was not looked at")
                return
            room -= 1
            try:
                envelope = cose.parse(item)
            except Rejected as rejection:
                yield from_rejection(rejection)
                continue
            payload = envelope.payload
            parts = glance.Parts(len(item), envelope.protected, _bstr(payload), payload, envelope.signature)
            yield self._check(parts, item, now_ms)
        if not rest and sequence:
            yield refused("BAD_CBOR", "the body is empty")

    def _check(self, parts: glance.Parts, message: bytes, now_ms: int) -> Checked | Outcome:
        _, protected, payload_item, payload, signature = parts
        if len(message) > self._max_report_bytes:
            return refused("TOO_LARGE", f"{len(message)} bytes, allowed are {self._max_report_bytes}")
        slot = self._by_protected.get(protected)
        if slot is None or self.registry.by_kid(slot.kid) is not slot.device:
            found = self._find_slot(protected, message, now_ms)
            if type(found) is not Slot:
                return found  # type: ignore[return-value]
            slot = found
        name = slot.device.device
        bucket = slot.bucket
        if bucket.tokens < self._low and bucket.level(now_ms, self._rate_per_ms, self._capacity) < 1:
            return refused("RATE_LIMITED", f"more than {self._rate_per_ms * 60_000:.0f} reports a minute", name)
        head = slot.shape.head(payload) if slot.shape is not None else None
        is_new_shape = head is None
        if head is None:
            head = glance.report_head(payload, self._names, self.limits)
        if head is not None:
            if head.seq > slot.mark.last_seq:
                outside = self.check_times(head.start_ms, head.end_ms, now_ms)
                if outside is not None:
                    return refused(*outside, name)
            else:
                repeated = self.find_repeat(slot, head.seq, message)
                if repeated is not None:
                    return repeated
                # Other bytes with an old number: a late message or a lie. The signature tells whose.
        bucket.tokens -= 1
        checked = Checked(slot, slot.kid, message, payload, slot.prefix + payload_item, signature, head)
        checked.is_new_shape = is_new_shape
        return checked

    def _find_slot(self, protected: bytes, message: bytes, now_ms: int) -> Slot | Outcome:
        """Find the device that a protected header speaks for, or refuse; remember the way for the next message."""
        header = cose.read_protected(protected)
        if header is None:
            try:
                cose.parse(message)
            except Rejected as rejection:
                return from_rejection(rejection)
            return refused("BAD_COSE", "the protected header cannot be read")
        algorithm_id, kid = header
        device = self.registry.by_kid(kid)
        if device is None:
            retired = self.registry.by_retired_kid(kid)
            if retired is not None:
                return refused("DEVICE_REVOKED", "this key was replaced by another", retired.device)
            return refused("UNKNOWN_DEVICE", f"key id {kid.hex()}")
        name = device.device
        if device.revoked_ms is not None:
            return refused("DEVICE_REVOKED", "", name)
        if cose.algorithm_of(algorithm_id) is not device.public.algorithm:
            return refused("ALGORITHM_MISMATCH", f"the registered key is {device.public.algorithm}", name)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._capacity, now_ms)
        prefix = _TO_BE_SIGNED + _bstr(protected) + self._aad
        if len(self._by_protected) > 4 * len(self.registry) + 1_000:
            self._by_protected = {}  # headers of keys that were replaced
        slot = self._by_protected[protected] = Slot(device, kid, self.marks.of(name), bucket, prefix)
        return slot


def _bstr(data: bytes) -> bytes:
    """Return the CBOR byte string of `data`, shortest form (RFC 8949 §3.1)."""
    length = len(data)
    if length < 24:
        return bytes((0x40 + length,)) + data
    if length < 0x100:
        return bytes((0x58, length)) + data
    if length < 0x10000:
        return b"\x59" + length.to_bytes(2, "big") + data
    return b"\x5a" + length.to_bytes(4, "big") + data
