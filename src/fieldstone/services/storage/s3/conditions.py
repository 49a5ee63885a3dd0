"""Conditional requests: whether a read, write, copy or delete goes ahead, given the object as it is now.

Precedence (RFC 9110 13.2.2; S3 API reference, GetObject and CopyObject): If-Match outranks If-Unmodified-Since,
If-None-Match outranks If-Modified-Since. Dates count in whole seconds; a date that cannot be read is ignored.
"""

from __future__ import annotations

from fieldstone.services.storage.s3.dates import http_date, parse_http_date, parse_iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request


def etag_matches(condition: str, etag: str) -> bool:
    """Return whether a list of entity tags holds `etag` (given without quotes); `*` matches all."""
    for item in condition.split(","):
        item = item.strip()
        if item == "*":
            return True
        if item.removeprefix("W/").strip('"') == etag:
            return True
    return False


def _since(request: Request, name: str) -> int | None:
    value = request.header(name)
    return parse_http_date(value) if value else None


def _failed(name: str) -> S3Error:
    return S3Error("PreconditionFailed", detail={"Condition": name})


def check_read(request: Request, etag: str, modified_ms: int) -> None:
    """GET and HEAD. Errors: PreconditionFailed, NotModified (with ETag and Last-Modified)."""
    modified_s = modified_ms // 1000
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if match is not None:
        if not etag_matches(match, etag):
            raise _failed("If-Match")
    elif (limit := _since(request, "if-unmodified-since")) is not None and modified_s > limit:
        raise _failed("If-Unmodified-Since")
    if none_match is not None:
        unchanged = etag_matches(none_match, etag)
    else:
        limit = _since(request, "if-modified-since")
        unchanged = limit is not None and modified_s <= limit
    if unchanged:
        raise S3Error("NotModified", headers={"ETag": f'"{etag}"', "Last-Modified": http_date(modified_s)})


def check_copy_source(request: Request, etag: str, modified_ms: int) -> None:
    """The `x-amz-copy-source-if-*` headers of a copy. Errors: PreconditionFailed."""
    prefix, modified_s = "x-amz-copy-source-if-", modified_ms // 1000
    match, none_match = request.header(prefix + "match"), request.header(prefix + "none-match")
    if match is not None:
        if not etag_matches(match, etag):
            raise _failed(prefix + "match")
    elif (limit := _since(request, prefix + "unmodified-since")) is not None and modified_s > limit:
        raise _failed(prefix + "unmodified-since")
    if none_match is not None:
        if etag_matches(none_match, etag):
            raise _failed(prefix + "none-match")
    elif (limit := _since(request, prefix + "modified-since")) is not None and modified_s <= limit:
        raise _failed(prefix + "modified-since")


def check_write(request: Request, current_etag: str | None) -> None:
    """PUT, CompleteMultipartUpload, copy: `current_etag` of the key's current object, None where there is none.

    Ask inside the transaction that makes the object visible. Errors: PreconditionFailed; NoSuchKey (If-Match without an
    object); NotImplemented (If-None-Match other than `*`, as S3).
    """
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if none_match is not None:
        if none_match.strip().strip('"') != "*":
            if current_etag is not None and etag_matches(none_match, current_etag):
                raise _failed("If-None-Match")
        elif current_etag is not None:
            raise _failed("If-None-Match")
    if match is not None:
        if current_etag is None:
            raise S3Error("NoSuchKey")
        if not etag_matches(match, current_etag):
            raise _failed("If-Match")


def check_delete(
    etag: str | None, modified_ms: int | None, size_bytes: int | None, current: tuple[str, int, int] | None
) -> None:
    """DELETE with If-Match, x-amz-if-match-last-modified-time and -size; `current`: etag, modified ms, size in bytes.

    Where nothing is there, nothing is to be deleted, and that is no error; a delete marker is something, without an ETag.
    Errors: PreconditionFailed.
    """
    if current is None:
        return
    if etag is not None and not etag_matches(etag, current[0]):
        raise _failed("If-Match")
    if modified_ms is not None and modified_ms // 1000 != current[1] // 1000:
        raise _failed("x-amz-if-match-last-modified-time")
    if size_bytes is not None and size_bytes != current[2]:
        raise _failed("x-amz-if-match-size")


def delete_conditions(request: Request) -> tuple[str | None, int | None, int | None]:
    """Return the three conditions of a DELETE's headers for `check_delete`. Errors: InvalidArgument."""
    moment, size = request.header("x-amz-if-match-last-modified-time"), request.header("x-amz-if-match-size")
    modified_ms: int | None = None
    if moment is not None:
        seconds = parse_http_date(moment)
        modified_ms = seconds * 1000 if seconds is not None else parse_iso_date(moment)
        if modified_ms is None:
            raise S3Error("InvalidArgument", "x-amz-if-match-last-modified-time is no date.")
    if size is not None and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise S3Error("InvalidArgument", "x-amz-if-match-size is no number of bytes.")
    return request.header("if-match"), modified_ms, int(size) if size is not None else None
