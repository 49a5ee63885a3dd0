"""Per device: the highest accepted sequence number, and enough memory of accepted reports to tell a repeat from a lie.

This is a cache of the journal. It is rebuilt at the start from a checkpoint and the reports after it; a report changes
it only after it became durable, so a failed commit burns no sequence number.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from fieldstone.errors import Rejected, Terminal
from fieldstone.identity import cose
from fieldstone.intake.glance import seq_of
from fieldstone.journal import Entry, EntryKind, Journal

CHECKPOINT = "intake-marks-1"
_WORDS = 4  # words of 8 bytes in a SHA-256
REMEMBERED = 1_024  # accepted reports per device, at least (20 bytes each)


class Mark:
    """One device's mark. `last_seq` is 0 before its first report."""

    __slots__ = ("_digests", "_positions", "_seqs", "last_seq")

    def __init__(self, last_seq: int = 0) -> None:
        self.last_seq = last_seq
        self._seqs = array("q")
        self._positions = array("q")
        self._digests = array("Q")

    def accept(self, seq: int, position: int, digest: bytes) -> None:
        """Note a durable report. `digest` is the SHA-256 of its bytes, of which 8 are kept."""
        self.last_seq = seq
        self._seqs.append(seq)
        self._positions.append(position)
        self._digests.append(start_of(digest))
        if len(self._seqs) > 2 * REMEMBERED:
            del self._seqs[:REMEMBERED], self._positions[:REMEMBERED], self._digests[:REMEMBERED]

    def accept_run(self, seqs: Sequence[int], position: int, digests: Sequence[bytes]) -> None:
        """Note durable reports with rising numbers at `position` and after it; as if each were given to `accept`."""
        self.last_seq = seqs[-1]
        self._seqs.extend(seqs)
        self._positions.extend(range(position, position + len(seqs)))
        self._digests.extend(array("Q", b"".join(digests))[::_WORDS])
        if len(self._seqs) > 2 * REMEMBERED:
            del self._seqs[:-REMEMBERED], self._positions[:-REMEMBERED], self._digests[:-REMEMBERED]

    def find(self, seq: int) -> tuple[int, int] | None:
        """Return (position, `start_of` the digest) of the accepted report `seq`; None when it is not remembered."""
        place = bisect_left(self._seqs, seq)
        if place < len(self._seqs) and self._seqs[place] == seq:
            return self._positions[place], self._digests[place]
        return None

    def oldest(self) -> tuple[int, int] | None:
        """Return (seq, position) of the oldest remembered report; None when none is."""
        return (self._seqs[0], self._positions[0]) if self._seqs else None


class Marks:
    """All marks, and up to which position of the journal they are complete."""

    def __init__(self) -> None:
        self.position = 0
        self.lock = threading.Lock()  # the commit thread writes, the event loop looks repeats up
        self._marks: dict[str, Mark] = {}
        self._evidence: dict[str, set[int]] = {}

    def of(self, device: str) -> Mark:
        """Return the mark of a device, a fresh one when it never reported."""
        mark = self._marks.get(device)
        if mark is None:
            mark = self._marks[device] = Mark()
        return mark

    def evidence(self, device: str) -> set[int]:
        """Return the sequence numbers for which evidence of equivocation is in the journal."""
        return self._evidence.setdefault(device, set())

    def take(self, entries: Iterable[Entry]) -> None:
        """Learn from journal entries that follow `position`. Raises Terminal when a report in the journal is unreadable."""
        for entry in entries:
            if entry.kind is EntryKind.REPORT:
                seq = _seq(entry.body, entry.position)
                mark = self.of(entry.subject)
                if seq > mark.last_seq:
                    mark.accept(seq, entry.position, hashlib.sha256(entry.body).digest())
            elif entry.kind is EntryKind.EQUIVOCATION:
                first = msgspec.msgpack.decode(entry.body, type=tuple[bytes, bytes])[0]
                self.evidence(entry.subject).add(_seq(first, entry.position))
            self.position = entry.position

    def save(self, journal: Journal) -> None:
        """Write a checkpoint of the last sequence numbers, so that the next start need not read the whole journal."""
        marks = {device: mark.last_seq for device, mark in list(self._marks.items()) if mark.last_seq}
        evidence = {device: sorted(seqs) for device, seqs in list(self._evidence.items()) if seqs}
        journal.save_checkpoint(CHECKPOINT, self.position, msgspec.msgpack.encode((marks, evidence)))

    @classmethod
    def load(cls, journal: Journal) -> Marks:
        """Rebuild from the newest usable checkpoint and the journal after it."""
        marks = cls()
        found = journal.load_checkpoint(CHECKPOINT)
        if found is not None:
            try:
                last_seqs, evidence = msgspec.msgpack.decode(found[1], type=tuple[dict[str, int], dict[str, set[int]]])
            except msgspec.DecodeError:
                last_seqs, evidence = {}, {}  # damaged: a cache, so read the journal from its start
            else:
                marks.position = found[0]
            marks._marks = {device: Mark(last_seq) for device, last_seq in last_seqs.items()}
            marks._evidence = evidence
        marks.take(journal.read(marks.position + 1))
        marks.position = journal.head
        return marks


def start_of(digest: bytes) -> int:
    """Return the part of a digest that is remembered: its first 8 bytes, in this machine's order."""
    return int.from_bytes(digest[:8], sys.byteorder)


def _seq(message: bytes, position: int) -> int:
    try:
        return seq_of(cose.parse(message).payload)
    except (Rejected, ValueError, KeyError, TypeError) as error:
        raise Terminal(f"journal position {position} holds a report that cannot be read: {error}") from error
