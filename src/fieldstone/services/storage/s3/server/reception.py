"""Take a body in: off the socket, through its digests, into the pool. Memory stays flat; nothing is committed here.

While the pool codes and uploads one block, a thread checks the next one. What was written when a promise about the
bytes turns out wrong stays `pending` in the pool and is swept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.codes import checksums as codes
from fieldstone.services.storage.s3 import checksums
from fieldstone.services.storage.s3.bodies import MAX_PUT_BYTES, BodyDecoder, BodyFacts, BodyPlan, plan_body
from fieldstone.services.storage.s3.customer_keys import SALT_BYTES, CustomerKey
from fieldstone.services.storage.s3.server.exchange import Body, Call

BLOCK_BYTES = 1 << 20
# below this, a thread costs more than the digests it would take off the loop
SMALL_BYTES = 128 << 10

_digests = ThreadPoolExecutor(4, thread_name_prefix="digests")


async def take_in(
    call: Call,
    *,
    max_bytes: int = MAX_PUT_BYTES,
    algorithm: checksums.Algorithm | None = None,
    key: CustomerKey | None = None,
) -> tuple[Content, BodyFacts]:
    """Read, check and store the request's body. `algorithm`: of the checksum wanted where the request states none.
    `key`: of the customer, to encrypt the bytes under before they are stored.

    Errors: those of `bodies`, RequestTimeout; Retryable from the pool.
    """
    plan = plan_body(call.request, call.identity, max_bytes=max_bytes)
    if algorithm is not None and not plan.checksum_stated:
        plan = replace(plan, algorithm=algorithm)
    return await store_body(call, plan, call.body, key)


async def store_body(
    call: Call, plan: BodyPlan, body: Body, key: CustomerKey | None = None
) -> tuple[Content, BodyFacts]:
    """As `take_in`, for a body that is already planned."""
    decoder = BodyDecoder(plan, want_md5=call.gateway.options.etag == "md5")
    size = plan.size_bytes
    if size is not None and size <= SMALL_BYTES:
        data = await _small(decoder, body)
        # checked before it is stored: a small body that is refused leaves nothing behind
        facts = decoder.finish()
        return await _write(call, _once(data), len(data), key) if data else Content(), facts
    return await store_source(call, decoder, body.large_blocks(BLOCK_BYTES), size, key)


async def store_source(
    call: Call,
    decoder: BodyDecoder,
    blocks: AsyncIterator[bytes | memoryview],
    size: int | None,
    key: CustomerKey | None = None,
) -> tuple[Content, BodyFacts]:
    """Check and store bytes as they come. `size`: exactly as many, where known. `key`: as for `take_in`."""
    facts: list[BodyFacts] = []
    async with aclosing(_checked(decoder, blocks, facts)) as source:
        content = await _write(call, source, size, key)
    return content if facts[0].size_bytes else Content(), facts[0]


async def _write(
    call: Call, source: AsyncIterator[bytes | memoryview], size: int | None, key: CustomerKey | None
) -> Content:
    gateway = call.gateway
    if key is None:
        return Content.of(await gateway.pool.write(source, profile=gateway.options.profile, size_hint=size))
    salt = os.urandom(SALT_BYTES)
    async with aclosing(_sealed(source, key, salt)) as sealed:
        stored = await gateway.pool.write(sealed, profile=gateway.options.profile, size_hint=size)
    return Content.of(stored, salt)


async def _sealed(source: AsyncIterator[bytes | memoryview], key: CustomerKey, salt: bytes) -> AsyncGenerator[bytes]:
    stream = key.keystream(salt)
    async for block in source:
        yield stream.update(block)


async def _small(decoder: BodyDecoder, body: Body) -> bytes:
    pieces: list[bytes | memoryview] = []
    async for block in body.blocks(BLOCK_BYTES):
        pieces += decoder.feed(block)
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


async def _once(data: bytes) -> AsyncIterator[bytes | memoryview]:
    yield data


async def _checked(
    decoder: BodyDecoder, blocks: AsyncIterator[bytes | memoryview], facts: list[BodyFacts]
) -> AsyncGenerator[bytes | memoryview]:
    loop = asyncio.get_running_loop()
    ahead: asyncio.Future[list[bytes | memoryview]] | None = None
    async for block in blocks:
        # one block after the other: digests have an order
        pieces = await ahead if ahead is not None else []
        ahead = loop.run_in_executor(_digests, decoder.feed, block)
        for piece in pieces:
            yield piece
    pieces = await ahead if ahead is not None else []
    # Before the last bytes go on: a broken promise then ends the upload while it can still be called off.
    facts.append(decoder.finish())
    for piece in pieces:
        yield piece


async def digest_of(algorithm: checksums.Algorithm, source: AsyncIterator[bytes | memoryview]) -> str:
    """Return the checksum of stored bytes, base64."""
    loop = asyncio.get_running_loop()
    digest = codes.new(algorithm)
    async for chunk in source:
        await loop.run_in_executor(_digests, digest.update, chunk)
    return checksums.encode(digest.digest())
