"""Bodies in HTTP/1.1 chunks (RFC 9112 7.1), as a provider behind a proxy may send a short answer."""

from __future__ import annotations

MOST_CHUNKS = 256  # of a short answer: it is decoded anew with every packet, in which a byte a chunk would keep us busy


def dechunked(raw: bytes, most_bytes: int) -> bytes | None:
    """Return the body of a chunked answer, None while its end is missing. Raises ValueError."""
    body, at = bytearray(), 0
    for _ in range(MOST_CHUNKS):
        line_end = raw.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(raw[at:line_end].partition(b";")[0], 16)
        if size < 0 or size > most_bytes:
            raise ValueError(size)
        start = line_end + 2
        if size == 0:
            return bytes(body) if raw.find(b"\r\n", start) == start else None
        if len(raw) < start + size + 2:
            return None
        body += raw[start : start + size]
        at = start + size + 2
    raise ValueError("too many chunks")
