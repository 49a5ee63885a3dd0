"""UploadPartCopy: a part made of a range of an object; no byte moves, unless a customer's key is to change."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection

from fieldstone.services.storage.catalog.uploads import find_upload, put_part
from fieldstone.services.storage.catalog.versions import hold_source
from fieldstone.services.storage.s3 import checksums
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.ranges import copy_range
from fieldstone.services.storage.s3.server.copy_sources import (
    check_size,
    encrypted_anew,
    find_source,
    settled,
    source_key,
    source_version,
)
from fieldstone.services.storage.s3.server.exchange import Answer, Call
from fieldstone.services.storage.s3.server.multipart import part_key, part_number
from fieldstone.services.storage.s3.server.patience import patiently
from fieldstone.services.storage.s3.server.reads import stream
from fieldstone.services.storage.s3.server.reception import digest_of
from fieldstone.services.storage.s3.server.writes import encryption_headers, etag_of


async def upload_part_copy(call: Call) -> Answer:
    """UploadPartCopy."""
    return await patiently(call, settled(lambda: _copied(call)))


async def _copied(call: Call) -> Answer:
    gateway = call.gateway
    number = part_number(call)
    upload_id = call.request.parameter("uploadId") or ""
    bucket_id, key = call.bucket_id, call.key
    upload = await gateway.store.read(lambda c: find_upload(c, bucket_id, key, upload_id))
    source, found = await find_source(call)
    old_key, new_key = source_key(call, found), part_key(call, upload)
    start, end = copy_range(call.header("x-amz-copy-source-range"), found.size_bytes)
    check_size(end - start)
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
        content, facts = await encrypted_anew(call, source, content, old_key, new_key)
        etag = etag_of(call, facts, new_key)
    elif not etag:
        etag = hashlib.md5(f"{found.id}:{found.etag}:{start}-{end}".encode(), usedforsecurity=False).hexdigest()
    now_ms = gateway.now_ms()

    def write(connection: Connection) -> None:
        hold_source(connection, found, bucket_id, key)
        put_part(connection, gateway.pool, upload, number, etag, checksum, content, now_ms)

    await gateway.store.write(write)
    fields = [("LastModified", iso_date(now_ms)), ("ETag", f'"{etag}"')]
    if checksum:
        fields.append((f"Checksum{upload.checksum_algorithm}", checksum))
    answer = Answer.document("CopyPartResult", fields)
    answer.headers += encryption_headers(new_key)
    answer.headers += source_version(source, found)
    return answer
