"""Request bodies that are documents: read whole, within limits, every digest checked."""

from __future__ import annotations

from dataclasses import replace

from fieldstone.services.storage.s3.bodies import BodyDecoder, plan_body
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, Call
from fieldstone.services.storage.s3.wire import Request


async def read_document(call: Call, *, limit_bytes: int = DOCUMENT_BYTES, with_checksum: bool = True) -> bytes:
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
