"""PutObject: what a writer states, the bytes, one transaction that makes them the key's current version."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from fieldstone.services.storage.catalog.rows import Attributes, NewVersion, Version, Written
from fieldstone.services.storage.catalog.versions import look_up, put_version
from fieldstone.services.storage.s3 import encryption, object_lock, tagging
from fieldstone.services.storage.s3.bodies import BodyFacts
from fieldstone.services.storage.s3.conditions import check_write
from fieldstone.services.storage.s3.customer_keys import STORED_NAME, CustomerKey, stated_key
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.metadata import object_headers, response_headers
from fieldstone.services.storage.s3.server.access import acl_for_write, allowed, owner_of_write, refuse_denied
from fieldstone.services.storage.s3.server.exchange import Answer, Call, Headers
from fieldstone.services.storage.s3.server.reads import checksum_headers, expiration_headers
from fieldstone.services.storage.s3.server.reception import take_in
from fieldstone.services.storage.s3.wire import Request


async def stated_attributes(call: Call) -> Attributes:
    """Read what the request's headers state about the object to come.

    Errors: MetadataTooLarge, InvalidStorageClass, InvalidTag, InvalidArgument, InvalidRequest (lock without a bucket
    that has it), InvalidEncryptionAlgorithmError.
    """
    request = call.request
    stated = object_headers(request)
    tags = stated_tags(call)
    mode, until_ms, hold = lock_of(call)
    return Attributes(
        owner=owner_of_write(call),
        headers=(*response_headers(stated).items(), *proof_header(stated_key(request))),
        storage_class=stated.storage_class,
        tags=tags or None,
        acl=await acl_for_write(call),
        retain_mode=mode,
        retain_until_ms=until_ms,
        legal_hold=hold,
    )


def stated_tags(call: Call) -> dict[str, str]:
    """Return the tags of the request's header. Errors: InvalidTag, InvalidArgument; AccessDenied where a policy forbids to
    set tags, or a write could do what PutObjectTagging must not."""
    value = call.request.header("x-amz-tagging")
    if value is None:
        return {}
    refuse_denied(call, "PutObjectTagging")
    return tagging.parse_header(value)


def proof_header(key: CustomerKey | None) -> tuple[tuple[str, str], ...]:
    """Return what an object's headers keep of a customer's key."""
    return () if key is None else ((STORED_NAME, key.proof()),)


def lock_of(call: Call) -> tuple[str | None, int | None, bool]:
    """Return (mode, until Unix ms, legal hold) of the request's headers or else of the bucket's default.

    To state one takes its own permission, which no ACL gives: else whoever may write could make the owner keep, and pay
    for, bytes for ever. Errors: AccessDenied, InvalidRequest (the bucket has no lock).
    """
    retention, hold = object_lock.of_headers(call.request, call.now_ms)
    row = call.bucket.row
    if not row.object_lock:
        if retention is not None or hold is not None:
            raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
        return None, None, False
    for stated, operation in ((retention, "PutObjectRetention"), (hold, "PutObjectLegalHold")):
        if stated is not None and not allowed(call, operation, call.target.key):
            raise S3Error("AccessDenied")
    if retention is None:
        default = call.bucket.setting("object-lock", object_lock.parse_configuration)
        retention = default.retention(call.now_ms) if default is not None else None
    if retention is None:
        return None, None, bool(hold)
    return retention.mode, retention.until_ms, bool(hold)


def write_check(request: Request) -> Callable[[Version | None], None] | None:
    """Return the request's conditions as the catalogue asks them in its transaction; None where there are none."""
    if b"if-match" not in request.headers and b"if-none-match" not in request.headers:
        return None
    return lambda current: check_write(request, current.etag if current is not None else None)


async def check_early(call: Call, check: Callable[[Version | None], None] | None) -> None:
    """Refuse a conditional write before its body is sent, where it would fail anyway."""
    if check is None:
        return
    found = await look_up(call.gateway.store, call.bucket_id, call.key)
    check(None if found is None or found.marker else found)


def etag_of(call: Call, facts: BodyFacts, key: CustomerKey | None = None) -> str:
    """Return the MD5, or where it is spared a text that no client takes for one.

    Under a customer's key it is random: the MD5 would tell everybody who can list what the bytes are.
    """
    if key is not None:
        return secrets.token_hex(16)
    return facts.etag if call.gateway.options.etag == "md5" else f"{secrets.token_hex(16)}-1"


def encryption_headers(key: CustomerKey | None) -> Headers:
    """Return the headers that say how a write was encrypted."""
    return key.answer_headers() if key is not None else [encryption.ANSWER]


def written_headers(call: Call, written: Written, tags: Mapping[str, str] | None) -> Headers:
    """Return the headers of an answer to a write of an object with these tags."""
    headers: Headers = [
        (b"etag", b'"' + written.etag.encode() + b'"'),
        *encryption_headers(stated_key(call.request)),
        *checksum_headers(written.checksum),
        *expiration_headers(call, written.modified_ms, written.size_bytes, tags or {}),
    ]
    if written.show_version:
        headers.append((b"x-amz-version-id", written.version_id.encode()))
    return headers


async def put_object(call: Call) -> Answer:
    """PutObject."""
    gateway = call.gateway
    attributes = await stated_attributes(call)
    customer = stated_key(call.request)
    check = write_check(call.request)
    await check_early(call, check)
    content, facts = await take_in(call, key=customer)
    new = NewVersion(
        attributes,
        content,
        etag_of(call, facts, customer),
        gateway.now_ms(),
        f"{facts.algorithm}:FULL_OBJECT:{facts.checksum}",
    )
    bucket_id, key = call.bucket_id, call.key
    written = await gateway.store.write(lambda c: put_version(c, gateway.pool, bucket_id, key, new, check))
    headers = written_headers(call, written, attributes.tags)
    return Answer(200, headers)
