"""A batch of checked messages on its way into one commit: signatures, the rest of the checks, then the journal.

Runs in the commit thread, which is the one place where sequence numbers are decided, so two requests that race with
one number cannot both win. Nothing lasting changes before the fsync returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from fieldstone.errors import Rejected
from fieldstone.identity.keys import verify
from fieldstone.identity.report import decode
from fieldstone.intake import glance
from fieldstone.intake.door import Checked, Door
from fieldstone.intake.outcome import Outcome, accepted, from_rejection, refused
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.journal.receipts import SignedCommit

_WORTH_A_HAND_OFF = 64  # signatures: ~5 ms of work, a hundred times what a hand-off costs


class ReportBatch:
    """The `Work` of a batch. Afterwards every message has its `outcome`, or None: then its seq was taken meanwhile."""

    def __init__(
        self,
        door: Door,
        messages: Sequence[Checked],
        helpers: Executor | None,
        workers: int,
        before: Callable[[], None],
    ) -> None:
        self._door = door
        self._messages = messages
        self._helpers = helpers
        self._workers = workers
        self._before = before

    def prepare(self, received_ms: int) -> list[NewEntry]:
        """Check signatures and what hangs on them, take sequence numbers, and return the entries."""
        self._before()
        self._verify()
        door = self._door
        tentative = door.tentative
        by_kid = door.registry.by_kid
        report = EntryKind.REPORT
        entries: list[NewEntry] = []
        for message in self._messages:
            if message.outcome is not None:
                continue
            head = message.head
            if head is None:
                message.outcome = self._read_fully(message, received_ms)
                head = message.head
                if head is None or message.outcome is not None:
                    continue
            device = message.device
            if by_kid(message.kid) is not device and not self._still_speaks(message):
                message.outcome = refused("DEVICE_REVOKED", "the key was replaced or revoked", device.device)
                continue
            name = device.device
            seq = head.seq
            if seq <= tentative.get(name, message.slot.mark.last_seq):
                continue  # a repeat, a late message or a lie: judged when the winner is durable
            tentative[name] = seq
            if message.is_new_shape:
                door.learn(message)
            message.index = len(entries)
            entries.append(NewEntry(report, name, message.message))
        return entries

    def finish(self, signed: SignedCommit | None, offset: int) -> None:
        """The entries are durable: only now do they count."""
        door = self._door
        door.tentative.clear()
        if signed is None:
            return
        commit = signed.commit
        first, digests = commit.first, commit.digests
        with door.marks.lock:
            for message in self._messages:
                if message.index >= 0 and message.head is not None:
                    index = offset + message.index
                    message.slot.mark.accept(message.head.seq, first + index, digests[index])
                    message.outcome = accepted(signed, index)
            door.marks.position = commit.last

    def abandon(self) -> None:
        """The commit failed: no sequence number was used up."""
        self._door.tentative.clear()

    def _verify(self) -> None:
        messages = [message for message in self._messages if not message.verified]
        if self._helpers is None or len(messages) < 2 * _WORTH_A_HAND_OFF:
            verify_all(messages)
        else:
            share = max(_WORTH_A_HAND_OFF, -(-len(messages) // self._workers))
            futures = [
                self._helpers.submit(verify_all, messages[start : start + share])
                for start in range(share, len(messages), share)
            ]
            verify_all(messages[:share])
            for future in futures:
                future.result()
        for message in self._messages:
            if message.outcome is not None:
                self._door.give_back(message.slot)

    def _read_fully(self, message: Checked, now_ms: int) -> Outcome | None:
        """Read a payload that the glance could not; return its refusal, or None and set the head."""
        name = message.device.device
        try:
            report = decode(message.payload, self._door.kinds, self._door.limits)
        except Rejected as rejection:
            return from_rejection(rejection, name)
        message.head = glance.Head(report.seq, report.start_ms, report.end_ms, len(report.times_ms))
        if report.seq > message.slot.mark.last_seq:
            outside = self._door.check_times(report.start_ms, report.end_ms, now_ms)
            if outside is not None:
                return refused(*outside, name)
        return None

    def _still_speaks(self, message: Checked) -> bool:
        """Whether the key still speaks for the device, which may have moved since the door looked."""
        current = self._door.registry.by_kid(message.kid)
        return current is not None and current.revoked_ms is None and current.public == message.device.public


def verify_all(messages: Sequence[Checked]) -> None:
    """Check signatures and set the outcome of those that are wrong."""
    for message in messages:
        message.verified = True
        if not verify(message.device.public, message.signed, message.signature):
            message.outcome = refused("BAD_SIGNATURE", "", message.device.device)
