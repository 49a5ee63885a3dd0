"""Request bodies: take the framing off, check every promise made about the bytes, and keep memory flat.

A body is framed as `aws-chunked` when `x-amz-content-sha256` begins with `STREAMING-`, whatever Content-Encoding says;
HTTP's own chunking is the server's and already gone. Bytes leave the decoder before the last signature is known (a chunk
may be gigabytes), so **nothing may be committed before `finish` has returned**.

Source: Amazon S3 API reference, "Signature calculations for the Authorization header: transferring payload in multiple
chunks" and "… with trailing headers".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fieldstone.services.storage.codes import checksums as codes
from fieldstone.services.storage.s3 import checksums
from fieldstone.services.storage.s3.checksums import Algorithm
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.sigv4 import (
    EMPTY_SHA256,
    STREAMING,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED,
    ChunkKey,
    Identity,
)
from fieldstone.services.storage.s3.wire import Request

MAX_OBJECT_BYTES = 5 * 1024**4
MAX_PUT_BYTES = 5 * 1024**3
MIN_SIGNED_CHUNK_BYTES = 8192
MAX_CHUNK_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 16 * 1024
_LENGTH = re.compile(r"\d{1,19}", re.ASCII)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*")
UNEXPECTED_END = "The request body terminated unexpectedly"
_SIGNATURE_TRAILER = "x-amz-trailer-signature"

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """What a request says about its body. `size_bytes` None: HTTP chunked without a stated length. `framed`: aws-chunked."""

    size_bytes: int | None
    payload: str
    framed: bool = False
    chunk_key: ChunkKey | None = field(repr=False, default=None)
    content_md5: bytes | None = None
    algorithm: Algorithm = "CRC64NVME"
    checksum: bytes | None = None
    checksum_stated: bool = False
    trailers: tuple[str, ...] = ()
    max_bytes: int = MAX_PUT_BYTES
    is_document: bool = False  # S3 shows the expected digest of a document in base64, of an object in hex


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What a verified body was. `md5` empty where it was not asked for; `checksum` is of `algorithm`, base64."""

    size_bytes: int
    md5: bytes
    algorithm: Algorithm
    checksum: str
    checksum_stated: bool

    @property
    def etag(self) -> str:
        """The MD5 in hex, the ETag of an object sent in one piece."""
        return self.md5.hex()


def plan_body(request: Request, identity: Identity, *, max_bytes: int = MAX_PUT_BYTES) -> BodyPlan:
    """Read what a request promises about its body, before any of it is read.

    Errors: MissingContentLength (also for what is no number), EntityTooLarge, InvalidDigest (Content-MD5),
    InvalidRequest (checksum headers), MalformedTrailerError, AccessDenied (signed chunks in an unsigned request).
    """
    streaming = identity.payload in STREAMING
    # A presigned URL or version 2 cannot announce chunks: there the mode's name is just a digest that does not fit.
    framed = streaming and identity.kind in ("v4", "anonymous")
    if framed and identity.payload != STREAMING_UNSIGNED_TRAILER and identity.chunk_key is None:
        raise S3Error("AccessDenied", "A signed streaming body needs a signed request.")
    length = _length(request, "content-length")
    decoded = _length(request, "x-amz-decoded-content-length") if streaming else None
    size = decoded if streaming else length
    if streaming:
        if decoded is None:  # S3 speaks of Content-Length here too
            raise S3Error("MissingContentLength")
    elif length is None and request.header("transfer-encoding") is None:
        raise S3Error("MissingContentLength")
    if size is not None and size > max_bytes:
        raise S3Error("EntityTooLarge", detail={"ProposedSize": str(size), "MaxSizeAllowed": str(max_bytes)})
    promise = checksums.promised(request)
    names = checksums.trailers(request)
    if names and not framed:
        raise S3Error("MalformedTrailerError")
    if any(not name.startswith(checksums.HEADER_PREFIX) for name in names):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    return BodyPlan(
        size,
        identity.payload,
        framed,
        identity.chunk_key,
        _content_md5(request),
        promise[0] if promise else "CRC64NVME",
        promise[1] if promise else None,
        promise is not None,
        names,
        max_bytes,
    )


def _length(request: Request, name: str) -> int | None:
    value = request.header(name)
    if value is None:
        return None
    if not _LENGTH.fullmatch(value):
        raise S3Error("MissingContentLength")
    return int(value)


def _content_md5(request: Request) -> bytes | None:
    value = request.header("content-md5")
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", detail={"Content-MD5": value})
    return digest


def _wrong_size(stated: int, provided: int) -> S3Error:
    return S3Error("IncompleteBody", detail={"NumberBytesExpected": str(stated), "NumberBytesProvided": str(provided)})


