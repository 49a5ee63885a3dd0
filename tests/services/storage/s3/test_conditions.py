"""Conditional requests and ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.s3 import conditions, ranges
from fieldstone.services.storage.s3.dates import http_date, iso_date, parse_basic_date, parse_http_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

ETAG, NOW_S = "0123", 1_700_000_000
BEFORE, SAME, AFTER = http_date(NOW_S - 10), http_date(NOW_S), http_date(NOW_S + 10)


def request(headers: dict[str, str]) -> Request:
    return Request("GET", b"/b/k", b"", [(n.encode(), v.encode()) for n, v in headers.items()])


def outcome(check: object, headers: dict[str, str], *arguments: object) -> str:
    try:
        check(request(headers), *arguments)  # type: ignore[operator]
    except S3Error as error:
        return error.code
    return "ok"


READS = [
    ({}, "ok"),
    ({"if-match": '"0123"'}, "ok"),
    ({"if-match": "0123"}, "ok"),
    ({"if-match": '"a", "0123"'}, "ok"),
    ({"if-match": "*"}, "ok"),
    ({"if-match": '"a"'}, "PreconditionFailed"),
    ({"if-none-match": '"0123"'}, "NotModified"),
    ({"if-none-match": 'W/"0123"'}, "NotModified"),
    ({"if-none-match": "*"}, "NotModified"),
    ({"if-none-match": '"a"'}, "ok"),
    ({"if-modified-since": BEFORE}, "ok"),
    ({"if-modified-since": SAME}, "NotModified"),
    ({"if-modified-since": AFTER}, "NotModified"),
    ({"if-modified-since": "rubbish"}, "ok"),
    ({"if-unmodified-since": BEFORE}, "PreconditionFailed"),
    ({"if-unmodified-since": SAME}, "ok"),
    ({"if-match": '"0123"', "if-unmodified-since": BEFORE}, "ok"),
    ({"if-match": '"a"', "if-none-match": '"b"'}, "PreconditionFailed"),
    ({"if-none-match": '"a"', "if-modified-since": AFTER}, "ok"),
    ({"if-none-match": '"0123"', "if-modified-since": BEFORE}, "NotModified"),
    ({"if-match": '"0123"', "if-none-match": '"0123"'}, "NotModified"),
]


@pytest.mark.parametrize(("headers", "expected"), READS)
def test_reads(headers: dict[str, str], expected: str) -> None:
    assert outcome(conditions.check_read, headers, ETAG, NOW_S * 1000 + 999) == expected


@pytest.mark.parametrize(("headers", "expected"), READS)
def test_copies_answer_412_where_reads_answer_304(headers: dict[str, str], expected: str) -> None:
    renamed = {f"x-amz-copy-source-{name}": value for name, value in headers.items()}
    wanted = "PreconditionFailed" if expected == "NotModified" else expected
    assert outcome(conditions.check_copy_source, renamed, ETAG, NOW_S * 1000) == wanted


def test_a_304_names_what_is_unchanged() -> None:
    with pytest.raises(S3Error) as caught:
        conditions.check_read(request({"if-none-match": "*"}), ETAG, NOW_S * 1000)
    assert caught.value.headers == {"ETag": '"0123"', "Last-Modified": SAME}


@pytest.mark.parametrize(
    ("headers", "current", "expected"),
    [
        ({}, None, "ok"),
        ({}, ETAG, "ok"),
        ({"if-none-match": "*"}, None, "ok"),
        ({"if-none-match": "*"}, ETAG, "PreconditionFailed"),
        ({"if-none-match": '"0123"'}, ETAG, "PreconditionFailed"),
        ({"if-none-match": '"a"'}, ETAG, "ok"),
        ({"if-match": '"0123"'}, ETAG, "ok"),
        ({"if-match": "*"}, ETAG, "ok"),
        ({"if-match": '"a"'}, ETAG, "PreconditionFailed"),
        ({"if-match": '"0123"'}, None, "NoSuchKey"),
        ({"if-match": "*"}, None, "NoSuchKey"),
    ],
)
def test_writes(headers: dict[str, str], current: str | None, expected: str) -> None:
    assert outcome(conditions.check_write, headers, current) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "ok"),
        ({"if-match": '"0123"'}, "ok"),
        ({"if-match": '"a"'}, "PreconditionFailed"),
        ({"x-amz-if-match-size": "5"}, "ok"),
        ({"x-amz-if-match-size": "6"}, "PreconditionFailed"),
        ({"x-amz-if-match-size": "-5"}, "InvalidArgument"),
        ({"x-amz-if-match-last-modified-time": SAME}, "ok"),
        ({"x-amz-if-match-last-modified-time": BEFORE}, "PreconditionFailed"),
        ({"x-amz-if-match-last-modified-time": "rubbish"}, "InvalidArgument"),
    ],
)
def test_deletes(headers: dict[str, str], expected: str) -> None:
    def check(the_request: Request) -> None:
        conditions.check_delete(*conditions.delete_conditions(the_request), (ETAG, NOW_S * 1000, 5))

    assert outcome(check, headers) == expected


def test_what_is_not_there_is_deleted_whatever_was_expected_of_it() -> None:
    conditions.check_delete('"a"', 5, 5, None)
    with pytest.raises(S3Error, match="PreconditionFailed"):  # a delete marker is there
        conditions.check_delete('"a"', None, None, ("", 5, 0))
    conditions.check_delete("*", None, None, ("", 5, 0))


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=2-", 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=5-100", 10, (5, 10)),
        ("Bytes = 1 - 2", 10, (1, 3)),
        ("bytes=3-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("items=0-1", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=-", 10, None),
        ("bytes=٣-٤", 10, None),
        ("bytes=10-", 10, "InvalidRange"),
        ("bytes=10-11", 10, "InvalidRange"),
        ("bytes=-0", 10, "InvalidRange"),
        ("bytes=0-", 0, "InvalidRange"),
        ("bytes=-1", 0, "InvalidRange"),
    ],
)
def test_ranges(value: str | None, size: int, expected: object) -> None:
    try:
        found: object = ranges.read_range(value, size)
    except S3Error as error:
        assert error.headers["Content-Range"] == f"bytes */{size}"
        found = error.code
    assert found == expected


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_that_of_a_slice(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    try:
        found = ranges.read_range(f"bytes={first}-{last}", size)
    except S3Error:
        assert not data[first : last + 1]
        return
    if found is None:
        assert last < first
    else:
        assert data[slice(*found)] == data[first : last + 1]


def test_if_range() -> None:
    for value, whole in (
        (f'"{ETAG}"', False),
        ('"a"', True),
        (SAME, False),
        (BEFORE, True),
        (AFTER, True),
        (f'W/"{ETAG}"', True),
    ):
        found = ranges.range_of(request({"range": "bytes=0-1", "if-range": value}), 10, ETAG, NOW_S * 1000)
        assert (found is None) == whole, value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (0, 10)),
        ("bytes=0-9", (0, 10)),
        ("bytes=3-3", (3, 4)),
        ("bytes=0-10", "InvalidRange"),
        ("bytes=5-4", "InvalidArgument"),
        ("bytes=0-", "InvalidArgument"),
        ("bytes=-3", "InvalidArgument"),
        ("0-2", "InvalidArgument"),
        ("bytes=0-1,2-3", "InvalidArgument"),
    ],
)
def test_copy_ranges(value: str | None, expected: object) -> None:
    try:
        found: object = ranges.copy_range(value, 10)
    except S3Error as error:
        found = error.code
    assert found == expected


@given(st.integers(0, 4_000_000_000))
def test_dates_come_back(unix_s: int) -> None:
    assert parse_http_date(http_date(unix_s)) == unix_s
    assert parse_iso_date(iso_date(unix_s * 1000 + 7)) == unix_s * 1000 + 7


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "20260101T250000Z",
        "Thu, 99 Xxx 2026 00:00:00 GMT",
        "9" * 400,
        "0001-01-01T00:00:00Zx",
    ],
)
def test_what_is_no_date(value: str) -> None:
    assert parse_http_date(value) is None or value.startswith("9")
    assert parse_iso_date(value) is None
    assert parse_basic_date(value) is None


def test_iso_dates_with_zones() -> None:
    assert (
        parse_iso_date("2026-01-01T02:00:00+02:00")
        == parse_iso_date("2026-01-01T00:00:00Z")
        == parse_iso_date("2026-01-01")
    )
