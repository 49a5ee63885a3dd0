"""CopyObject: no byte moves, the copy's extents name the same segments.

What was uploaded in parts is read once on its way to a whole: a copy has a plain ETag, the MD5 of its bytes, which
cannot be had from the parts' and which clients compare (rclone, s3cmd). With opaque ETags nobody does, so nothing is read.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.rows import Attributes, NewVersion, Version, Written
from fieldstone.services.storage.catalog.versions import Check, hold_source, put_version
from fieldstone.services.storage.s3 import checksums
from fieldstone.services.storage.s3.bodies import BodyDecoder, BodyFacts, BodyPlan
from fieldstone.services.storage.s3.customer_keys import STORED_NAME, CustomerKey, stated_key
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.metadata import directive, object_headers, response_headers
from fieldstone.services.storage.s3.server.access import acl_for_write, owner_of_write, refuse_denied
from fieldstone.services.storage.s3.server.copy_sources import (
    check_size,
    encrypted_anew,
    find_source,
    settled,
    source_key,
    source_version,
)
from fieldstone.services.storage.s3.server.exchange import Answer, Call
from fieldstone.services.storage.s3.server.patience import patiently
from fieldstone.services.storage.s3.server.reads import stream
from fieldstone.services.storage.s3.server.reception import digest_of
from fieldstone.services.storage.s3.server.writes import (
    check_early,
    etag_of,
    lock_of,
    proof_header,
    stated_attributes,
    stated_tags,
    write_check,
    written_headers,
)
from fieldstone.services.storage.s3.sigv4 import UNSIGNED


@dataclass(frozen=True)
class _Plan:
    """What to copy and what to make of it. The keys are the customer's: to read with, to write with."""

    source: Call
    found: Version
    attributes: Attributes
    check: Check | None
    old_key: CustomerKey | None
    new_key: CustomerKey | None


async def copy_object(call: Call) -> Answer:
    """CopyObject."""
    plans = [await _planned(call)]  # what is wrong with the request is said before patience begins

    async def copied() -> Answer:
        return await _copied(call, plans.pop() if plans else await _planned(call))

    return await patiently(call, settled(copied))


async def _planned(call: Call) -> _Plan:
    request = call.request
    source, found = await find_source(call)
    old_key, new_key = source_key(call, found), stated_key(request)
    check_size(found.size_bytes)
    replace_metadata = directive(request, "x-amz-metadata-directive") == "REPLACE"
    same = (source.bucket_id, source.key) == (call.bucket_id, call.key)
    if same and found.is_current and not replace_metadata and not _changes_something(call):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )
    attributes = await _attributes(call, source, found, replace_metadata)
    check = write_check(request)
    await check_early(call, check)
    return _Plan(source, found, attributes, check, old_key, new_key)


async def _copied(call: Call, plan: _Plan) -> Answer:
    gateway, source, found = call.gateway, plan.source, plan.found
    content, etag, parts = found.content(), found.etag, tuple(found.parts())
    if plan.old_key is not None or plan.new_key is not None:
        checksum = await _checksum(source, found, content, plan.old_key)
        content, facts = await encrypted_anew(call, source, content, plan.old_key, plan.new_key)
        etag, parts = etag_of(call, facts, plan.new_key), ()
    elif "-" in etag and gateway.options.etag == "md5":
        facts = await _read_through(source, found, content)
        etag, checksum, parts = facts.etag, f"{facts.algorithm}:FULL_OBJECT:{facts.checksum}", ()
    else:
        checksum = await _checksum(source, found, content, None)
        parts = () if "-" in etag else parts
    new = NewVersion(plan.attributes, content, etag, gateway.now_ms(), checksum, parts)
    bucket_id, key = call.bucket_id, call.key

    def write(connection: Connection) -> Written:
        hold_source(connection, found, bucket_id, key)
        return put_version(connection, gateway.pool, bucket_id, key, new, plan.check)

    written = await gateway.store.write(write)
    fields = [("LastModified", iso_date(written.modified_ms)), ("ETag", f'"{written.etag}"'), *_named(checksum)]
    answer = Answer.document("CopyObjectResult", fields)
    answer.headers += [h for h in written_headers(call, written, plan.attributes.tags) if h[0] != b"etag"]
    answer.headers += source_version(source, found)
    return answer


async def _read_through(source: Call, found: Version, content: Content) -> BodyFacts:
    """Return the MD5 and the checksum of a whole: of the algorithm that is asked for, or the source's own."""
    stated = source.request.header("x-amz-checksum-algorithm") or found.checksum.partition(":")[0]
    plan = BodyPlan(content.size_bytes, UNSIGNED)
    if stated:
        plan = replace(plan, algorithm=checksums.algorithm_named(stated))
    decoder = BodyDecoder(plan)
    ahead: asyncio.Future[object] | None = None
    async with aclosing(stream(source, content, 0, content.size_bytes)) as blocks:  # type: ignore[type-var]
        async for block in blocks:
            if ahead is not None:
                await ahead
            ahead = asyncio.get_running_loop().run_in_executor(None, decoder.feed, block)
    if ahead is not None:
        await ahead
    return decoder.finish()


def _changes_something(call: Call) -> bool:
    names = (b"x-amz-storage-class", b"x-amz-website-redirect-location", b"x-amz-server-side-encryption")
    return any(name in call.request.headers for name in names) or stated_key(call.request) is not None


async def _attributes(call: Call, source: Call, found: Version, replace_metadata: bool) -> Attributes:
    request = call.request
    if replace_metadata:
        attributes = await stated_attributes(call)
    else:
        stated = object_headers(request)
        mode, until_ms, hold = lock_of(call)
        kept = [
            (n, v)
            for n, v in found.header_list()
            if n not in ("x-amz-storage-class", "x-amz-website-redirect-location", STORED_NAME)
        ]
        kept += proof_header(stated_key(request))
        asked = response_headers(stated)
        kept += [(n, asked[n]) for n in ("x-amz-storage-class", "x-amz-website-redirect-location") if n in asked]
        attributes = Attributes(
            owner=owner_of_write(call),
            headers=tuple(kept),
            storage_class=stated.storage_class,
            acl=await acl_for_write(call),
            retain_mode=mode,
            retain_until_ms=until_ms,
            legal_hold=hold,
        )
    if directive(request, "x-amz-tagging-directive") == "REPLACE":
        tags = stated_tags(call)
    else:
        tags = found.tag_map()
        if tags:
            refuse_denied(source, "GetObjectTagging", versioned=source.names_version, tags=tags)
    return msgspec.structs.replace(attributes, tags=tags or None)


async def _checksum(source: Call, found: Version, content: Content, key: CustomerKey | None) -> str:
    """Return the copy's checksum: the source's, or one of another algorithm where the request asks, by reading."""
    wanted = source.request.header("x-amz-checksum-algorithm")
    if wanted is None:
        return found.checksum if ":FULL_OBJECT:" in found.checksum else ""
    algorithm = checksums.algorithm_named(wanted)
    if found.checksum.startswith(f"{algorithm}:FULL_OBJECT:"):
        return found.checksum
    digest = await digest_of(algorithm, stream(source, content, 0, found.size_bytes, key))
    return f"{algorithm}:FULL_OBJECT:{digest}"


def _named(checksum: str) -> list[tuple[str, str]]:
    if not checksum:
        return []
    algorithm, kind, value = checksum.split(":")
    return [(f"Checksum{algorithm}", value), ("ChecksumType", kind)]