class BodyDecoder:
    """Decode and check one body. `feed` may run in a thread: digests release the interpreter on large buffers.

    `want_md5` False leaves the MD5 out (it is the slowest digest) unless the request states one. `max_bytes` of the
    plan bounds a body without a stated length.
    """

    def __init__(self, plan: BodyPlan, *, want_md5: bool = True) -> None:
        self._plan = plan
        self._size_bytes = 0
        self._framing = _ChunkFraming(plan) if plan.framed else None
        self._md5 = hashlib.md5(usedforsecurity=False) if want_md5 or plan.content_md5 is not None else None
        self._sha256 = hashlib.sha256() if not plan.framed and plan.payload != UNSIGNED else None
        self._checksum = codes.new(plan.algorithm)

    def feed(self, data: Buffer) -> list[Buffer]:
        """Take bytes off the socket, return the object's bytes in them.

        Errors: IncompleteBody (more bytes than stated, broken framing), SignatureDoesNotMatch (a chunk),
        InvalidChunkSizeError, EntityTooLarge.
        """
        pieces: list[Buffer] = [data] if self._framing is None else self._framing.feed(data)
        for piece in pieces:
            self._size_bytes += len(piece)
            if self._md5 is not None:
                self._md5.update(piece)
            # AWS and we alike sign the plain body: the two SHA-256 may be one and the same digest.
            if self._sha256 is not None:
                self._sha256.update(piece)
            if self._plan.algorithm != "SHA256" or self._sha256 is None:
                self._checksum.update(piece)
        stated = self._plan.size_bytes
        if stated is not None and self._size_bytes > stated:
            raise _wrong_size(stated, self._size_bytes)
        if self._size_bytes > self._plan.max_bytes:
            raise S3Error("EntityTooLarge", detail={"MaxSizeAllowed": str(self._plan.max_bytes)})
        return pieces

    def finish(self) -> BodyFacts:
        """End the body and check every promise.

        Errors: IncompleteBody, SignatureDoesNotMatch (trailer), MalformedTrailerError, XAmzContentSHA256Mismatch,
        BadDigest, InvalidRequest (a malformed checksum in the trailer).
        """
        plan = self._plan
        if self._framing is not None and not self._framing.ended:
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        if self._framing is not None and plan.payload == STREAMING_SIGNED_TRAILER:
            self._framing.expect_signature()  # first: a body that lacks it was cut off, whatever its length
        if plan.size_bytes is not None and self._size_bytes != plan.size_bytes:
            raise _wrong_size(plan.size_bytes, self._size_bytes)
        trailer = self._framing.trailer() if self._framing is not None else {}
        if self._sha256 is not None and not hmac.compare_digest(
            self._sha256.hexdigest().encode(), plan.payload.lower().encode()
        ):
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                detail={
                    "ClientComputedContentSHA256": plan.payload,
                    "S3ComputedContentSHA256": self._sha256.hexdigest(),
                },
            )
        md5 = self._md5.digest() if self._md5 is not None else b""
        stated = plan.content_md5 or b""
        expected = checksums.encode(stated) if plan.is_document else stated.hex()
        if plan.content_md5 is not None and not hmac.compare_digest(md5, plan.content_md5):
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                detail={"ExpectedDigest": expected, "CalculatedDigest": checksums.encode(md5)},
            )
        same = plan.algorithm == "SHA256" and self._sha256 is not None
        digest = self._sha256.digest() if same and self._sha256 is not None else self._checksum.digest()
        wanted = plan.checksum
        if wanted is None and plan.checksum_stated:
            value = trailer[checksums.HEADER_PREFIX + plan.algorithm.lower()]
            wanted = checksums.decode(plan.algorithm, value, "trailing header")
        if wanted is not None and not hmac.compare_digest(digest, wanted):
            raise S3Error("BadDigest", f"The {plan.algorithm} you specified did not match the calculated checksum.")
        return BodyFacts(self._size_bytes, md5, plan.algorithm, checksums.encode(digest), plan.checksum_stated)


async def decoded(source: AsyncIterator[Buffer], decoder: BodyDecoder) -> AsyncIterator[Buffer]:
    """Yield the object's bytes of a body. The caller calls `decoder.finish()` afterwards, before it commits."""
    async for data in source:
        for piece in decoder.feed(data):
            yield piece


