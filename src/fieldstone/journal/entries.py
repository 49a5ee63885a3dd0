"""What a journal holds: entries, and the commit that made a run of them durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class EntryKind(StrEnum):
    """The kinds of journal entry. What a body holds is the business of the part that writes that kind."""

    REPORT = "report"
    REGISTRY = "registry"
    METERING = "metering"
    POLICY = "policy"
    PRICE = "price"
    CREDIT = "credit"
    CHALLENGE = "challenge"
    EQUIVOCATION = "equivocation"
    CORRECTION = "correction"
    EPOCH = "epoch"
    BOND = "bond"


class NewEntry(NamedTuple):
    """An entry that has no position yet. `subject`: device id, customer id, or "" when the entry concerns nobody."""

    kind: EntryKind
    subject: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A durable entry. `position` is 1-based and gapless; `received_ms` (Unix ms) never falls from one to the next."""

    position: int
    received_ms: int
    kind: EntryKind
    subject: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """One durable transaction: positions `first` … `last`, received together.

    `digests` are the SHA-256 of the bodies in order, `levels` the RFC 9162 tree over them (`journal.tree`).
    """

    first: int
    last: int
    received_ms: int
    digests: tuple[bytes, ...]
    levels: list[list[bytes]] = field(repr=False, compare=False)

    @property
    def root(self) -> bytes:
        """The 32-byte root of the tree."""
        return self.levels[-1][0]

    @property
    def count(self) -> int:
        """Number of entries in the commit, ≥ 1."""
        return self.last - self.first + 1
