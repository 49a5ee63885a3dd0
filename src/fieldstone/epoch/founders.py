"""What a founder may write into the journal: prices and corrections, read by the door and by every epoch in one way."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from fieldstone.errors import UsageError
from fieldstone.journal import EntryKind, NewEntry

__all__ = ["CorrectionBody", "PriceBody", "Unreadable", "check_founder_entry", "read"]


class Correction(msgspec.Struct):
    """What a device's operator gets (or, below zero, owes), in base units."""

    device: Annotated[str, msgspec.Meta(max_length=200)]
    operator: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
    amount_base: Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,40}\Z")]


class CorrectionBody(msgspec.Struct):
    """A correction. What it says besides (`corrected`, `reclaim`) is for `epoch.makegood`."""

    epoch: int
    cause: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    rows: list[Correction]


class PriceBody(msgspec.Struct):
    """A new price of a token."""

    token_price_micro_usd: Annotated[int, msgspec.Meta(gt=0, le=10**15)]


_BODIES: dict[EntryKind, type[msgspec.Struct]] = {
    EntryKind.PRICE: PriceBody,
    EntryKind.CORRECTION: CorrectionBody,
}


def check_founder_entry(entry: NewEntry) -> None:
    """Raise UsageError unless `entry` is a price or a correction that `freeze` can read."""
    if entry.kind not in _BODIES:
        raise UsageError(f"a founder writes prices and corrections, not {entry.kind.value} entries")
    try:
        read(entry.body, _BODIES[entry.kind])
    except Unreadable as error:
        raise UsageError(f"the {entry.kind.value} entry is malformed: {error}") from None


_Body = TypeVar("_Body", bound=msgspec.Struct)


class Unreadable(Exception):
    """An entry's body is not what its kind is made of."""


def read(body: bytes, kind: type[_Body]) -> _Body:
    """Read a founder's entry: the door and the walk by one and the same decoder, or the one takes what stops the other."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None
