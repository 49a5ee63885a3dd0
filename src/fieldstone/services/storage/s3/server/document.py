"""Request bodies that are documents: read whole, within limits, every digest checked."""

from __future__ import annotations

from dataclasses import replace

from fieldstone.services.storage.s3.bodies import BodyDecoder, plan_body
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, Call


async def read_document(call: Call, *, limit_bytes: int = DOCUMENT_BYTES, with_checksum: bool = True) -> bytes:
    """Return the request's document. Errors: those of `bodies`, MaxMessageLengthExceeded.

    `with_checksum` False: the request's checksum is not that of its body (completing an upload: that of the object).
    """
    plan = replace(plan_body(call.request, call.identity), is_document=True)
    if not with_checksum:
        plan = replace(plan, checksum=None, checksum_stated=False)
    decoder = BodyDecoder(plan, want_md5=False)
    document = b"".join(bytes(piece) for piece in decoder.feed(await call.body.all(limit_bytes)))
    decoder.finish()
    return document
