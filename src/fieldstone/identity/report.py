"""The payload of a report: many readings under one signature, stored by column. The wire table:

    1  schema version     uint, 1
    2  service            text, e.g. "sensing"
    3  kind               text, e.g. "readings"
    4  seq                uint, rises strictly with every report of a device
    5  start_ms           uint, Unix ms
    6  span_ms            uint; the report covers start_ms … start_ms + span_ms
    7  times              [unit_ms, o₁, o₂, …]   reading i was taken at start_ms + unit_ms · oᵢ
                          or [unit_ms, [first, count]] when the offsets are first, first + 1, …
    8  columns            {column: [decimals, v₁, v₂, …] or [decimals, packed]}   value i is vᵢ / 10^decimals, or null

    9  document           byte string, in place of 6, 7 and 8: for kinds whose format is the service's own (proofs, leases)

Fields 6 and 7 are left out together for one reading taken at start_ms. A column is named by its text, or by its place
in the service's table of columns (0-based; tables only ever grow at the end). With decimals = 0 the values may be
floats. `packed` is a byte string of little-endian int16 or int32 (the length tells), the most negative number meaning
null: 60 readings of 7 variables take 0.9 kB instead of 4, and a third of the time to read. A decimal value such as
21.3 comes out as exactly the float that the text "21.3" means.

Times may come in any order and repeat: judging that is verification's work, not the door's.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, NoReturn, Protocol

import cbor2
import numpy as np
from numpy.typing import NDArray

from fieldstone.errors import Rejected, UsageError
from fieldstone.policy import IntakePolicy
from fieldstone.reasons import reason

SCHEMA_VERSION = 1

KindTable = Mapping[tuple[str, str], tuple[str, ...]]
"""(service, kind) → names of its columns, in the order of the service's table; none for a kind of document."""

_INTEGER_OR_NULL = {int, NoneType}
_NUMBER_OR_NULL = {float, int, NoneType}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_MAX_SAFE = 2**53
_MAX_SEQ = 2**63 - 1
_MAX_DECIMALS = 9
_SCALES = tuple(10**decimals for decimals in range(_MAX_DECIMALS + 1))
_PACKED: dict[int, str] = {2: "<i2", 4: "<i4"}
_LOWEST = {2: b"\x00\x80", 4: b"\x00\x00\x00\x80"}  # −2¹⁵ and −2³¹, little-endian: a packed null
_PACK_FROM = 4  # readings; below, the list is as short
_DOCUMENT_FIELDS = {1, 2, 3, 4, 5, 9}
_DEPTH = 3  # map → columns → values

# cbor2 turns known tags into dates, regular expressions, decimals, shared references, MIME messages …; a report needs
# none of them, and each is a way to make the decoder work hard. Unknown tags come out as CBORTag and are refused too.
_KNOWN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def _refuse_tag(value: object, immutable: bool) -> NoReturn:
    raise ValueError("tags are not used in a report")


_NO_TAGS: dict[int, Any] = {tag: _refuse_tag for tag in _KNOWN_TAGS}


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


