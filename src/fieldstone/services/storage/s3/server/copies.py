"""CopyObject and UploadPartCopy: no byte moves, the copy's extents name the same segments.

What was uploaded in parts is read once on its way to a whole: a copy has a plain ETag, the MD5 of its bytes, which
cannot be had from the parts' and which clients compare (rclone, s3cmd). With opaque ETags nobody does, so nothing is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import replace

import msgspec
from sqlalchemy import Connection

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.rows import Attributes, NewVersion, Version, Written
from fieldstone.services.storage.catalog.uploads import find_upload, put_part
from fieldstone.services.storage.catalog.versions import Check, hold_version, look_up, put_version
from fieldstone.services.storage.s3 import checksums, tagging
from fieldstone.services.storage.s3.addressing import copy_source
from fieldstone.services.storage.s3.bodies import BodyDecoder, BodyFacts, BodyPlan
from fieldstone.services.storage.s3.conditions import check_copy_source
from fieldstone.services.storage.s3.customer_keys import (
    COPY_SOURCE_PREFIX,
    STORED_NAME,
    CustomerKey,
    key_for_reading,
    stated_key,
)
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.metadata import directive, object_headers, response_headers
from fieldstone.services.storage.s3.ranges import copy_range
from fieldstone.services.storage.s3.server.access import acl_for_write, authorise_object, may_list, owner_of_write
from fieldstone.services.storage.s3.server.exchange import Answer, Call, Headers
from fieldstone.services.storage.s3.server.multipart import part_key, part_number
from fieldstone.services.storage.s3.server.patience import patiently
from fieldstone.services.storage.s3.server.reads import proof_of, stream
from fieldstone.services.storage.s3.server.reception import digest_of, store_source
from fieldstone.services.storage.s3.server.writes import (
    check_early,
    encryption_headers,
    etag_of,
    lock_of,
    proof_header,
    stated_attributes,
    write_check,
    written_headers,
)
from fieldstone.services.storage.s3.sigv4 import UNSIGNED

LARGEST_COPY_BYTES = 5 << 30


async def find_source(call: Call) -> tuple[Call, Version]:
    """Return the source of a copy, as a call on its bucket, and the version; the requester may read it.

    Errors: NoSuchBucket, NoSuchKey, NoSuchVersion, AccessDenied, InvalidRequest (a delete marker), PreconditionFailed.
    """
    bucket, key, version_id = copy_source(call.header("x-amz-copy-source") or "")
    view = await call.gateway.bucket(bucket)
    if (call.header("x-amz-source-expected-bucket-owner") or view.row.owner) != view.row.owner:
        raise S3Error("AccessDenied")
    source = replace(call, target=replace(call.target, bucket=bucket, key=key), view=view)
    encoded = key.encode()
    found = await look_up(call.gateway.store, view.row.id, encoded, version_id, content=True)
    authorise_object(source, "GetObject", found)
    if found is None:
        if not may_list(source):
            raise S3Error("AccessDenied")
        raise S3Error("NoSuchKey" if version_id is None else "NoSuchVersion", detail={"Key": key})
    if found.marker:
        if version_id is not None:
            raise S3Error(
                "InvalidRequest", "The source of a copy request may not specifically refer to a delete marker."
            )
        raise S3Error("NoSuchKey", detail={"Key": key})
    check_copy_source(call.request, found.etag, found.modified_ms)
    return source, found


def source_key(call: Call, found: Version) -> CustomerKey | None:
    """Return the customer's key that the source is read with. Errors: those of `stated_key` and `key_for_reading`."""
    key = stated_key(call.request, COPY_SOURCE_PREFIX)
    key_for_reading(proof_of(found), key)
    return key


async def _encrypted_anew(
    call: Call, source: Call, content: Content, old: CustomerKey | None, new: CustomerKey | None
) -> tuple[Content, BodyFacts]:
    """Store bytes again, from under one customer's key to under another: such copies cannot share segments."""
    decoder = BodyDecoder(BodyPlan(content.size_bytes, UNSIGNED), want_md5=call.gateway.options.etag == "md5")
    async with aclosing(stream(source, content, 0, content.size_bytes, old)) as blocks:  # type: ignore[type-var]
        return await store_source(call, decoder, blocks, content.size_bytes, new)


