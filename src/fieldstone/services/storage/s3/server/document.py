"""Request bodies that are documents: read whole, within limits, every digest checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from fieldstone.services.storage.s3.bodies import BodyDecoder, plan_body
from fieldstone.services.storage.s3.server.exchange import Call
from fieldstone.services.storage.s3.wire import Request

# A thousand deletions, ten thousand parts and a thousand rules take more, nothing else does.
SMALL_DOCUMENT_BYTES = 256 << 10
_AT_ONCE_BYTES = 32 << 10
T = TypeVar("T")


async def parsed(document: bytes, parse: Callable[[bytes], T]) -> T:
    """Return what `parse` makes of a document; of a large one on a thread, as no other request is answered meanwhile."""
    return parse(document) if len(document) <= _AT_ONCE_BYTES else await asyncio.to_thread(parse, document)


async def read_document(call: Call, *, limit_bytes: int = SMALL_DOCUMENT_BYTES, with_checksum: bool = True) -> bytes:
    """Return the request's document. Errors: those of `bodies`, MaxMessageLengthExceeded.

    `with_checksum` False: the request's checksum is not that of its body (completing an upload: that of the object).
    """
    request = call.request if with_checksum else _without_checksum(call.request)
    plan = replace(plan_body(request, call.identity), is_document=True)
    if not with_checksum:
        plan = replace(plan, checksum=None, checksum_stated=False)
    decoder = BodyDecoder(plan, want_md5=False)
    document = b"".join(bytes(piece) for piece in decoder.feed(await call.body.all(limit_bytes)))
    decoder.finish()
    return document


def _without_checksum(request: Request) -> Request:
    """Return the request without its checksum header, which of a composite object is not even of a digest's form."""
    kept = [(n, v) for n, v in request.headers.items() if not n.startswith((b"x-amz-checksum-", b"x-amz-sdk-checksum"))]
    return Request(request.method, request.raw_path, request.raw_query, kept)
