"""The head of a plain request on the fast lane."""

from __future__ import annotations

import re

_VERSION = b" HTTP/1.1"
_UNPRINTABLE = re.compile(rb"[^ -~]")
_HARMLESS = frozenset({b"host", b"user-agent", b"accept", b"accept-encoding", b"content-type"})


def read_head(head: bytes) -> tuple[str, bytes | None, int | None] | None:
    """Read a request's head (request line after `PUT /v1/shares/`): name, authorization, length. None: not plain."""
    line, *lines = head.split(b"\r\n")
    if not line.endswith(_VERSION):
        return None
    seen: dict[bytes, bytes] = {}
    for text in lines:
        name, colon, value = text.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if not colon or name in seen or _UNPRINTABLE.search(value):
            return None
        seen[name] = value
    order, length = seen.pop(b"authorization", None), seen.pop(b"content-length", None)
    if seen.pop(b"connection", b"keep-alive").lower() != b"keep-alive" or b"host" not in seen:
        return None
    if not seen.keys() <= _HARMLESS or (length is not None and (not length.isdigit() or len(length) > 12)):
        return None
    try:
        share = line[: -len(_VERSION)].decode("ascii")
    except UnicodeDecodeError:
        return None
    return share, order, None if length is None else int(length)
