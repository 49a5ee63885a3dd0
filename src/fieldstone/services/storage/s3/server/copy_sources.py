"""What a copy is made of: the version that the request names, whether it may be read, and how long it stays that one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from fieldstone.services.storage.catalog.content import Content
from fieldstone.services.storage.catalog.faults import Replaced
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.versions import look_up
from fieldstone.services.storage.s3 import versioning
from fieldstone.services.storage.s3.addressing import copy_source
from fieldstone.services.storage.s3.bodies import BodyDecoder, BodyFacts, BodyPlan
from fieldstone.services.storage.s3.conditions import check_copy_source
from fieldstone.services.storage.s3.customer_keys import COPY_SOURCE_PREFIX, CustomerKey, key_for_reading, stated_key
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.access import authorise_object
from fieldstone.services.storage.s3.server.exchange import Call, Headers
from fieldstone.services.storage.s3.server.reads import check_absence_known, proof_of, stream
from fieldstone.services.storage.s3.server.reception import store_source
from fieldstone.services.storage.s3.sigv4 import UNSIGNED
from fieldstone.services.storage.s3.wire import Request, percent_encode

LARGEST_COPY_BYTES = 5 << 30
ATTEMPTS = 4
T = TypeVar("T")


async def settled(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work`, and again while what it had looked up was overwritten before it could write: S3 answers such requests
    from what there is then, not as if there were nothing. Errors: OperationAborted (overwritten again and again)."""
    for _ in range(ATTEMPTS):
        try:
            return await work()
        except Replaced:
            continue
    raise S3Error("OperationAborted")


def check_size(size_bytes: int) -> None:
    """Errors: InvalidRequest above what one copy may take."""
    if size_bytes > LARGEST_COPY_BYTES:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        )


async def find_source(call: Call) -> tuple[Call, Version]:
    """Return the source of a copy, as a call on its bucket, and the version; the requester may read it.

    Errors: NoSuchBucket, NoSuchKey, NoSuchVersion, AccessDenied, InvalidRequest (a delete marker), PreconditionFailed.
    """
    bucket, key, version_id = copy_source(call.header("x-amz-copy-source") or "")
    view = await call.gateway.bucket(bucket)
    if (call.header("x-amz-source-expected-bucket-owner") or view.row.owner) != view.row.owner:
        raise S3Error("AccessDenied")
    target = replace(call.target, operation="GetObject", bucket=bucket, key=key)
    source = replace(call, request=_asking_for(call.request, version_id), target=target, view=view)
    encoded = key.encode()
    found = await look_up(call.gateway.store, view.row.id, encoded, version_id, content=True)
    authorise_object(source, "GetObject", found)
    if found is None or found.marker:
        check_absence_known(source, "GetObject")
    if found is None:
        raise S3Error("NoSuchKey" if version_id is None else "NoSuchVersion", detail={"Key": key})
    if found.marker:
        if version_id is not None:
            raise S3Error(
                "InvalidRequest", "The source of a copy request may not specifically refer to a delete marker."
            )
        raise S3Error("NoSuchKey", detail={"Key": key})
    check_copy_source(call.request, found.etag, found.modified_ms)
    return source, found


def _asking_for(request: Request, version_id: str | None) -> Request:
    """Return the request as one for the source's version: what a policy says of versions is asked of that one."""
    query = b"" if version_id is None else b"versionId=" + percent_encode(versioning.check_id(version_id).encode())
    return Request(request.method, request.raw_path, query, request.headers.items())


def source_key(call: Call, found: Version) -> CustomerKey | None:
    """Return the customer's key that the source is read with. Errors: those of `stated_key` and `key_for_reading`."""
    key = stated_key(call.request, COPY_SOURCE_PREFIX)
    key_for_reading(proof_of(found), key)
    return key


async def encrypted_anew(
    call: Call, source: Call, content: Content, old: CustomerKey | None, new: CustomerKey | None
) -> tuple[Content, BodyFacts]:
    """Store bytes again, from under one customer's key to under another: such copies cannot share segments."""
    decoder = BodyDecoder(BodyPlan(content.size_bytes, UNSIGNED), want_md5=call.gateway.options.etag == "md5")
    async with aclosing(stream(source, content, 0, content.size_bytes, old)) as blocks:  # type: ignore[type-var]
        return await store_source(call, decoder, blocks, content.size_bytes, new)


def source_version(source: Call, found: Version) -> Headers:
    """Return the header that says which version was copied."""
    if not source.bucket.row.versioning:
        return []
    return [(b"x-amz-copy-source-version-id", found.version_id.encode())]
