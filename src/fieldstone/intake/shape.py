"""Shapes: a device sends the same kind of report again and again, so its form can be checked by one pattern.

From a report that was accepted, `learn` makes a bytes pattern that fits exactly the payloads of the same form — same
fields, columns and number of readings, any values of the allowed types. Matching costs 2 µs where decoding costs 15.
A payload that does not match is decoded as usual; a test makes sure that whatever matches decodes to the same head.

Only evenly spaced times with packed columns, and single readings, have a shape: that is what agents send.
"""

from __future__ import annotations

import re
from typing import Any

import cbor2

from fieldstone.identity.report import Limits
from fieldstone.intake.glance import Head

_UINT = rb"([\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b[\x00-\x7f].{7})"
_INT = rb"(?:[\x00-\x17\x20-\x37]|[\x18\x38].|[\x19\x39]..|[\x1a\x3a].{4}|[\x1b\x3b].{8})"
_FLOAT = rb"\xfb(?![\x7f\xff][\xf0-\xff]).{8}"  # not NaN, not infinite: IEEE 754 keeps the highest exponent for those
_ONE_VALUE = rb"\x82(?:[\x00-\x09](?:" + _INT + rb"|\xf6)|\x00" + _FLOAT + rb")"
_MAX_SAFE = 2**53
_from_bytes = int.from_bytes
_NO_SPAN = {1, 2, 3, 4, 5, 8}
_WITH_SPAN = _NO_SPAN | {6, 7}


class Shape:
    """A learnt form. `count` readings; `has_span`: fields 6 and 7 are there."""

    __slots__ = ("_count", "_has_span", "_limits", "_match")

    def __init__(self, pattern: re.Pattern[bytes], count: int, has_span: bool, limits: Limits) -> None:
        self._match = pattern.fullmatch
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
    shape = Shape(re.compile(pattern, re.DOTALL), count, has_span, limits)
    return shape if shape.head(payload) is not None else None


def _literal(value: object) -> bytes:
    return re.escape(cbor2.dumps(value))


def _number(item: bytes) -> int:
    return item[0] if len(item) == 1 else _from_bytes(item[1:], "big")
