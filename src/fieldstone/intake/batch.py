"""A batch of checked messages on its way into one commit: signatures, the rest of the checks, then the journal.

Runs in the commit thread, which is the one place where sequence numbers are decided, so two requests that race with
one number cannot both win. Nothing lasting changes before the fsync returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import repeat

from fieldstone.errors import Rejected
from fieldstone.identity.keys import verify, verify_many
from fieldstone.identity.report import decode
from fieldstone.intake import glance
from fieldstone.intake.checked import Checked, Run
from fieldstone.intake.door import Door
from fieldstone.intake.outcome import AcceptedRun, Outcome, accepted, from_rejection, refused
from fieldstone.journal.entries import EntryKind, NewEntry
from fieldstone.journal.receipts import SignedCommit

_WORTH_A_HAND_OFF = 64  # signatures: ~5 ms of work, a hundred times what a hand-off costs
_PIECE = 100  # signatures that one thread takes at a time
_make_entry: Callable[[tuple[EntryKind, str, bytes]], NewEntry] = partial(tuple.__new__, NewEntry)  # half of a call


class ReportBatch:
    """The `Work` of a batch. Afterwards every message has its `outcome`, or None: then its seq was taken meanwhile.

    A run has its `outcomes` instead, unless it was split: then its parts have theirs.
    """

    def __init__(
        self,
        door: Door,
        messages: Sequence[Checked | Run],
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
        for message in self._singles(entries):
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
            for message in self._landed(signed, offset):
                if message.index >= 0 and message.head is not None:
                    index = offset + message.index
                    message.slot.mark.accept(message.head.seq, first + index, digests[index])
                    message.outcome = accepted(signed, index)
            door.marks.position = commit.last

    def abandon(self) -> None:
        """The commit failed: no sequence number was used up."""
        self._door.tentative.clear()

    def _singles(self, entries: list[NewEntry]) -> Iterator[Checked]:
        """Take the runs, in their turn, and yield what goes message by message."""
        for message in self._messages:
            if type(message) is not Run:
                yield message  # type: ignore[misc]
            elif not self._take_run(message, entries):
                parts = message.split()
                verify_all([part for part in parts if not part.verified])  # none, as `_verify` came first
                for part in parts:
                    if part.outcome is not None:
                        self._door.give_back(part.slot)
                    yield part

    def _landed(self, signed: SignedCommit, offset: int) -> Iterator[Checked]:
        """Finish the runs and yield what went message by message."""
        for message in self._messages:
            if type(message) is not Run:
                yield message  # type: ignore[misc]
            elif message.parts is not None:
                yield from message.parts
            else:
                self._finish_run(message, signed, offset)

    def _take_run(self, run: Run, entries: list[NewEntry]) -> bool:
        """Take all the numbers of a run and add its entries; False when its messages have to be looked at one by one."""
        door = self._door
        name = run.device.device
        seqs = run.columns.seqs
        if (
            not all(run.verdicts)
            or door.registry.by_kid(run.kid) is not run.device
            or seqs[0] <= door.tentative.get(name, run.slot.mark.last_seq)
        ):
            return False
        door.tentative[name] = seqs[-1]
        run.index = len(entries)
        entries.extend(map(_make_entry, zip(repeat(EntryKind.REPORT), repeat(name), run.columns.messages)))
        return True

    def _finish_run(self, run: Run, signed: SignedCommit, offset: int) -> None:
        index = offset + run.index
        commit = signed.commit
        run.slot.mark.accept_run(run.columns.seqs, commit.first + index, commit.digests[index : index + len(run)])
        run.outcomes = AcceptedRun(signed, index, len(run))

    def _verify(self) -> None:
        singles = [message for message in self._messages if type(message) is Checked and not message.verified]
        pieces: deque[Callable[[], None]] = deque()
        for at in range(0, len(singles), _PIECE):
            pieces.append(partial(verify_all, singles[at : at + _PIECE]))
        total = len(singles)
        for run in self._messages:
            if type(run) is Run:
                total += len(run)
                for at in range(0, len(run), _PIECE):
                    pieces.append(partial(verify_run, run, at, at + _PIECE))
        if self._helpers is None or total < 2 * _WORTH_A_HAND_OFF:
            _work_off(pieces)
        else:
            hands = min(self._workers, total // _WORTH_A_HAND_OFF, len(pieces))
            helpers = [self._helpers.submit(_work_off, pieces) for _ in range(hands - 1)]
            _work_off(pieces)
            for helper in helpers:
                helper.result()
        for message in self._messages:
            if type(message) is Checked and message.outcome is not None:
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


def verify_run(run: Run, start: int, end: int) -> None:
    """Check the signatures of the messages `start` … `end` − 1 of a run."""
    columns = run.columns
    run.verdicts[start:end] = verify_many(run.device.public, run.signed[start:end], columns.signatures[start:end])


def _work_off(pieces: deque[Callable[[], None]]) -> None:
    while True:
        try:
            piece = pieces.popleft()
        except IndexError:
            return
        piece()
