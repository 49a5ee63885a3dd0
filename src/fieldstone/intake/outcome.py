"""What became of one message: accepted at a position with a receipt, or refused for one named reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import msgspec

from fieldstone.errors import Rejected
from fieldstone.journal.receipts import Receipt, SignedCommit
from fieldstone.reasons import Reason, reason


class Accepted(msgspec.Struct, frozen=True):
    """The answer for a message that is durable."""

    position: int
    receipt: Receipt
    ok: Literal[True] = True


class Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for a message that was not taken. REPLAYED and EQUIVOCATION name the accepted report's position.

    An agent may drop a message that came back REPLAYED with a position: those very bytes are durable there.
    """

    ok: bool  # always False; without a default, or it would be left out
    code: str
    remedy: str
    detail: str = ""
    position: int | None = None


class Outcome:
    """One message's fate, before it is put into words."""

    __slots__ = ("detail", "device", "index", "position", "reason", "signed")

    def __init__(
        self,
        reason: Reason | None,
        detail: str,
        device: str,
        position: int | None,
        signed: SignedCommit | None,
        index: int,
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.device = device  # "" when no enrolled device is known to be concerned
        self.position = position
        self.signed = signed
        self.index = index

    @property
    def ok(self) -> bool:
        """Whether the message is durable under its own receipt."""
        return self.reason is None

    def answer(self) -> Accepted | Refused:
        """Put it into words."""
        if self.signed is not None:
            receipt = self.signed.receipt(self.index)
            return Accepted(receipt.position, receipt)
        assert self.reason is not None
        return Refused(False, self.reason.code, self.reason.remedy, self.detail, self.position)


class AcceptedRun(Sequence[Outcome]):
    """The outcomes of a sequence that was accepted whole: `size` entries of a signed commit from `first` (from 0) on."""

    __slots__ = ("first", "signed", "size")

    def __init__(self, signed: SignedCommit, first: int, size: int) -> None:
        self.signed = signed
        self.first = first
        self.size = size

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, place: int) -> Outcome: ...
    @overload
    def __getitem__(self, place: slice) -> list[Outcome]: ...
    def __getitem__(self, place: int | slice) -> Outcome | list[Outcome]:
        entries = range(self.first, self.first + self.size)
        if isinstance(place, slice):
            return [accepted(self.signed, index) for index in entries[place]]
        return accepted(self.signed, entries[place])


def outcome_json(outcome: Outcome) -> bytes:
    """Return the JSON of `outcome.answer()`."""
    signed = outcome.signed
    if signed is None:
        return msgspec.json.encode(outcome.answer())
    return signed.answer_json(outcome.index)


def accepted(signed: SignedCommit, index: int) -> Outcome:
    """Return the outcome for entry `index` (from 0) of a signed commit."""
    return Outcome(None, "", "", None, signed, index)


def refused(code: str, detail: str = "", device: str = "", position: int | None = None) -> Outcome:
    """Return the outcome for a refusal by code."""
    return Outcome(reason(code), detail, device, position, None, 0)


def from_rejection(rejection: Rejected, device: str = "") -> Outcome:
    """Return the outcome for a raised refusal."""
    return Outcome(rejection.reason, rejection.detail, device, None, None, 0)
