"""ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation."""

from __future__ import annotations

from fieldstone.services.storage.catalog.buckets import create_bucket as create
from fieldstone.services.storage.catalog.buckets import list_buckets as listed
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.removal import delete_bucket as delete
from fieldstone.services.storage.s3 import acl, public_access, xml
from fieldstone.services.storage.s3.addressing import check_bucket_name
from fieldstone.services.storage.s3.dates import iso_date
from fieldstone.services.storage.s3.documents import parse_create_bucket
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.access import acl_of_headers, bucket_acl
from fieldstone.services.storage.s3.server.document import read_document
from fieldstone.services.storage.s3.server.exchange import Answer, Call

_PAGE = 10_000


async def list_buckets(call: Call) -> Answer:
    """ListBuckets: those of the requester."""
    account = call.account
    if account is None:
        raise S3Error("AccessDenied")
    request = call.request
    prefix = request.parameter("prefix") or ""
    after = request.parameter("continuation-token") or ""
    limit = xml.integer(request.parameter("max-buckets") or str(_PAGE), least=1, most=_PAGE, code="InvalidArgument")
    found = await call.gateway.store.read(lambda c: listed(c, account.id, prefix=prefix, after=after, limit=limit + 1))
    page = found[:limit]
    entries: list[xml.Pair] = [
        ("Bucket", [("Name", name), ("CreationDate", iso_date(created_ms))]) for name, created_ms in page
    ]
    document: list[xml.Pair] = [
        ("Owner", [("ID", account.id), ("DisplayName", account.name)]),
        ("Buckets", entries),
        ("ContinuationToken", page[-1][0] if len(found) > limit else None),
        ("Prefix", prefix or None),
    ]
    return Answer.document("ListAllMyBucketsResult", document)


async def create_bucket(call: Call) -> Answer:
    """CreateBucket."""
    account = call.account
    if account is None:
        raise S3Error("AccessDenied")
    name = call.target.bucket or ""
    check_bucket_name(name)
    gateway = call.gateway
    region = gateway.options.region
    location = parse_create_bucket(await read_document(call)) if _has_body(call) else None
    if location is not None and location not in (region, "us-east-1", "EU", "default"):
        raise S3Error("InvalidLocationConstraint", detail={"LocationConstraint": location})
    documents: dict[str, bytes] = {}
    if location is not None:
        documents["location"] = location.encode()
    wanted = await acl_of_headers(call, account.id)
    if wanted is not None:
        documents["acl"] = acl.write(wanted)
    ownership = call.header("x-amz-object-ownership")
    if ownership is not None:
        chosen = public_access.ownership(ownership)
        if chosen == "BucketOwnerEnforced" and wanted is not None and wanted.lets_others_in:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        documents["ownership"] = public_access.write_ownership(chosen)
    lock = (call.header("x-amz-bucket-object-lock-enabled") or "").lower() == "true"
    now_ms = call.now_ms
    try:
        await gateway.change(lambda c: create(c, name, account.id, now_ms, object_lock=lock, documents=documents))
    except CatalogFault as fault:
        # to make a bucket of one's own again is no error in the classic region, so that scripts may do it each time
        if fault.code != "BucketAlreadyOwnedByYou" or region != "us-east-1":
            raise
        view = await gateway.bucket(name)
        if (wanted or acl.canned("private", account.id, account.id)).allowing() != bucket_acl(view).allowing():
            raise S3Error("BucketAlreadyExists", detail={"BucketName": name}) from None
    return Answer(200, [(b"location", f"/{name}".encode())])


def _has_body(call: Call) -> bool:
    headers = call.request.headers
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def head_bucket(call: Call) -> Answer:
    """HeadBucket."""
    return Answer(200, [(b"x-amz-bucket-region", call.gateway.options.region.encode())])


async def delete_bucket(call: Call) -> Answer:
    """DeleteBucket."""
    gateway, bucket_id = call.gateway, call.bucket_id
    await gateway.change(lambda c: delete(c, gateway.pool, bucket_id))
    return Answer(204)


async def get_location(call: Call) -> Answer:
    """GetBucketLocation. The classic region is answered as nothing."""
    stored = call.bucket.row.settings.get("location")
    location = stored.decode() if stored is not None else call.gateway.options.region
    return Answer.document("LocationConstraint", "" if location == "us-east-1" else location)
