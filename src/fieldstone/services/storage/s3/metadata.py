"""What travels in headers with an object: its content headers, the user's `x-amz-meta-*`, overrides of a response.

Source: Amazon S3 user guide, "Working with object metadata": user metadata counts names and values in UTF-8, 2 KiB at
most; text outside ASCII is decoded per RFC 2047 before storing and encoded so before returning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header

from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

MAX_USER_BYTES = 2048
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
USER_PREFIX = "x-amz-meta-"
CONTENT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
OVERRIDES = {f"response-{name}": name for name in CONTENT_HEADERS}
STORAGE_CLASSES = frozenset(
    {
        "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE",
        "GLACIER_IR", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE",
    }
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """`content`: lower-case header → value; `user`: lower-case name without prefix → text."""

    content: Mapping[str, str]
    user: Mapping[str, str]
    storage_class: str = "STANDARD"
    website_redirect: str | None = None


def object_headers(request: Request) -> ObjectHeaders:
    """Read what an upload wants stored. Errors: MetadataTooLarge, InvalidStorageClass, InvalidArgument."""
    content = {}
    for name in CONTENT_HEADERS:
        value = request.header(name)
        if value is not None and name == "content-encoding":
            value = stored_encoding(value)
        if value:
            content[name] = value
    redirect = request.header("x-amz-website-redirect-location")
    for value in (*content.values(), redirect or ""):
        if _CONTROL.search(value):
            raise S3Error("InvalidArgument", "A header to be stored holds a control character.")
    return ObjectHeaders(content, user_metadata(request), storage_class(request), redirect)


def stored_encoding(value: str) -> str:
    """Strip `aws-chunked`, which frames the request and is no property of the object."""
    return ", ".join(t for t in (token.strip() for token in value.split(",")) if t and t.lower() != "aws-chunked")


def storage_class(request: Request) -> str:
    """Return the storage class asked for. All are accepted and stored alike. Errors: InvalidStorageClass."""
    value = request.header("x-amz-storage-class") or "STANDARD"
    if value not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass")
    return value


def user_metadata(request: Request) -> dict[str, str]:
    """Return the user's metadata, decoded. Errors: MetadataTooLarge over 2 KiB, InvalidArgument (control characters)."""
    found: dict[str, str] = {}
    size_bytes = 0
    for raw in request.headers:
        if not raw.startswith(b"x-amz-meta-"):
            continue
        name = raw.decode("latin-1")
        value = decode_text(request.header(name) or "")
        if _CONTROL.search(value):
            raise S3Error("InvalidArgument", f"The value of {name} holds a control character.")
        found[name.removeprefix(USER_PREFIX)] = value
        size_bytes += len(name.removeprefix(USER_PREFIX).encode()) + len(value.encode())
    if size_bytes > MAX_USER_BYTES:
        raise S3Error("MetadataTooLarge", detail={"Size": str(size_bytes), "MaxSizeAllowed": str(MAX_USER_BYTES)})
    return found


def decode_text(value: str) -> str:
    """Decode RFC 2047 words where there are any."""
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return value


def encode_text(value: str) -> str:
    """Return the text as a header can carry it: ASCII as it is, all else as RFC 2047 words on one line."""
    if value.isascii():
        return value
    return Header(value, "utf-8", maxlinelen=10**6).encode(linesep="")


def response_headers(stored: ObjectHeaders) -> dict[str, str]:
    """Return the headers of a GET or HEAD that were stored with the object."""
    headers = {"content-type": DEFAULT_CONTENT_TYPE, **stored.content}
    headers |= {USER_PREFIX + name: encode_text(value) for name, value in stored.user.items()}
    if stored.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = stored.storage_class
    if stored.website_redirect is not None:
        headers["x-amz-website-redirect-location"] = stored.website_redirect
    return {name: value if value.isascii() else encode_text(value) for name, value in headers.items()}


def overrides(request: Request, *, anonymous: bool) -> dict[str, str]:
    """Return the response headers that `response-*` parameters set.

    Errors: InvalidRequest for anonymous callers (anyone could forge a download's name), InvalidArgument for control
    characters, which would split the response.
    """
    found = {OVERRIDES[name]: value for name, value in request.query if name in OVERRIDES}
    if found and anonymous:
        raise S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
    for name, value in found.items():
        if _CONTROL.search(value):
            raise S3Error("InvalidArgument", f"response-{name} holds a control character.")
    return {name: encode_text(value) for name, value in found.items()}


def directive(request: Request, header: str) -> str:
    """Return COPY or REPLACE of `x-amz-metadata-directive` or `x-amz-tagging-directive`. Errors: InvalidArgument."""
    value = request.header(header) or "COPY"
    if value not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", f"Unknown {header}.", detail={"ArgumentName": header, "ArgumentValue": value})
    return value