class _HasKinds(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def kinds(self) -> Mapping[str, Sequence[_HasName]]: ...
    @property
    def documents(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `times_ms` are Unix ms, `columns` lists of the same length: finite floats or None.

    `document`: the body of a kind of document, which has neither times nor columns.
    """

    schema_version: int
    service: str
    kind: str
    seq: int
    start_ms: int
    end_ms: int
    times_ms: list[int]
    columns: dict[str, list[float | None]]
    document: bytes = b""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes that the network's policy sets: readings (rows) in one report, longest time span in ms."""

    max_readings: int = 2_000
    max_span_ms: int = 86_400_000

    @classmethod
    def of(cls, policy: IntakePolicy) -> Limits:
        """Take them from the policy."""
        return cls(policy.max_readings, policy.max_span_s * 1_000)


DEFAULT_LIMITS = Limits()


def kind_table(services: Iterable[_HasKinds]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Gather the report kinds of services into the table that `decode` checks against."""
    table: dict[tuple[str, str], tuple[str, ...]] = {}
    for service in services:
        for kind, columns in service.kinds.items():
            table[service.name, kind] = tuple(column.name for column in columns)
        for kind in service.documents:
            table[service.name, kind] = ()
    return table


def decode(payload: bytes, kinds: KindTable | None = None, limits: Limits = DEFAULT_LIMITS) -> Report:
    """Read and check a payload. With `kinds`, kind and columns must be in the table; without, columns need names.

    Raises Rejected: BAD_CBOR, BAD_PAYLOAD, UNKNOWN_KIND, BAD_TIME_SPAN, TOO_MANY_READINGS, BAD_NUMBER.
    """
    body = _load(payload)
    if 9 in body:
        return _document(body, kinds)
    try:
        version, service, kind, seq = body[1], body[2], body[3], body[4]
        start_ms, span_ms, times, raw_columns = body[5], body.get(6, 0), body.get(7, [1, 0]), body[8]
    except KeyError as missing:
        _refuse("BAD_PAYLOAD", f"field {missing} is missing")
    if len(body) != 8 and (len(body) != 6 or 6 in body or 7 in body):
        _refuse("BAD_PAYLOAD", "fields other than 1 … 8, or one of 6 and 7 without the other")
    _check_head(version, service, kind, seq)
    if type(start_ms) is not int or type(span_ms) is not int or not 0 <= start_ms < _MAX_SAFE:
        _refuse("BAD_TIME_SPAN", "start_ms and span_ms are integers, start_ms from 0 to 2^53 - 1")
    if not 0 <= span_ms <= limits.max_span_ms:
        _refuse("BAD_TIME_SPAN", f"the span is {span_ms} ms, allowed are 0 … {limits.max_span_ms}")
    times_ms = _read_times(times, start_ms, span_ms, limits)
    if type(raw_columns) is not dict or not raw_columns:
        _refuse("BAD_PAYLOAD", "field 8 is a map with at least one column")
    names = _names(service, kind, kinds)
    if names == {}:
        _refuse("BAD_PAYLOAD", f"{service}/{kind} is a document: field 9 in place of 6, 7 and 8")
    columns: dict[str, list[float | None]] = {}
    packed: list[tuple[str, int, bytes]] = []
    for key, values in raw_columns.items():
        name = names.get(key) if names is not None else key
        if name is None or (names is None and (type(key) is not str or not _NAME.match(key))):
            _refuse("BAD_PAYLOAD", f"column {key!r:.80} is not one of {service}/{kind}")
        if name in columns:
            _refuse("BAD_PAYLOAD", f"column {name} is given by name and by number")
        columns[name] = _read_column(name, values, len(times_ms), packed)
    if packed:
        _unpack(columns, packed, len(times_ms))
    return Report(version, service, kind, seq, start_ms, start_ms + span_ms, times_ms, columns)


def encode(report: Report, kinds: KindTable | None = None) -> bytes:
    """Write the payload in its shortest form. With `kinds` columns go by number, without by name.

    Raises UsageError when the report cannot be expressed (a time before its start, NaN).
    """
    if report.document:
        return _encode_document(report)
    names = kinds[report.service, report.kind] if kinds is not None else ()
    offsets = [time - report.start_ms for time in report.times_ms]
    unit_ms = math.gcd(*offsets) or 1
    if min(offsets, default=0) < 0 or report.end_ms < report.start_ms:
        raise UsageError(f"report {report.seq}: a time or the end lies before start_ms")
    columns: dict[int | str, list[float | int | bytes | None]] = {}
    for name, values in report.columns.items():
        if len(values) != len(offsets):
            raise UsageError(f"report {report.seq}: column {name} has {len(values)} values for {len(offsets)} times")
        if kinds is not None and name not in names:
            raise UsageError(f"report {report.seq}: {report.service}/{report.kind} has no column {name}")
        columns[names.index(name) if kinds is not None else name] = _write_column(name, values)
    steps = [offset // unit_ms for offset in offsets]
    is_even = len(steps) > 1 and steps == list(range(steps[0], steps[0] + len(steps)))
    body = {
        1: report.schema_version,
        2: report.service,
        3: report.kind,
        4: report.seq,
        5: report.start_ms,
        6: report.end_ms - report.start_ms,
        7: [unit_ms, [steps[0], len(steps)]] if is_even else [unit_ms, *steps],
        8: columns,
    }
    if offsets == [0] and report.end_ms == report.start_ms:
        del body[6], body[7]
    return cbor2.dumps(body, canonical=True)


def _check_head(version: Any, service: Any, kind: Any, seq: Any) -> None:
    if version != SCHEMA_VERSION or type(version) is not int:
        _refuse("UNKNOWN_KIND", f"schema version {version!r:.40}, this network speaks {SCHEMA_VERSION}")
    if type(service) is not str or type(kind) is not str:
        _refuse("BAD_PAYLOAD", "service and kind are texts")
    if type(seq) is not int or not 1 <= seq <= _MAX_SEQ:
        _refuse("BAD_PAYLOAD", "seq is an integer from 1 to 2^63 - 1")


def _document(body: dict[Any, Any], kinds: KindTable | None) -> Report:
    if body.keys() != _DOCUMENT_FIELDS:
        _refuse("BAD_PAYLOAD", "a document has the fields 1 … 5 and 9")
    version, service, kind, seq, start_ms, document = (body[field] for field in sorted(_DOCUMENT_FIELDS))
    _check_head(version, service, kind, seq)
    if type(start_ms) is not int or not 0 <= start_ms < _MAX_SAFE:
        _refuse("BAD_TIME_SPAN", "start_ms is an integer from 0 to 2^53 - 1")
    if _names(service, kind, kinds):
        _refuse("BAD_PAYLOAD", f"{service}/{kind} has columns: it is no document")
    if type(document) is not bytes or not document:
        _refuse("BAD_PAYLOAD", "field 9 is a byte string and not empty")
    return Report(version, service, kind, seq, start_ms, start_ms, [], {}, document)


def _encode_document(report: Report) -> bytes:
    if report.columns or report.times_ms or report.end_ms != report.start_ms:
        raise UsageError(f"report {report.seq}: a document has neither columns nor times, and ends when it starts")
    head = (report.schema_version, report.service, report.kind, report.seq, report.start_ms)
    return cbor2.dumps({**dict(enumerate(head, 1)), 9: report.document}, canonical=True)


def _refuse(code: str, detail: str) -> NoReturn:
    raise Rejected(reason(code), "", detail)


def _load(payload: bytes) -> dict[Any, Any]:
    decoder = cbor2.CBORDecoder(
        io.BytesIO(payload),
        max_depth=_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        semantic_decoders=_NO_TAGS,
    )
    try:
        body = decoder.decode()
    except (cbor2.CBORDecodeError, RecursionError, OverflowError, MemoryError) as error:
        raise Rejected(reason("BAD_CBOR"), "", f"payload: {error!s:.200}") from None
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        if type(body) is not dict:
            _refuse("BAD_PAYLOAD", "the payload is not a map")
        return body
    raise Rejected(reason("BAD_CBOR"), "", "bytes follow the payload's map")


def _read_times(times: Any, start_ms: int, span_ms: int, limits: Limits) -> list[int]:
    if type(times) is not list or len(times) < 2:
        _refuse("BAD_PAYLOAD", "field 7 is [unit_ms, offset, …] with at least one offset")
    if type(times[1]) is list:
        return _read_even_times(times, start_ms, span_ms, limits)
    if len(times) - 1 > limits.max_readings:
        _refuse("TOO_MANY_READINGS", f"{len(times) - 1} readings, allowed are {limits.max_readings}")
    if {*map(type, times)} != {int}:
        _refuse("BAD_PAYLOAD", "field 7 holds integers only")
    unit_ms = times.pop(0)
    if unit_ms < 1 or min(times) < 0 or max(times) * unit_ms > span_ms:
        _refuse("BAD_TIME_SPAN", "a reading's time lies outside start_ms … start_ms + span_ms, or the unit is below 1")
    return [start_ms + unit_ms * offset for offset in times]


def _read_even_times(times: list[Any], start_ms: int, span_ms: int, limits: Limits) -> list[int]:
    unit_ms, run = times[0], times[1]
    if len(times) != 2 or len(run) != 2 or not type(unit_ms) is type(run[0]) is type(run[1]) is int:
        _refuse("BAD_PAYLOAD", "field 7 with an even spacing is [unit_ms, [first, count]], all integers")
    first, count = run
    if not 1 <= count <= limits.max_readings:
        _refuse("TOO_MANY_READINGS", f"{count} readings, allowed are 1 … {limits.max_readings}")
    if unit_ms < 1 or first < 0 or (first + count - 1) * unit_ms > span_ms:
        _refuse("BAD_TIME_SPAN", "a reading's time lies outside start_ms … start_ms + span_ms, or the unit is below 1")
    return list(range(start_ms + unit_ms * first, start_ms + unit_ms * (first + count), unit_ms))


@lru_cache(maxsize=256)
def _by_name_and_number(names: tuple[str, ...]) -> dict[int | str, str]:
    return {**{name: name for name in names}, **dict(enumerate(names))}


def _names(service: str, kind: str, kinds: KindTable | None) -> dict[int | str, str] | None:
    if kinds is None:
        if not _NAME.match(service) or not _NAME.match(kind):
            _refuse("UNKNOWN_KIND", f"{service!r:.80}/{kind!r:.80} is no name of a kind")
        return None
    names = kinds.get((service, kind))
    if names is None:
        _refuse("UNKNOWN_KIND", f"{service!r:.80}/{kind!r:.80}")
    return _by_name_and_number(names)


def _read_column(name: str, values: Any, count: int, packed: list[tuple[str, int, bytes]]) -> list[float | None]:
    """Check one column and return its values; a packed one is noted in `packed` and filled in later, all at once."""
    if type(values) is not list or len(values) < 2:
        _refuse("BAD_PAYLOAD", f"column {name} is not [decimals, value, …]")
    decimals = values[0]
    if type(decimals) is not int or not 0 <= decimals <= _MAX_DECIMALS:
        _refuse("BAD_PAYLOAD", f"column {name}: decimals is an integer from 0 to {_MAX_DECIMALS}")
    if len(values) == 2:
        value = values[1]
        if type(value) is bytes:
            packed.append((name, decimals, value))
            return []
        if count == 1 and type(value) is int:  # the usual small report, without the general case's set of types
            return [value / _SCALES[decimals]]
    if len(values) != count + 1:
        _refuse("BAD_PAYLOAD", f"column {name} has {len(values) - 1} values for {count} times")
    del values[0]
    types = {*map(type, values)}
    if decimals:
        if not types <= _INTEGER_OR_NULL:
            _refuse("BAD_PAYLOAD", f"column {name}: with decimals the values are integers or null")
        scale = _SCALES[decimals]
        if NoneType in types:
            return [None if value is None else value / scale for value in values]
        return [value / scale for value in values]
    if not types <= _NUMBER_OR_NULL:
        _refuse("BAD_PAYLOAD", f"column {name}: values are numbers or null")
    if len(types) > 1 or float not in types:
        values = [None if value is None else float(value) for value in values]
    present = values if NoneType not in types else [value for value in values if value is not None]
    # A sum of huge but finite values may overflow: only then look at each.
    if not math.isfinite(sum(present)) and not all(map(math.isfinite, present)):
        _refuse("BAD_NUMBER", f"column {name} holds NaN or an infinity")
    return values  # type: ignore[no-any-return]


@lru_cache(maxsize=4_096)
def _scale_column(decimals: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array([[_SCALES[places]] for places in decimals], dtype=np.float64)


def _unpack(columns: dict[str, list[float | None]], packed: list[tuple[str, int, bytes]], count: int) -> None:
    """Fill in the packed columns, those of one width together: the cost per column is what is saved."""
    for width, dtype in _PACKED.items():
        group = [column for column in packed if len(column[2]) == width * count]
        if not group:
            continue
        joined = b"".join([column[2] for column in group])
        numbers = np.frombuffer(joined, dtype).reshape(len(group), count)
        values = (numbers / _scale_column(tuple([column[1] for column in group]))).tolist()
        for place, column in enumerate(group):
            columns[column[0]] = values[place]
        if _LOWEST[width] in joined:  # perhaps only across two numbers
            for row, place in np.argwhere(numbers == np.frombuffer(_LOWEST[width], dtype)[0]).tolist():
                columns[group[row][0]][place] = None
    for name, _, body in packed:
        if not columns[name]:
            _refuse("BAD_PAYLOAD", f"column {name}: {len(body)} packed bytes are not {count} int16 or int32")


def _write_column(name: str, values: Sequence[float | None]) -> list[float | int | bytes | None]:
    """Pick the fewest decimals that express every value exactly, packed if that is shorter; otherwise floats."""
    present = [value for value in values if value is not None]
    if not all(map(math.isfinite, present)):
        raise UsageError(f"column {name} holds NaN or an infinity: send null instead")
    for decimals in range(7):
        scale = _SCALES[decimals]
        scaled = [None if value is None else round(value * scale) for value in values]
        whole = [value for value in scaled if value is not None]
        largest = max(map(abs, whole), default=0)
        if largest >= 2**31:
            break
        if all(number / scale == value for number, value in zip(whole, present, strict=True)):
            if len(values) < _PACK_FROM:
                return [decimals, *scaled]
            width = 2 if largest < 2**15 else 4
            null = int.from_bytes(_LOWEST[width], "little", signed=True)
            numbers = [null if value is None else value for value in scaled]
            return [decimals, np.array(numbers, dtype=_PACKED[width]).tobytes()]
    return [0, *values]
