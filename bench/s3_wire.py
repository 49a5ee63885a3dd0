"""What the S3 protocol costs per request and per byte: verify signatures, decode bodies. CPU seconds of one core.

python bench/s3_wire.py
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

from fieldstone.services.storage.s3 import addressing, bodies, sigv4
from fieldstone.services.storage.s3.sigv4 import ChunkKey, Identity
from fieldstone.services.storage.s3.wire import Request

NOW_S = int(time.time())
STAMP = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW_S))
SCOPE = f"{STAMP[:8]}/us-east-1/s3/aws4_request"
KEY = sigv4.Credential("K", "secret")
SIZE_BYTES = 64 * 2**20
PIECE_BYTES = 2**20


def signed_get() -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Return path, query and headers of a small GET, signed in the header."""
    path, names = b"/bucket/key-000001", ("host", "x-amz-content-sha256", "x-amz-date")
    headers = [
        (b"host", b"127.0.0.1:9000"), (b"user-agent", b"bench"), (b"accept", b"*/*"),
        (b"x-amz-date", STAMP.encode()), (b"x-amz-content-sha256", sigv4.EMPTY_SHA256.encode()),
    ]  # fmt: skip
    canonical = sigv4.canonical_request(Request("GET", path, b"", headers), names, sigv4.EMPTY_SHA256, exact=False)
    key = sigv4.signing_key(KEY.secret_key, STAMP[:8], "us-east-1")
    signature = hmac.new(key, sigv4.string_to_sign(STAMP, SCOPE, canonical), hashlib.sha256).hexdigest()
    value = f"{sigv4.ALGORITHM} Credential=K/{SCOPE}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return path, b"", [*headers, (b"authorization", value.encode())]


def cpu_s(call: Callable[[], None], rounds: int) -> float:
    """Return the least CPU seconds of three runs."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(rounds):
            call()
        best = min(best, (time.process_time() - start) / rounds)
    return best


def body_rate(headers: dict[str, str], payload: str, frame: Callable[[bytes], bytes], *, want_md5: bool) -> float:
    """Return MB/s of a 64 MiB body, fed by the mebibyte."""
    request = Request("PUT", b"/b/k", b"", [(n.encode(), v.encode()) for n, v in headers.items()])
    plan = bodies.plan_body(request, Identity("K", "v4", payload, ChunkKey(b"k" * 32, STAMP, SCOPE, "0" * 64)))
    piece = frame(bytes(PIECE_BYTES))

    def run() -> None:
        decoder = bodies.BodyDecoder(plan, want_md5=want_md5)
        for _ in range(SIZE_BYTES // PIECE_BYTES):
            decoder.feed(piece)

    return SIZE_BYTES / cpu_s(run, 1) / 1e6


def main() -> None:
    """Print the table."""
    path, query, headers = signed_get()
    verifier = sigv4.Verifier({"K": KEY}.get)

    def verify() -> None:
        request = Request("GET", path, query, headers)
        addressing.target(request)
        verifier.verify(request, NOW_S)

    seconds = cpu_s(verify, 3000)
    print(f"{'parse, locate and verify a small GET':<56}{seconds * 1e6:8.1f} µs {1 / seconds:10,.0f} /s")
    length = {"content-length": str(SIZE_BYTES)}
    chunks = {"x-amz-decoded-content-length": str(SIZE_BYTES), "x-amz-trailer": "x-amz-checksum-crc32"}

    def framed(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    plain = hashlib.sha256().hexdigest()
    rows = [
        ("unsigned, CRC64NVME", length, sigv4.UNSIGNED, bytes, False),
        ("unsigned, CRC64NVME, MD5 for the ETag", length, sigv4.UNSIGNED, bytes, True),
        ("signed SHA-256, CRC64NVME", length, plain, bytes, False),
        ("signed SHA-256, CRC64NVME, MD5 for the ETag", length, plain, bytes, True),
        ("aws-chunked with a CRC32 trailer", chunks, sigv4.STREAMING_UNSIGNED_TRAILER, framed, False),
        ("aws-chunked with a CRC32 trailer, MD5 for the ETag", chunks, sigv4.STREAMING_UNSIGNED_TRAILER, framed, True),
    ]  # fmt: skip
    for name, head, payload, frame, want_md5 in rows:
        print(f"{'body: ' + name:<60}{body_rate(head, payload, frame, want_md5=want_md5):10,.0f} MB/s")


if __name__ == "__main__":
    main()