class _ChunkFraming:
    """`hexsize[;chunk-signature=sig] CRLF data CRLF … 0[;chunk-signature=sig] CRLF [name:value CRLF …] CRLF`."""

    def __init__(self, plan: BodyPlan) -> None:
        self._plan = plan
        self._signed = plan.payload in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER)
        self._previous = plan.chunk_key.seed_signature if plan.chunk_key else ""
        self._held = b""  # an unfinished line, or the trailer
        self._left = 0  # bytes of the open chunk still to come
        self._closing = False  # the CRLF behind a chunk's data is next
        self.ended = False  # the zero chunk was read; the rest is trailer
        self._chunk = 0
        self._short_bytes = 0  # size of a chunk that only the last may be as short as
        self._seen_bytes = 0
        self._signature = ""
        self._hash = hashlib.sha256()

    def feed(self, data: Buffer) -> list[Buffer]:
        """Return the data inside the chunks; they are views into `data`."""
        pieces: list[Buffer] = []
        view = memoryview(data)
        while len(view):
            if self._left:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if self._signed:
                    self._hash.update(piece)
                pieces.append(piece)
                self._closing = self._left == 0
            elif self.ended:
                self._held += bytes(view)
                if len(self._held) > MAX_TRAILER_BYTES:
                    raise S3Error("MalformedTrailerError")
                break
            else:
                view = self._read_line(view)
        return pieces

    def _read_line(self, view: memoryview) -> memoryview:
        head = bytes(view[: MAX_CHUNK_LINE_BYTES + 1 - len(self._held)])
        end = head.find(b"\n")
        if end < 0:
            self._held += head
            if len(self._held) > MAX_CHUNK_LINE_BYTES:
                raise S3Error("IncompleteBody", UNEXPECTED_END)
            return view[len(head) :]
        line, self._held = self._held + head[: end + 1], b""
        if not line.endswith(b"\r\n"):
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        if not self._closing:
            self._open_chunk(line[:-2])
        elif line == b"\r\n":
            self._closing = False
            self._check_chunk()
        else:
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        return view[end + 1 :]

    def _open_chunk(self, line: bytes) -> None:
        head, semicolon, parameter = line.partition(b";")
        match = _CHUNK_SIZE.fullmatch(head)
        if match is None or bool(semicolon) != self._signed:
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        size = int(match[1], 16)
        self._seen_bytes += size
        if self._plan.size_bytes is not None and self._seen_bytes > self._plan.size_bytes:
            raise _wrong_size(self._plan.size_bytes, self._seen_bytes)
        if self._signed:
            self._open_signed(parameter, size)
        self._left = size
        if size == 0:
            self.ended = True
            self._check_chunk()

    def _open_signed(self, parameter: bytes, size: int) -> None:
        name, _, value = parameter.partition(b"=")
        if name.strip() != b"chunk-signature":
            self._signature = ""  # fails when the chunk's end is reached
        elif not value.strip() or b";" in value:
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        else:
            self._signature = value.strip().decode("latin-1")
        self._chunk += 1
        if size:
            if self._short_bytes:
                detail = {"Chunk": str(self._chunk), "BadChunkSize": str(self._short_bytes)}
                raise S3Error("InvalidChunkSizeError", detail=detail)
            self._short_bytes = size if size < MIN_SIGNED_CHUNK_BYTES else 0

    def _check_chunk(self) -> None:
        if not self._signed:
            return
        self._verify("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{self._hash.hexdigest()}", self._signature)
        self._hash = hashlib.sha256()

    def _verify(self, algorithm: str, hashes: str, signature: str) -> None:
        """Compare with the signature that continues the chain, so chunks cannot be moved, dropped or mixed."""
        key = self._plan.chunk_key
        assert key is not None
        text = f"{algorithm}\n{key.timestamp}\n{key.scope}\n{self._previous}\n{hashes}"
        wanted = hmac.digest(key.signing_key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(wanted.encode(), signature.encode()):
            detail = {
                "AWSAccessKeyId": key.access_key,
                "StringToSign": text,
                "SignatureProvided": signature,
                "StringToSignBytes": text.encode().hex(" "),
                "CanonicalRequest": "",
                "CanonicalRequestBytes": "",
            }
            raise S3Error("SignatureDoesNotMatch", detail=detail)
        self._previous = wanted

    def expect_signature(self) -> None:
        """Refuse a trailer without its signature. Errors: IncompleteBody."""
        if _SIGNATURE_TRAILER.encode() not in self._held.lower():
            raise S3Error("IncompleteBody", UNEXPECTED_END)

    def trailer(self) -> dict[str, str]:
        """Return the trailer, every promised name and no other.

        The first empty line ends it; what stands behind is nobody's. Errors: IncompleteBody, MalformedTrailerError.
        """
        found: dict[str, str] = {}
        lines = self._held.split(b"\r\n")
        unfinished = lines.pop()
        for line in lines:
            if not line:
                unfinished = b""
                break
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise S3Error("MalformedTrailerError")
            found[name.strip().lower()] = value.strip()
        if unfinished:
            raise S3Error("IncompleteBody", UNEXPECTED_END)
        signature = found.pop(_SIGNATURE_TRAILER, None)
        if self._plan.payload == STREAMING_SIGNED_TRAILER:
            if signature is None or not self._plan.trailers:
                raise S3Error("IncompleteBody", UNEXPECTED_END)
            text = "".join(f"{name}:{found[name]}\n" for name in sorted(found))
            digest = hashlib.sha256(text.encode("latin-1")).hexdigest()
            self._verify("AWS4-HMAC-SHA256-TRAILER", digest, signature)
        if found.keys() != set(self._plan.trailers) or (signature is not None and not self._signed):
            raise S3Error("MalformedTrailerError")
        return found
