"""The additional checksums of S3: which one a request promises, running digests, composite and full-object values.

Values are base64 of the big-endian digest. Source: Amazon S3 user guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Literal

from fieldstone.services.storage.codes import checksums as codes
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

Algorithm = Literal["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
ChecksumType = Literal["COMPOSITE", "FULL_OBJECT"]
DIGEST_BYTES: dict[Algorithm, int] = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
HEADER_PREFIX = "x-amz-checksum-"
_OTHER_HEADERS = frozenset({"x-amz-checksum-mode", "x-amz-checksum-algorithm", "x-amz-checksum-type"})

# Which types each algorithm may have in a multipart upload; the first is the default.
MULTIPART_TYPES: dict[Algorithm, tuple[ChecksumType, ...]] = {
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "CRC64NVME": ("FULL_OBJECT",),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}


def encode(digest: bytes) -> str:
    """Return the base64 text that headers and documents carry."""
    return base64.b64encode(digest).decode()


def decode(algorithm: Algorithm, value: str, what: str = "header") -> bytes:
    """Return the digest of a header's text. Errors: InvalidRequest where it is no base64 of the right length in its one proper form."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != DIGEST_BYTES[algorithm] or encode(digest) != value:
        raise S3Error("InvalidRequest", f"Value for {HEADER_PREFIX}{algorithm.lower()} {what} is invalid.")
    return digest


def algorithm_named(value: str) -> Algorithm:
    """Return the algorithm of a name in any case. Errors: InvalidRequest."""
    for algorithm in DIGEST_BYTES:
        if value.upper() == algorithm:
            return algorithm
    raise S3Error(
        "InvalidRequest",
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types:"
        f" [{', '.join(DIGEST_BYTES)}]",
    )


def promised(request: Request) -> tuple[Algorithm, bytes | None] | None:
    """Return the one checksum a request promises: algorithm and digest, or None for a digest that comes in the trailer.

    Errors: InvalidRequest for two checksums, an unknown algorithm, a malformed value, an algorithm named without value.
    """
    stated = [name.decode("latin-1") for name in request.headers if name.startswith(b"x-amz-checksum-")]
    stated = [name for name in stated if name not in _OTHER_HEADERS]
    trailing = [name for name in trailers(request) if name.startswith(HEADER_PREFIX)]
    if len(stated) > 1 or len(trailing) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    if stated and trailing:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header")
    found: tuple[Algorithm, bytes | None] | None = None
    for name in stated:
        known = _algorithm_of_header(name)
        if known is None:
            raise S3Error("InvalidRequest", "The algorithm type you specified in x-amz-checksum- header is invalid.")
        found = known, decode(known, request.header(name) or "")
    for name in trailing:
        known = _algorithm_of_header(name)
        if known is None:
            raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
        found = known, None
    named = request.header("x-amz-sdk-checksum-algorithm")
    if named is not None:
        if found is None:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
            )
        if named.upper() != found[0]:
            raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return found


def _algorithm_of_header(name: str) -> Algorithm | None:
    return next((a for a in DIGEST_BYTES if name == HEADER_PREFIX + a.lower()), None)


def trailers(request: Request) -> tuple[str, ...]:
    """Return the names that `x-amz-trailer` promises, lower case; commas at the end mean nothing."""
    value = request.header("x-amz-trailer")
    return tuple(name.strip().lower() for name in value.rstrip(",").split(",")) if value else ()


def multipart_type(algorithm: Algorithm, wanted: str | None) -> ChecksumType:
    """Return the checksum type of a new multipart upload. Errors: InvalidRequest for a pair S3 does not have."""
    allowed = MULTIPART_TYPES[algorithm]
    if wanted is None:
        return allowed[0]
    for kind in allowed:
        if wanted == kind:
            return kind
    raise S3Error(
        "InvalidRequest", f"The {wanted} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
    )


def composite(algorithm: Algorithm, parts: Sequence[bytes]) -> str:
    """Return the value of a composite multipart object: hash of the parts' digests, and their number."""
    digest = codes.new(algorithm)
    for part in parts:
        digest.update(part)
    return f"{encode(digest.digest())}-{len(parts)}"


def full_object(algorithm: Algorithm, parts: Sequence[tuple[bytes, int]]) -> str:
    """Return the CRC of the whole object from (digest, size in bytes) of its parts.

    Errors: InvalidRequest for SHA1 and SHA256, which cannot be combined.
    """
    if algorithm not in codes.FULL_OBJECT:
        raise S3Error(
            "InvalidRequest", f"The FULL_OBJECT checksum type cannot be used with the {algorithm.lower()} algorithm."
        )
    return encode(codes.combine(algorithm, parts))
