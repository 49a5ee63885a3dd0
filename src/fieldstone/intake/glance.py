"""A first look at a message that costs a tenth of its signature. What looks unusual is left to the full decoders.

`envelope` finds the parts of one message in a body; `report_head` reads a payload's sequence number and time span and
makes sure that every value in it is of the right type. Both return None for anything out of the ordinary — then
`identity.cose` and `identity.report` judge and name the reason. Whatever passes here passes there too: a test pins it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from types import NoneType
from typing import Any, NamedTuple, NoReturn

import cbor2

from fieldstone.identity.report import SCHEMA_VERSION, KindTable, Limits

_MAX_SEQ = 2**63 - 1
_MAX_SAFE = 2**53
_INTEGER_OR_NULL = frozenset({int, NoneType})
_NUMBERS = frozenset({int, float, NoneType})

# cbor2.loads overlooks bytes behind the item. Decoding [payload, secret] instead shows them: nobody can write a payload
# that is followed by this process's secret.
_SECRET = secrets.token_bytes(16)
_OPEN, _CLOSE = b"\x82", b"\x50" + _SECRET


def _refuse_tag(value: object, immutable: bool) -> NoReturn:
    raise ValueError("tags are not used in a report")


_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_NO_TAGS: dict[int, Any] = {tag: _refuse_tag for tag in _TAGS}


class Parts(NamedTuple):
    """Where a message's parts are: it ends at `end`; `payload_item` is the payload with its CBOR length in front."""

    end: int
    protected: bytes
    payload_item: bytes
    payload: bytes
    signature: bytes


class Head(NamedTuple):
    """What the door needs of a report. Times in Unix ms; `readings` are rows."""

    seq: int
    start_ms: int
    end_ms: int
    readings: int


def envelope(body: bytes, start: int) -> Parts | None:
    """Take the message at `start` apart; None when it is not in the network's own form. About 1 µs."""
    try:
        protected_length = body[start + 2] - 0x40
        protected_end = start + 3 + protected_length
        if not 0 <= protected_length < 24 or body[protected_end] != 0xA0 or body[start : start + 2] != b"\xd2\x84":
            return None
        item = protected_end + 1
        head = body[item]
        if head == 0x58:
            payload, length = item + 2, body[item + 1]
            if length < 24:
                return None
        elif head == 0x59:
            payload, length = item + 3, (body[item + 1] << 8) | body[item + 2]
            if length < 0x100:
                return None
        else:
            return None
        signature = payload + length
        end = signature + 66
        if body[signature : signature + 2] != b"\x58\x40" or end > len(body):
            return None
        return Parts(
            end,
            body[start + 3 : protected_end],
            body[item:signature],
            body[payload:signature],
            body[signature + 2 : end],
        )
    except IndexError:
        return None


def report_head(payload: bytes, kinds: Mapping[tuple[str, str], Names], limits: Limits) -> Head | None:
    """Check a payload and return its head; None when it needs the full decoder to say what is wrong, if anything."""
    try:
        body, secret = cbor2.loads(
            _OPEN + payload + _CLOSE,
            max_depth=4,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NO_TAGS,
        )
        if secret != _SECRET:
            return None
        seq, start_ms, columns = body[4], body[5], body[8]
        names = kinds[body[2], body[3]]
        if body[1] != SCHEMA_VERSION:
            return None
        if type(seq) is not int or type(start_ms) is not int or type(columns) is not dict or type(body[1]) is not int:
            return None
        if not (1 <= seq <= _MAX_SEQ and 0 <= start_ms < _MAX_SAFE):
            return None
        if len(body) == 6:
            count, span_ms = 1, 0
        elif len(body) == 8:
            span_ms = body[6]
            count = _count_of_times(body[7], span_ms)
        else:
            return None
        if not (1 <= count <= limits.max_readings and span_ms <= limits.max_span_ms) or not columns:
            return None
        return Head(seq, start_ms, start_ms + span_ms, count) if _columns_fit(columns, names, count) else None
    except (cbor2.CBORDecodeError, KeyError, TypeError, ValueError, IndexError, OverflowError, RecursionError):
        return None


def _count_of_times(times: Any, span_ms: Any) -> int:
    """Return how many readings field 7 speaks of; 0 when the full decoder should look."""
    if type(times) is not list or type(span_ms) is not int or type(times[0]) is not int or times[0] < 1:
        return 0
    unit_ms = times[0]
    if type(times[1]) is list:
        first, count = times[1]
        if len(times) != 2 or type(first) is not int or type(count) is not int or first < 0:
            return 0
        return count if (first + count - 1) * unit_ms <= span_ms else 0
    del times[0]
    if {*map(type, times)} != {int} or min(times) < 0 or max(times) * unit_ms > span_ms:
        return 0
    return len(times)


def _columns_fit(columns: dict[Any, Any], names: Names, count: int) -> bool:
    # A column may be given by name or by place; with both styles in one report two keys may mean one column.
    kinds = {*map(type, columns)}
    if not ((kinds == {int} and columns.keys() <= names.places) or (kinds == {str} and columns.keys() <= names.texts)):
        return False
    lists = columns.values()
    if {*map(type, lists)} != {list}:
        return False
    if count == 1 and {*map(len, lists)} == {2}:
        flat = [item for values in lists for item in values]
        decimals, values = flat[::2], flat[1::2]
        if {*map(type, decimals)} != {int} or not 0 <= min(decimals) <= max(decimals) <= 9:
            return False
        if {*map(type, values)} <= _INTEGER_OR_NULL:
            return True
    return all(_column_fits(values, count) for values in lists)


def _column_fits(values: list[Any], count: int) -> bool:
    decimals = values[0]
    if type(decimals) is not int or not 0 <= decimals <= 9:
        return False
    if count > 1 and len(values) == 2:
        return type(values[1]) is bytes and len(values[1]) in (2 * count, 4 * count)
    types = {*map(type, values[1:])}
    if len(values) != count + 1 or not types <= (_INTEGER_OR_NULL if decimals else _NUMBERS):
        return False
    return bool(decimals) or math.isfinite(sum([value for value in values if value is not None]))


class Names(NamedTuple):
    """How the columns of one report kind may be called."""

    texts: frozenset[str]
    places: frozenset[int]


def names_of(kinds: KindTable) -> dict[tuple[str, str], Names]:
    """Return (service, kind) → the keys that its columns may have, for `report_head`."""
    return {kind: Names(frozenset(names), frozenset(range(len(names)))) for kind, names in kinds.items()}


def seq_of(payload: bytes) -> int:
    """Return the sequence number of a payload that was checked before, as every one in a journal was."""
    return int(cbor2.loads(payload)[4])
