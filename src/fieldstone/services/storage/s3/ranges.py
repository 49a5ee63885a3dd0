"""Byte ranges of reads and part copies, always returned half open: start … end."""

from __future__ import annotations

import re

from fieldstone.services.storage.s3.conditions import etag_matches
from fieldstone.services.storage.s3.dates import parse_http_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,19})\s*-\s*(\d{1,19})?|-\s*(\d{1,19}))", re.ASCII | re.IGNORECASE)
_COPY = re.compile(r"bytes=(\d{1,19})-(\d{1,19})", re.ASCII)


def read_range(value: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Return the bytes a Range header asks for, None for the whole object.

    Several ranges or an unreadable header mean the whole object, as S3 answers them. Errors: InvalidRange where no byte
    of the object is asked for.
    """
    match = _RANGE.fullmatch(value.strip()) if value else None
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size_bytes - int(suffix)), size_bytes
    else:
        start, end = int(first), size_bytes if last is None else min(int(last) + 1, size_bytes)
        if last is not None and int(last) < start:
            return None
    if start >= end:
        raise S3Error(
            "InvalidRange",
            detail={"RangeRequested": value or "", "ActualObjectSize": str(size_bytes)},
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return start, end


def range_of(request: Request, size_bytes: int, etag: str, modified_ms: int) -> tuple[int, int] | None:
    """Return `read_range` of a request; a stale If-Range (RFC 9110 13.1.5) means the whole object."""
    condition = request.header("if-range")
    if condition is not None:
        seconds = parse_http_date(condition)
        fresh = modified_ms // 1000 == seconds if seconds is not None else etag_matches(condition, etag)
        if not fresh or condition.startswith("W/"):
            return None
    return read_range(request.header("range"), size_bytes)


def content_range(start: int, end: int, size_bytes: int) -> str:
    """Render `Content-Range` of a half-open range."""
    return f"bytes {start}-{end - 1}/{size_bytes}"


def copy_range(value: str | None, size_bytes: int) -> tuple[int, int]:
    """Return the bytes `x-amz-copy-source-range` asks for. Errors: InvalidArgument (form), InvalidRange (beyond the end)."""
    if value is None:
        return 0, size_bytes
    match = _COPY.fullmatch(value)
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the"
            " zero-based offsets of the first and last bytes to copy",
            detail={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": value},
        )
    start, end = int(match[1]), int(match[2]) + 1
    if end > size_bytes:
        raise S3Error("InvalidRange", detail={"RangeRequested": value, "ActualObjectSize": str(size_bytes)})
    return start, end
