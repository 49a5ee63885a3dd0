"""Shapes: a device sends the same kind of report again and again, so its form can be checked by one pattern.

From a report that was accepted, `learn` makes a bytes pattern that fits exactly the payloads of the same form — same
fields, columns and number of readings, any values of the allowed types. Matching costs 2 µs where decoding costs 15.
A payload that does not match is decoded as usual; a test makes sure that whatever matches decodes to the same head.
A second pattern fits whole messages with such payloads: one search cuts a body full of them up and checks them, for 1 µs
a message.

Only evenly spaced times with packed columns, and single readings, have a shape: that is what agents send.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import lt
from struct import unpack
from typing import Any, NamedTuple

import cbor2

from fieldstone.identity.report import Limits
from fieldstone.intake.glance import Head

_UINT = rb"([\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b[\x00-\x7f].{7})"
_INT_OR_NULL = rb"[\x18\x38].|[\x19\x39]..|[\x00-\x17\x20-\x37]|[\x1a\x3a].{4}|\xf6|[\x1b\x3b].{8}"  # usual ones first
_FLOAT = rb"\xfb(?![\x7f\xff][\xf0-\xff]).{8}"  # not NaN, not infinite: IEEE 754 keeps the highest exponent for those
_ONE_VALUE = rb"\x82(?:[\x00-\x09](?:" + _INT_OR_NULL + rb")|\x00" + _FLOAT + rb")"
# A message (`identity.cose`) around a payload; protected headers have 13 or 14 bytes. Lengths are compared afterwards.
_BEFORE = rb"(\xd2\x84(\x4d.{13}|\x4e.{14})\xa0((?:\x58.|\x59..)"
_BEHIND = rb")\x58\x40(.{64}))"
_UNPACKED = {1: "B", 2: "xB", 3: "xH", 5: "xI", 9: "xQ"}  # by the bytes of a CBOR integer
_MAX_SAFE = 2**53
_from_bytes = int.from_bytes
_NO_SPAN = {1, 2, 3, 4, 5, 8}
_WITH_SPAN = _NO_SPAN | {6, 7}


class Columns(NamedTuple):
    """The messages of a body, a column for each of their parts. Times in Unix ms; each has `readings` rows.

    `payload_items` are payloads with their CBOR length in front.
    """

    messages: Sequence[bytes]
    payload_items: Sequence[bytes]
    signatures: Sequence[bytes]
    seqs: Sequence[int]
    starts_ms: Sequence[int]
    ends_ms: Sequence[int]
    readings: int

    def payload(self, place: int) -> bytes:
        """Return the payload of one message."""
        item = self.payload_items[place]
        return item[2:] if item[0] == 0x58 else item[3:]

    def head(self, place: int) -> Head:
        """Return the head of one message."""
        return Head(self.seqs[place], self.starts_ms[place], self.ends_ms[place], self.readings)


class Shape:
    """A learnt form. `count` readings; `has_span`: fields 6 and 7 are there."""

    __slots__ = ("_count", "_has_span", "_limits", "_match", "_message", "_pattern")

    def __init__(self, pattern: bytes, count: int, has_span: bool, limits: Limits) -> None:
        self._pattern = pattern
        self._match = re.compile(pattern, re.DOTALL).fullmatch
        self._message: re.Pattern[bytes] | None = None  # made when first used: half a millisecond
        self._count = count
        self._has_span = has_span
        self._limits = limits

    def head(self, payload: bytes) -> Head | None:
        """Return the head of a payload of this form; None for any other."""
        found = self._match(payload)
        if found is None:
            return None
        if not self._has_span:
            first, second = found.groups()
            seq = first[0] if len(first) == 1 else _from_bytes(first[1:], "big")
            start_ms = _number(second)
            return Head(seq, start_ms, start_ms, 1) if seq and start_ms < _MAX_SAFE else None
        seq, start_ms, span_ms, unit_ms, offset = map(_number, found.groups())
        if not seq or start_ms >= _MAX_SAFE or span_ms > self._limits.max_span_ms or not unit_ms:
            return None
        if (offset + self._count - 1) * unit_ms > span_ms:
            return None
        return Head(seq, start_ms, start_ms + span_ms, self._count)

    def columns(self, body: bytes, protected: bytes) -> Columns | None:
        """Cut up a body of messages that all have this form and this protected header, numbers rising; else None."""
        if self._message is None:
            self._message = re.compile(_BEFORE + self._pattern + _BEHIND, re.DOTALL)
        if self._message.match(body) is None:
            return None
        found: list[tuple[bytes, ...]] = self._message.findall(body)
        messages, headers, items, *numbers, signatures = zip(*found, strict=True)
        # A search skips what does not match; if nothing was skipped, the messages are as long as the body.
        if sum(map(len, messages)) != len(body) or headers.count(_short_bstr(protected)) != len(headers):
            return None
        heads = {*zip([item[:3] for item in items], map(len, items), strict=True)}
        if not all([_says_its_length(head, length) for head, length in heads]):
            return None
        seqs, starts_ms, *others = map(_numbers, numbers)
        if not seqs[0] or not all(map(lt, seqs, seqs[1:])) or max(starts_ms) >= _MAX_SAFE:
            return None
        ends_ms = starts_ms
        if self._has_span:
            spans_ms, units_ms, offsets = others
            if max(spans_ms) > self._limits.max_span_ms or not all(units_ms):
                return None
            last = self._count - 1
            if not all([(o + last) * u <= s for o, u, s in zip(offsets, units_ms, spans_ms, strict=True)]):
                return None
            ends_ms = [start + span for start, span in zip(starts_ms, spans_ms, strict=True)]
        return Columns(messages, items, signatures, seqs, starts_ms, ends_ms, self._count)


def learn(payload: bytes, limits: Limits) -> Shape | None:
    """Make the shape of a payload that the full decoder accepts; None when its form is not a common one."""
    body: dict[Any, Any] = cbor2.loads(payload)
    has_span = body.keys() == _WITH_SPAN
    if (not has_span and body.keys() != _NO_SPAN) or list(body) != sorted(body):
        return None
    count = 1
    if has_span:
        times = body[7]
        if len(times) != 2 or type(times[1]) is not list or times[1][1] < 2:
            return None
        count = times[1][1]
    exact = re.escape(payload[:1]) + rb"\x01\x01\x02" + _literal(body[2]) + rb"\x03" + _literal(body[3])
    pattern = exact + rb"\x04" + _UINT + rb"\x05" + _UINT
    if has_span:
        pattern += rb"\x06" + _UINT + rb"\x07\x82" + _UINT + rb"\x82" + _UINT + _literal(count)
        lengths = [cbor2.dumps(bytes(width * count))[: -width * count] for width in (2, 4)]
        packed = [re.escape(head) + b".{%d}" % (width * count) for head, width in zip(lengths, (2, 4), strict=True)]
        value = rb"\x82[\x00-\x09](?:" + b"|".join(packed) + rb")"
    else:
        value = _ONE_VALUE
    columns = body[8]
    pattern += rb"\x08" + re.escape(bytes([0xA0 + len(columns)])) + b"".join([_literal(k) + value for k in columns])
    if len(columns) > 23:
        return None
    shape = Shape(pattern, count, has_span, limits)
    return shape if shape.head(payload) is not None else None


def _literal(value: object) -> bytes:
    return re.escape(cbor2.dumps(value))


def _number(item: bytes) -> int:
    return item[0] if len(item) == 1 else _from_bytes(item[1:], "big")


def _numbers(items: Sequence[bytes]) -> Sequence[int]:
    widths = {*map(len, items)}
    if len(widths) == 1:
        return unpack(">" + _UNPACKED[widths.pop()] * len(items), b"".join(items))
    return [_number(item) for item in items]


def _says_its_length(head: bytes, length: int) -> bool:
    """Whether an item of `length` bytes that begins with `head` is one byte string, its length in the shortest form."""
    if head[0] == 0x58:
        return 24 <= head[1] == length - 2
    return 0x100 <= _from_bytes(head[1:3], "big") == length - 3


def _short_bstr(data: bytes) -> bytes:
    return bytes((0x40 + len(data),)) + data
