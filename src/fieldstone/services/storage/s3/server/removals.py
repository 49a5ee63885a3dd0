"""DeleteObject, DeleteObjects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import Connection

from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.rows import Deleted, Version
from fieldstone.services.storage.catalog.versions import delete_current, delete_version
from fieldstone.services.storage.s3 import conditions, object_lock, xml
from fieldstone.services.storage.s3.addressing import check_key
from fieldstone.services.storage.s3.checksums import promised
from fieldstone.services.storage.s3.documents import Deletion, parse_delete
from fieldstone.services.storage.s3.errors import ERRORS, S3Error
from fieldstone.services.storage.s3.server.access import allowed, policy_of, require_bypass
from fieldstone.services.storage.s3.server.document import parsed, read_document
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, Answer, Call

KEYS_LIMIT = 1_000
Check = Callable[[Version | None], None]


def _removal(
    call: Call, key: bytes, version_id: str | None, *, bypass: bool, check: Check | None
) -> Callable[[Connection], Deleted]:
    gateway, bucket_id = call.gateway, call.bucket_id
    now_ms = gateway.now_ms()  # of the write, which may be later than the request
    if version_id is None:
        return lambda c: delete_current(c, gateway.pool, bucket_id, key, call.account_id, now_ms, check)
    return lambda c: delete_version(
        c, gateway.pool, bucket_id, key, version_id, now_ms, bypass_governance=bypass, check=check
    )


def _check(etag: str | None, modified_ms: int | None, size_bytes: int | None) -> Check | None:
    if etag is None and modified_ms is None and size_bytes is None:
        return None

    def check(current: Version | None) -> None:
        known = None if current is None else (current.etag, current.modified_ms, current.size_bytes)
        conditions.check_delete(etag, modified_ms, size_bytes, known)

    return check


async def delete_object(call: Call) -> Answer:
    """DeleteObject. A key that is not there is no error."""
    version_id = call.version_parameter()
    bypass = object_lock.bypasses(call.request)
    if bypass and version_id is not None:
        require_bypass(call, call.target.key)
    check = _check(*conditions.delete_conditions(call.request))
    done = await call.gateway.store.write(_removal(call, call.key, version_id, bypass=bypass, check=check))
    answer = Answer(204)
    if done.marker:
        answer.headers.append((b"x-amz-delete-marker", b"true"))
    if done.version_id is not None and (call.bucket.row.versioning or version_id is not None):
        answer.headers.append((b"x-amz-version-id", done.version_id.encode()))
    return answer


async def delete_objects(call: Call) -> Answer:
    """DeleteObjects: up to 1,000 keys, each with its own outcome."""
    request = call.request
    if request.header("content-md5") is None and promised(request) is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    deletions, quiet = await parsed(await read_document(call, limit_bytes=DOCUMENT_BYTES), parse_delete)
    bypass = object_lock.bypasses(request)

    def refusals() -> list[S3Error | None]:
        return [_refusal(call, deletion, bypass=bypass) for deletion in deletions]

    # a policy may take milliseconds to weigh, a thousand times: no other request is answered meanwhile on the loop
    refused = refusals() if policy_of(call.bucket) is None else await asyncio.to_thread(refusals)
    # all at once: the writer puts them into one commit
    outcomes = await asyncio.gather(
        *(_delete_one(call, each, no, bypass=bypass) for each, no in zip(deletions, refused, strict=True))
    )
    return Answer.document("DeleteResult", [pair for pair in outcomes if not quiet or pair[0] == "Error"])


def _refusal(call: Call, deletion: Deletion, *, bypass: bool) -> S3Error | None:
    versioned = deletion.version_id is not None
    try:
        check_key(deletion.key)
        if not allowed(call, "DeleteObjects", deletion.key, versioned=versioned):
            return S3Error("AccessDenied")
        if bypass and versioned:
            require_bypass(call, deletion.key)
    except S3Error as error:
        return error
    return None


async def _delete_one(call: Call, deletion: Deletion, refused: S3Error | None, *, bypass: bool) -> xml.Pair:
    key, version_id = deletion.key, deletion.version_id
    names: list[xml.Pair] = [("Key", key), ("VersionId", version_id)]
    try:
        if refused is not None:
            raise refused
        check = _check(deletion.etag, deletion.modified_ms, deletion.size_bytes)
        done = await call.gateway.store.write(_removal(call, key.encode(), version_id, bypass=bypass, check=check))
    except S3Error as error:
        return ("Error", [*names, ("Code", error.code), ("Message", error.message)])
    except CatalogFault as error:
        return ("Error", [*names, ("Code", error.code), ("Message", error.detail or ERRORS[error.code][1])])
    details: list[xml.Pair] = [
        *names,
        ("DeleteMarker", True if done.marker else None),
        ("DeleteMarkerVersionId", done.version_id if done.marker else None),
    ]
    return ("Deleted", details)
