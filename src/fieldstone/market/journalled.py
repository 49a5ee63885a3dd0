"""Put an entry into the journal once, although the process may die at any moment.

The state remembers, before anything is appended, at which position the journal stood (`journal_after`). Whoever resumes
looks behind that position for the entry and appends it only when it is not there. One process writes a journal at a
time (it holds the journal's lock), and inside it one thread works on a subject at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from fieldstone.journal.entries import Entry, EntryKind, NewEntry


class MarketJournal(Protocol):
    """The part of `fieldstone.journal.Journal` that the market uses."""

    @property
    def head(self) -> int: ...
    def append(self, entries: Sequence[NewEntry]) -> Any: ...
    def read(
        self, first: int = 1, last: int | None = None, kinds: Sequence[EntryKind] | None = None
    ) -> Iterator[Entry]: ...


def find(journal: MarketJournal, kind: EntryKind, after: int, wanted: Callable[[bytes], bool]) -> bytes | None:
    """Return the body of the first entry behind position `after` that is `wanted`, None when there is none."""
    for entry in journal.read(after + 1, None, (kind,)):
        if wanted(entry.body):
            return entry.body
    return None


def append_once(
    journal: MarketJournal, entry: NewEntry, after: int, same: Callable[[bytes], bool], *, perhaps_there: bool
) -> bytes:
    """Append `entry` unless the same one stands behind `after` already; return the body that is in the journal.

    `perhaps_there` False skips the search: this call is the first attempt. Raises Retryable when it is not durable.
    """
    if perhaps_there:
        found = find(journal, entry.kind, after, same)
        if found is not None:
            return found
    journal.append([entry])
    return entry.body