async def copy_object(call: Call) -> Answer:
    """CopyObject."""
    request = call.request
    source, found = await find_source(call)
    old_key, new_key = source_key(call, found), stated_key(request)
    if found.size_bytes > LARGEST_COPY_BYTES:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        )
    replace_metadata = directive(request, "x-amz-metadata-directive") == "REPLACE"
    same = (source.bucket_id, source.key) == (call.bucket_id, call.key)
    if same and found.is_current and not replace_metadata and not _changes_something(call):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )
    attributes = await _attributes(call, found, replace_metadata)
    check = write_check(request)
    await check_early(call, check)
    return await patiently(call, _copied(call, source, found, attributes, check, (old_key, new_key)))


async def _copied(
    call: Call,
    source: Call,
    found: Version,
    attributes: Attributes,
    check: Check | None,
    keys: tuple[CustomerKey | None, CustomerKey | None],
) -> Answer:
    """Do the copy. `keys`: the customer's, to read with and to write with."""
    gateway = call.gateway
    old_key, new_key = keys
    content, etag, parts = found.content(), found.etag, tuple(found.parts())
    if old_key is not None or new_key is not None:
        checksum = await _checksum(source, found, content, old_key)
        content, facts = await _encrypted_anew(call, source, content, old_key, new_key)
        etag, parts = etag_of(call, facts, new_key), ()
    elif "-" in etag and gateway.options.etag == "md5":
        facts = await _read_through(source, found, content)
        etag, checksum, parts = facts.etag, f"{facts.algorithm}:FULL_OBJECT:{facts.checksum}", ()
    else:
        checksum = await _checksum(source, found, content, None)
        parts = () if "-" in etag else parts
    new = NewVersion(attributes, content, etag, gateway.now_ms(), checksum, parts)
    bucket_id, key = call.bucket_id, call.key

    def write(connection: Connection) -> Written:
        hold_version(connection, found.id)
        return put_version(connection, gateway.pool, bucket_id, key, new, check)

    written = await gateway.store.write(write)
    fields = [("LastModified", iso_date(written.modified_ms)), ("ETag", f'"{written.etag}"'), *_named(checksum)]
    answer = Answer.document("CopyObjectResult", fields)
    answer.headers += [h for h in written_headers(call, written, attributes.tags) if h[0] != b"etag"]
    answer.headers += _source_version(source, found)
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


def _source_version(source: Call, found: Version) -> Headers:
    if not source.bucket.row.versioning:
        return []
    return [(b"x-amz-copy-source-version-id", found.version_id.encode())]


async def _attributes(call: Call, found: Version, replace_metadata: bool) -> Attributes:
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
        value = request.header("x-amz-tagging")
        tags = tagging.parse_header(value) if value is not None else None
    else:
        tags = found.tag_map()
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


async def upload_part_copy(call: Call) -> Answer:
    """UploadPartCopy."""
    gateway = call.gateway
    number = part_number(call)
    upload_id = call.request.parameter("uploadId") or ""
    bucket_id, key = call.bucket_id, call.key
    upload = await gateway.store.read(lambda c: find_upload(c, bucket_id, key, upload_id))
    source, found = await find_source(call)
    old_key, new_key = source_key(call, found), part_key(call, upload)
    start, end = copy_range(call.header("x-amz-copy-source-range"), found.size_bytes)
    content = found.content().slice(start, end)
    # A part or a whole keeps its MD5. That of another range would mean to read it all: its ETag names what was copied.
    whole = (start, end) == (0, found.size_bytes)
    etag, checksum = found.etag if whole and "-" not in found.etag else found.part_etag(start, end), ""
    if upload.checksum_algorithm:
        algorithm = checksums.algorithm_named(upload.checksum_algorithm)
        if whole and found.checksum.startswith(f"{algorithm}:FULL_OBJECT:"):
            checksum = found.checksum.split(":")[2]
        else:
            checksum = await digest_of(algorithm, stream(source, content, 0, content.size_bytes, old_key))
    if old_key is not None or new_key is not None:
        content, facts = await _encrypted_anew(call, source, content, old_key, new_key)
        etag = etag_of(call, facts, new_key)
    elif not etag:
        etag = hashlib.md5(f"{found.id}:{found.etag}:{start}-{end}".encode(), usedforsecurity=False).hexdigest()
    now_ms = gateway.now_ms()

    def write(connection: Connection) -> None:
        hold_version(connection, found.id)
        put_part(connection, gateway.pool, upload, number, etag, checksum, content, now_ms)

    await gateway.store.write(write)
    fields = [("LastModified", iso_date(now_ms)), ("ETag", f'"{etag}"')]
    if checksum:
        fields.append((f"Checksum{upload.checksum_algorithm}", checksum))
    answer = Answer.document("CopyPartResult", fields)
    answer.headers += encryption_headers(new_key)
    answer.headers += _source_version(source, found)
    return answer
