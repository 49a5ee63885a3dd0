"""Request bodies that are documents: read whole, within limits, every digest checked."""

from __future__ import annotations

from fieldstone.services.storage.s3.bodies import BodyDecoder, plan_body
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, Call


async def read_document(call: Call, *, limit_bytes: int = DOCUMENT_BYTES) -> bytes:
    """Return the request's document. Errors: those of `bodies`, MaxMessageLengthExceeded."""
    decoder = BodyDecoder(plan_body(call.request, call.identity), want_md5=False)
    document = b"".join(bytes(piece) for piece in decoder.feed(await call.body.all(limit_bytes)))
    decoder.finish()
    return document
