"""Bodies: every framing in any cutting, every promise checked, and streams that lie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.services.storage.codes import checksums as codes
from fieldstone.services.storage.s3 import bodies, sigv4
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.sigv4 import ChunkKey, Identity
from fieldstone.services.storage.s3.wire import Request

CHUNK_KEY = ChunkKey(b"k" * 32, "20260101T000000Z", "20260101/r/s3/aws4_request", "f" * 64)
UNSIGNED_TRAILER = sigv4.STREAMING_UNSIGNED_TRAILER


def plan(payload: str, headers: dict[str, str], **options: Any) -> bodies.BodyPlan:
    request = Request("PUT", b"/b/k", b"", [(n.encode(), v.encode()) for n, v in headers.items()])
    key = CHUNK_KEY if "AWS4-HMAC" in payload else None
    return bodies.plan_body(request, Identity("K", "v4", payload, key), **options)


def decode(the_plan: bodies.BodyPlan, pieces: Iterable[bytes]) -> tuple[bytes, bodies.BodyFacts]:
    decoder = bodies.BodyDecoder(the_plan)
    out = b"".join(bytes(p) for piece in pieces for p in decoder.feed(piece))
    return out, decoder.finish()


def refused(payload: str, headers: dict[str, str], body: bytes = b"", **options: Any) -> str:
    with pytest.raises(S3Error) as caught:
        decode(plan(payload, headers, **options), [body])
    return caught.value.code


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*pieces, data[start:]]


def chunked(data: bytes, chunk_bytes: int, *, upper: bool = False, trailer: str = "") -> bytes:
    body = b""
    for i in range(0, len(data), chunk_bytes):
        piece = data[i : i + chunk_bytes]
        size = f"{len(piece):X}" if upper else f"{len(piece):x}"
        body += size.encode() + b"\r\n" + piece + b"\r\n"
    return body + b"0\r\n" + trailer.encode() + b"\r\n"


def signed_chunks(chunks: list[bytes], *, trailer: dict[str, str] | None = None) -> tuple[bytes, list[str]]:
    """Sign as the AWS documentation says, independently of the decoder."""
    previous, body, signatures = CHUNK_KEY.seed_signature, b"", []
    head = f"{CHUNK_KEY.timestamp}\n{CHUNK_KEY.scope}\n"
    for chunk in [*chunks, b""]:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{head}{previous}\n{sigv4.EMPTY_SHA256}\n{hashlib.sha256(chunk).hexdigest()}"
        previous = hmac.new(CHUNK_KEY.signing_key, text.encode(), "sha256").hexdigest()
        signatures.append(previous)
        body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailer is not None:
        lines = "".join(f"{n}:{v}\n" for n, v in sorted(trailer.items()))
        text = f"AWS4-HMAC-SHA256-TRAILER\n{head}{previous}\n{hashlib.sha256(lines.encode()).hexdigest()}"
        signature = hmac.new(CHUNK_KEY.signing_key, text.encode(), "sha256").hexdigest()
        body += "".join(f"{n}:{v}\r\n" for n, v in trailer.items()).encode()
        body += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return body + b"\r\n", signatures


@given(st.binary(max_size=300), st.lists(st.integers(0, 50), max_size=12))
def test_plain_bodies_pass_in_any_cutting(data: bytes, sizes: list[int]) -> None:
    headers = {
        "content-length": str(len(data)),
        "content-md5": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    out, facts = decode(plan(hashlib.sha256(data).hexdigest(), headers), cut(data, sizes))
    assert out == data
    assert (facts.size_bytes, facts.etag, facts.algorithm) == (len(data), hashlib.md5(data).hexdigest(), "SHA256")
    assert facts.checksum == headers["x-amz-checksum-sha256"]


@given(st.binary(max_size=300), st.integers(1, 120), st.booleans(), st.lists(st.integers(0, 40), max_size=20))
def test_chunked_bodies_with_a_trailer_pass_in_any_cutting(
    data: bytes, chunk: int, upper: bool, sizes: list[int]
) -> None:
    headers = {"x-amz-decoded-content-length": str(len(data)), "x-amz-trailer": "x-amz-checksum-crc32"}
    body = chunked(data, chunk, upper=upper, trailer=f"x-amz-checksum-crc32:{crc32(data)}\r\n")
    out, facts = decode(plan(UNSIGNED_TRAILER, headers), cut(body, sizes))
    assert out == data
    assert facts.checksum == crc32(data)
    assert facts.checksum_stated


@given(st.binary(max_size=200), st.integers(1, 3), st.lists(st.integers(0, 90), max_size=20))
def test_signed_chunks_pass_in_any_cutting(tail: bytes, count: int, sizes: list[int]) -> None:
    chunks = [bytes([i]) * 8192 for i in range(count)] + ([tail] if tail else [])
    data = b"".join(chunks)
    trailer = {"x-amz-checksum-crc32": crc32(data)}
    headers = {"x-amz-decoded-content-length": str(len(data)), "x-amz-trailer": "x-amz-checksum-crc32"}
    out, _ = decode(
        plan(sigv4.STREAMING_SIGNED_TRAILER, headers), cut(signed_chunks(chunks, trailer=trailer)[0], sizes)
    )
    assert out == data
    del headers["x-amz-trailer"]
    out, _ = decode(plan(sigv4.STREAMING_SIGNED, headers), cut(signed_chunks(chunks)[0], sizes))
    assert out == data


@pytest.mark.parametrize("algorithm", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
def test_every_algorithm_is_checked_in_header_and_trailer(algorithm: str) -> None:
    data, name = b"hello world", f"x-amz-checksum-{algorithm}"
    good = codes.encode(codes.digest_of(algorithm, data))
    bad = codes.encode(codes.digest_of(algorithm, b"other"))
    length = {"content-length": "11"}
    assert decode(plan(sigv4.UNSIGNED, {**length, name: good}), [data])[1].checksum == good
    assert refused(sigv4.UNSIGNED, {**length, name: bad}, data) == "BadDigest"
    headers = {"x-amz-decoded-content-length": "11", "x-amz-trailer": name}
    assert decode(plan(UNSIGNED_TRAILER, headers), [chunked(data, 5, trailer=f"{name}:{good}\r\n")])[1].checksum == good
    assert refused(UNSIGNED_TRAILER, headers, chunked(data, 5, trailer=f"{name}:{bad}\r\n")) == "BadDigest"
    assert refused(UNSIGNED_TRAILER, headers, chunked(data, 5, trailer=f"{name}:AA==\r\n")) == "InvalidRequest"


def test_a_body_without_a_stated_checksum_gets_crc64nvme() -> None:
    facts = decode(plan(sigv4.UNSIGNED, {"content-length": "11"}), [b"hello world"])[1]
    assert (facts.algorithm, facts.checksum, facts.checksum_stated) == ("CRC64NVME", "jSnVw/bqjr4=", False)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, b"", "MissingContentLength"),
        ({"content-length": "3"}, b"ab", "IncompleteBody"),
        ({"content-length": "3"}, b"abcd", "IncompleteBody"),
        ({"content-length": "-3"}, b"", "MissingContentLength"),
        ({"content-length": "3, 4"}, b"", "MissingContentLength"),
        ({"content-length": "٣"}, b"", "MissingContentLength"),
        ({"content-length": "5368709121"}, b"", "EntityTooLarge"),
        ({"content-length": "1", "content-md5": "rubbish"}, b"a", "InvalidDigest"),
        ({"content-length": "1", "content-md5": ""}, b"a", "InvalidDigest"),
        ({"content-length": "1", "content-md5": "YWJyYWNhZGFicmE="}, b"a", "InvalidDigest"),
        ({"content-length": "1", "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, b"a", "BadDigest"),
        ({"content-length": "1", "x-amz-checksum-crc32": "AAAA"}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-checksum-crc32": "AAAAAB=="}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-checksum-md4": "AAAA"}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-sdk-checksum-algorithm": "CRC32"}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32c": "AAAAAA=="}, b"a", "InvalidRequest"),
        ({"content-length": "1", "x-amz-trailer": "x-amz-checksum-crc32"}, b"a", "MalformedTrailerError"),
    ],
)  # fmt: skip
def test_promises_of_plain_bodies(headers: dict[str, str], body: bytes, code: str) -> None:
    assert refused(sigv4.UNSIGNED, headers, body) == code


def test_the_signed_digest_of_the_body_is_checked() -> None:
    assert refused(hashlib.sha256(b"abc").hexdigest(), {"content-length": "3"}, b"abd") == "XAmzContentSHA256Mismatch"


def test_chunked_without_a_length_is_bounded() -> None:
    headers = {"transfer-encoding": "chunked"}
    assert decode(plan(sigv4.UNSIGNED, headers), [b"abc"])[1].size_bytes == 3
    assert refused(sigv4.UNSIGNED, headers, b"abcdef", max_bytes=5) == "EntityTooLarge"


CRC_TRAILER = {"x-amz-decoded-content-length": "4", "x-amz-trailer": "x-amz-checksum-crc32"}
GOOD = f"x-amz-checksum-crc32:{crc32(b'abcd')}\r\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "IncompleteBody"),
        (b"4\r\nabcd\r\n", "IncompleteBody"),
        (b"4\r\nabc", "IncompleteBody"),
        (b"5\r\nabcde\r\n0\r\n\r\n", "IncompleteBody"),
        (b"ffffffffffffffff\r\nabcd", "IncompleteBody"),
        (b"-4\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"+4\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"0x4\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b" 4\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4\r\nabcdX\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4;ext=1\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4;chunk-signature=" + b"a" * 64 + b"\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"0" * 2000, "IncompleteBody"),
        (b"4" + b";" * 5000, "IncompleteBody"),
        (b"3\r\nabc\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4\r\nabcd\r\n0\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nabcd\r\n0\r\nx-amz-checksum-crc32\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nabcd\r\n0\r\n" + GOOD.encode() + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
        (b"4\r\nabcd\r\n0\r\n" + GOOD.rstrip().encode() + b"\n", "IncompleteBody"),
        (b"4\r\nabcd\r\n0\r\n\r\n" + GOOD.encode(), "MalformedTrailerError"),
        (b"2\r\nab\r\n0\r\n\r\n2\r\ncd\r\n0\r\n" + GOOD.encode(), "IncompleteBody"),
        (b"4\r\nabcd\r\n0\r\n" + GOOD.encode() + b"x-amz-meta-a:b\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nabcd\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n", "MalformedTrailerError"),
        (b"4\r\nabcd\r\n0\r\n" + b"a" * 20000, "MalformedTrailerError"),
    ],
)
def test_framing_that_lies(body: bytes, code: str) -> None:
    assert refused(UNSIGNED_TRAILER, CRC_TRAILER, body) == code
    with pytest.raises(S3Error):
        decode(plan(UNSIGNED_TRAILER, CRC_TRAILER), (body[i : i + 1] for i in range(len(body))))


def test_streaming_needs_its_decoded_length() -> None:
    assert refused(UNSIGNED_TRAILER, {"content-length": "10"}) == "MissingContentLength"
    assert refused(UNSIGNED_TRAILER, {"x-amz-decoded-content-length": "-1"}) == "MissingContentLength"


def test_a_trailer_may_end_as_older_clients_end_it() -> None:
    for end in ("\n\r\n\r\n", "\r\n", "\r\n\r\nwhatever"):
        body = b"4\r\nabcd\r\n0\r\n" + GOOD.rstrip().encode() + end.encode()
        assert decode(plan(UNSIGNED_TRAILER, CRC_TRAILER), [body])[0] == b"abcd"


def signed_refused(body: bytes, size_bytes: int) -> str:
    return refused(sigv4.STREAMING_SIGNED, {"x-amz-decoded-content-length": str(size_bytes)}, body)


def test_chunk_splices_are_refused() -> None:
    first, second = b"a" * 8192, b"b" * 8192
    body, signatures = signed_chunks([first, second])
    line = f"2000;chunk-signature={signatures[0]}\r\n".encode()
    one = line + first + b"\r\n"
    swapped = body.replace(first, b"!").replace(second, first).replace(b"!", second)
    assert signed_refused(swapped, 16384) == "SignatureDoesNotMatch"
    assert signed_refused(one + one + body[len(one) :], 24576) == "SignatureDoesNotMatch"  # repeated
    assert signed_refused(body[len(one) :], 8192) == "SignatureDoesNotMatch"  # first dropped
    last_dropped = one + f"0;chunk-signature={signatures[2]}\r\n\r\n".encode()
    assert signed_refused(last_dropped, 8192) == "SignatureDoesNotMatch"
    assert signed_refused(one, 8192) == "IncompleteBody"  # cut at a chunk's border
    assert signed_refused(body.replace(b"aaaa", b"aaab", 1), 16384) == "SignatureDoesNotMatch"
    assert signed_refused(chunked(first, 8192), 8192) == "IncompleteBody"  # signatures left out


def test_a_signed_trailer_cannot_be_changed_or_left_out() -> None:
    data = b"abcd"
    headers = {"x-amz-decoded-content-length": "4", "x-amz-trailer": "x-amz-checksum-crc32"}
    body, _ = signed_chunks([data], trailer={"x-amz-checksum-crc32": crc32(data)})
    changed = body.replace(crc32(data).encode(), crc32(b"x").encode())
    assert refused(sigv4.STREAMING_SIGNED_TRAILER, headers, changed) == "SignatureDoesNotMatch"
    left_out = body[: body.index(b"x-amz-trailer-signature")] + b"\r\n"
    assert refused(sigv4.STREAMING_SIGNED_TRAILER, headers, left_out) == "IncompleteBody"


def test_a_body_that_lacks_its_signed_trailer_ended_unexpectedly() -> None:
    """Also where its length is wrong, too: what was cut off is the better reason."""
    body, _ = signed_chunks([b"abcd"])
    with pytest.raises(S3Error, match="terminated unexpectedly"):
        decode(plan(sigv4.STREAMING_SIGNED_TRAILER, {"x-amz-decoded-content-length": "99"}), [body])


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b";chunk-signature=", b" ; chunk-signature = ", "ok"),
        (b";chunk-signature=", b";extra=1;chunk-signature=", "SignatureDoesNotMatch"),
        (b";chunk-signature=", b";chunk-signature=;", "IncompleteBody"),
        (b";chunk-signature=", b";", "SignatureDoesNotMatch"),
        (b";chunk-signature=", b"", "IncompleteBody"),
        (b";chunk-signature=", b";chunk-signature=0", "SignatureDoesNotMatch"),
    ],
)
def test_chunk_parameters(old: bytes, new: bytes, code: str) -> None:
    body, _ = signed_chunks([b"abcd"])
    headers = {"x-amz-decoded-content-length": "4"}
    if code == "ok":
        assert decode(plan(sigv4.STREAMING_SIGNED, headers), [body.replace(old, new)])[0] == b"abcd"
    else:
        assert refused(sigv4.STREAMING_SIGNED, headers, body.replace(old, new)) == code


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("x-amz-checksum-crc32", True),
        ("X-Amz-Checksum-CRC32,,", True),
        ("x-amz-checksum-crc32, ", True),
        (",x-amz-checksum-crc32", False),
        ("x-amz-checksum-crc32, ,", False),
        ("x-amz-meta-a", False),
        ("x-amz-checksum-bad", False),
        ("content-md5", False),
    ],
)
def test_which_trailers_may_be_promised(value: str, good: bool) -> None:
    headers = {"x-amz-decoded-content-length": "4", "x-amz-trailer": value}
    body = b"4\r\nabcd\r\n0\r\n" + GOOD.encode()
    if good:
        assert decode(plan(UNSIGNED_TRAILER, headers), [body])[0] == b"abcd"
    else:
        assert refused(UNSIGNED_TRAILER, headers, body) == "InvalidRequest"


@pytest.mark.parametrize("payload", [UNSIGNED_TRAILER, sigv4.STREAMING_SIGNED, "invalid", "unsigned-payload"])
def test_a_presigned_url_cannot_announce_chunks(payload: str) -> None:
    request = Request("PUT", b"/b/k", b"", [(b"content-length", b"4"), (b"x-amz-decoded-content-length", b"4")])
    for kind in ("v4-presigned", "v2", "v2-presigned"):
        the_plan = bodies.plan_body(request, Identity("K", kind, payload))  # type: ignore[arg-type]
        with pytest.raises(S3Error, match="XAmzContentSHA256Mismatch"):
            decode(the_plan, [b"abcd"])
    if payload == sigv4.STREAMING_SIGNED:
        with pytest.raises(S3Error, match="AccessDenied"):
            bodies.plan_body(request, Identity(None, "anonymous", payload))


def test_many_short_signed_chunks_are_refused() -> None:
    body, _ = signed_chunks([b"a", b"b"])
    assert signed_refused(body, 2) == "InvalidChunkSizeError"


def test_memory_stays_flat() -> None:
    """Nothing of a chunk is held back, however long it is."""
    decoder = bodies.BodyDecoder(plan(UNSIGNED_TRAILER, {**CRC_TRAILER, "x-amz-decoded-content-length": str(1 << 30)}))
    decoder.feed(b"40000000\r\n")
    piece = bytes(1 << 20)
    for _ in range(4):
        assert sum(len(p) for p in decoder.feed(piece)) == len(piece)
    framing = decoder._framing
    assert framing is not None
    assert framing._held == b""


def test_decoding_leaves_md5_out_where_nobody_asks() -> None:
    decoder = bodies.BodyDecoder(plan(sigv4.UNSIGNED, {"content-length": "1"}), want_md5=False)
    decoder.feed(b"a")
    assert decoder.finish().md5 == b""
    stated = {"content-length": "1", "content-md5": base64.b64encode(hashlib.md5(b"b").digest()).decode()}
    decoder = bodies.BodyDecoder(plan(sigv4.UNSIGNED, stated), want_md5=False)
    decoder.feed(b"a")
    with pytest.raises(S3Error, match="BadDigest"):
        decoder.finish()
