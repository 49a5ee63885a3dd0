"""One HTTP request as it came from the socket: bytes nothing has decoded, joined or normalised yet.

Signatures cover what was sent. A framework's decoded path or merged headers would let two readers of one request see
different things, so every part of the gateway starts from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fieldstone.services.storage.s3.errors import S3Error

MAX_HEADERS_BYTES = 64 * 1024
MAX_QUERY_PAIRS = 256
_ADOPTED = (
    "x-amz-acl", "x-amz-grant-", "x-amz-meta-", "x-amz-tagging", "x-amz-storage-class", "x-amz-server-side-encryption",
    "x-amz-object-lock-", "x-amz-copy-source", "x-amz-metadata-directive", "x-amz-tagging-directive",
    "x-amz-website-redirect-location", "x-amz-request-payer", "x-amz-expected-bucket-owner",
)  # fmt: skip
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.1: the names that a header can have
_FORBIDDEN_VALUE = re.compile(rb"[\x00\r\n]")

# A second copy of one of these makes two readers disagree about who asks, for what, or where the body ends.
ONCE = frozenset(
    {
        b"host", b"authorization", b"date", b"content-length", b"content-type", b"content-md5", b"transfer-encoding",
        b"x-amz-date", b"x-amz-content-sha256", b"x-amz-decoded-content-length", b"x-amz-security-token",
        b"x-amz-copy-source", b"x-amz-trailer", b"range", b"if-match", b"if-none-match", b"if-modified-since",
        b"if-unmodified-since",
    }
)  # fmt: skip


class Request:
    """`headers`: lower-case name → value; repeated headers joined by a comma in order, as signatures join them.

    `raw_path` is what stood on the request line before `?`, `raw_query` what stood after it. Errors: S3Error
    InvalidRequest for a repeated header of `ONCE` or a control character, RequestHeaderSectionTooLarge.
    """

    __slots__ = ("_query", "headers", "method", "raw_path", "raw_query")

    def __init__(self, method: str, raw_path: bytes, raw_query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.raw_path = raw_path or b"/"
        self.raw_query = raw_query
        self._query: list[tuple[str, str]] | None = None
        joined: dict[bytes, bytes] = {}
        size_bytes = len(raw_query)
        for name, value in headers:
            size_bytes += len(name) + len(value)
            name = name.lower()
            if name in joined:
                if name in ONCE:
                    raise S3Error("InvalidRequest", f"The header {name.decode('latin-1')} was sent more than once.")
                joined[name] += b"," + value
            else:
                joined[name] = value
            if _FORBIDDEN_VALUE.search(value):
                raise S3Error("InvalidRequest", f"The header {name.decode('latin-1')} holds a control character.")
        if size_bytes > MAX_HEADERS_BYTES:
            raise S3Error("RequestHeaderSectionTooLarge")
        if b"content-length" in joined and b"transfer-encoding" in joined:
            raise S3Error("InvalidRequest", "Content-Length and Transfer-Encoding exclude each other.")
        self.headers = joined

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Request:
        """Build from an ASGI HTTP scope whose server keeps `raw_path` (uvicorn does)."""
        raw_path: bytes = scope["raw_path"].split(b"?", 1)[0]
        return cls(scope["method"], raw_path, scope["query_string"], scope["headers"])

    def header(self, name: str) -> str | None:
        """Return a header's text (UTF-8 where it is, Latin-1 otherwise), stripped; None where absent."""
        value = self.headers.get(name.encode())
        if value is None:
            return None
        try:
            return value.decode().strip(" \t")
        except UnicodeDecodeError:
            return value.decode("latin-1").strip(" \t")

    @property
    def query(self) -> list[tuple[str, str]]:
        """Decoded query pairs in order; `+` is a space, as S3 reads it. Errors: InvalidURI for bad escapes or UTF-8."""
        if self._query is None:
            self._query = [
                (percent_decode(n.replace(b"+", b" ")), percent_decode(v.replace(b"+", b" ")))
                for n, v in raw_pairs(self.raw_query)
            ]
        return self._query

    def adopt_query_headers(self) -> None:
        """Take the `x-amz-*` parameters of a verified presigned URL for the headers they stand for.

        SDKs move headers into the URL when they presign. A header that is really there wins. Checksums stay behind:
        some SDKs presign the checksum of an empty body. Errors: InvalidRequest for what no header could carry: escapes
        bring line ends past the HTTP server.
        """
        for name, value in self.query:
            if name.startswith(_ADOPTED) or name in ("content-md5", "content-type"):
                check_header(name.encode(), value.encode())
                self.headers.setdefault(name.encode(), value.encode())

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, None where absent."""
        return next((v for n, v in self.query if n == name), None)


def check_header(name: bytes, value: bytes) -> None:
    """Refuse a header that would be several, or none, when it is answered again. Errors: InvalidRequest."""
    if not _TOKEN.fullmatch(name):
        raise S3Error("InvalidRequest", f"{name.decode('latin-1')!r} is no name of a header.")
    if _FORBIDDEN_VALUE.search(value):
        raise S3Error("InvalidRequest", f"The header {name.decode('latin-1')} holds a control character.")


def raw_pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """Split a query without decoding it. A name without `=` has an empty value."""
    if not raw_query:
        return []
    pieces = [p for p in raw_query.split(b"&") if p]
    if len(pieces) > MAX_QUERY_PAIRS:
        raise S3Error("InvalidURI", f"More than {MAX_QUERY_PAIRS} query parameters.")
    return [(p.partition(b"=")[0], p.partition(b"=")[2]) for p in pieces]


def percent_decode(raw: bytes) -> str:
    """Decode %XX to UTF-8 text. Errors: InvalidURI for a broken escape or bytes that are not UTF-8."""
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise S3Error("InvalidURI")
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None


def percent_encode(data: bytes, *, keep_slash: bool = False) -> bytes:
    """Encode as SigV4 does: everything but A–Z a–z 0–9 - . _ ~ (and `/` where asked), upper-case hex."""
    return quote_from_bytes(data, safe="/~" if keep_slash else "~").encode()
