"""A bucket's settings: read, replace, remove. Each is a document that the protocol parts parse and write.

What S3 has and this gateway does not do is answered honestly: reading says "not configured", writing NotImplemented.
"""

from __future__ import annotations

from collections.abc import Callable

from fieldstone.services.storage.catalog.buckets import enable_object_lock, put_setting, set_versioning
from fieldstone.services.storage.s3 import (
    acl,
    cors,
    encryption,
    lifecycle,
    object_lock,
    policy,
    public_access,
    tagging,
    versioning,
    xml,
)
from fieldstone.services.storage.s3.acl import Acl
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.policy_conditions import check_keys
from fieldstone.services.storage.s3.server.access import (
    acl_of_headers,
    block_of,
    bucket_acl,
    check_acl_accepted,
    policy_of,
)
from fieldstone.services.storage.s3.server.document import SMALL_DOCUMENT_BYTES, parsed, read_document
from fieldstone.services.storage.s3.server.exchange import DOCUMENT_BYTES, XML_TYPE, Answer, Call, Handler


async def _store(call: Call, name: str, body: bytes | None) -> None:
    bucket_id = call.bucket_id
    await call.gateway.change(lambda c: put_setting(c, bucket_id, name, body))


def reader(name: str, missing: str) -> Handler:
    """Return a handler that answers the stored document, or the error `missing`."""

    async def read(call: Call) -> Answer:
        body = call.bucket.row.settings.get(name)
        if body is None:
            raise S3Error(missing, detail={"BucketName": call.bucket.row.name})
        return Answer(200, [XML_TYPE], body)

    return read


def writer(
    name: str, normal: Callable[[bytes], bytes], *, status: int = 200, limit_bytes: int = SMALL_DOCUMENT_BYTES
) -> Handler:
    """Return a handler that checks a document and stores its normal form."""

    async def write(call: Call) -> Answer:
        body = await parsed(await read_document(call, limit_bytes=limit_bytes), normal)
        await parsed(body, normal)  # what could not be read again would end every request that asks for it
        await _store(call, name, body)
        return Answer(status)

    return write


def remover(name: str) -> Handler:
    """Return a handler that removes a setting."""

    async def remove(call: Call) -> Answer:
        await _store(call, name, None)
        return Answer(204)

    return remove


put_cors = writer("cors", lambda document: cors.write(cors.parse(document)))
put_lifecycle = writer(
    "lifecycle", lambda document: lifecycle.write(lifecycle.parse(document)), limit_bytes=DOCUMENT_BYTES
)
put_tagging = writer(
    "tagging", lambda document: tagging.write(tagging.parse(document, most=tagging.MAX_BUCKET_TAGS)), status=204
)
put_public_access = writer("public-access", lambda document: public_access.write(public_access.parse(document)))


async def put_ownership(call: Call) -> Answer:
    """PutBucketOwnershipControls."""
    wanted = public_access.parse_ownership(await read_document(call))
    if wanted == "BucketOwnerEnforced" and bucket_acl(call.bucket).lets_others_in:
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    await _store(call, "ownership", public_access.write_ownership(wanted))
    return Answer(200)


# ---- policy ----------------------------------------------------------------------------------------------------------


async def get_policy(call: Call) -> Answer:
    """GetBucketPolicy."""
    body = call.bucket.row.settings.get("policy")
    if body is None:
        raise S3Error("NoSuchBucketPolicy", detail={"BucketName": call.bucket.row.name})
    return Answer(200, [(b"content-type", b"application/json")], body)


async def put_policy(call: Call) -> Answer:
    """PutBucketPolicy."""
    document = await read_document(call)
    found = policy.parse(document, call.bucket.row.name)
    for statement in found.statements:
        check_keys(statement.conditions)
    if block_of(call.bucket).block_policy and policy.is_public(found):
        raise S3Error("AccessDenied")
    await _store(call, "policy", document)
    return Answer(204)


async def get_policy_status(call: Call) -> Answer:
    """GetBucketPolicyStatus: whether policy or ACL lets everyone in."""
    found = policy_of(call.bucket)
    public = (found is not None and policy.is_public(found)) or (
        bucket_acl(call.bucket).is_public and not block_of(call.bucket).ignore_acls
    )
    return Answer.document("PolicyStatus", [("IsPublic", public)])


# ---- ACL -------------------------------------------------------------------------------------------------------------


async def named(call: Call, found: Acl) -> Acl:
    """Return an ACL with the accounts' display names."""
    names, _ = await call.gateway.account_names()
    grants = tuple(
        grant if grant.is_group else acl.Grant(grant.grantee, grant.permission, names.get(grant.grantee, ""))
        for grant in found.grants
    )
    return Acl(found.owner, grants, names.get(found.owner, ""))


async def wanted_acl(call: Call, owner: str) -> Acl:
    """Return the ACL a request wants to set, in its headers or its body. Errors: those of `acl`, UnexpectedContent."""
    found = await acl_of_headers(call, owner)
    length = call.request.headers.get(b"content-length", b"0")
    if found is not None:
        return found
    if length == b"0" and b"transfer-encoding" not in call.request.headers:
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header: an ACL in headers or body.")
    names, emails = await call.gateway.account_names()
    found = acl.parse(await read_document(call), owner, owner_name=names.get(owner, ""), names=names, emails=emails)
    check_acl_accepted(call, found)
    return found


async def get_bucket_acl(call: Call) -> Answer:
    """GetBucketAcl."""
    return Answer(200, [XML_TYPE], acl.write(await named(call, bucket_acl(call.bucket))))


async def put_bucket_acl(call: Call) -> Answer:
    """PutBucketAcl."""
    wanted = await wanted_acl(call, call.bucket.row.owner)
    await _store(call, "acl", acl.write(wanted))
    return Answer(200)


# ---- versioning, object lock -----------------------------------------------------------------------------------------


async def get_versioning(call: Call) -> Answer:
    """GetBucketVersioning."""
    return Answer(200, [XML_TYPE], versioning.write(call.bucket.row.versioning))


async def put_versioning(call: Call) -> Answer:
    """PutBucketVersioning."""
    status = versioning.parse(await read_document(call))
    bucket_id = call.bucket_id
    await call.gateway.change(lambda c: set_versioning(c, bucket_id, status))
    return Answer(200)


async def get_object_lock(call: Call) -> Answer:
    """GetObjectLockConfiguration."""
    if not call.bucket.row.object_lock:
        raise S3Error("ObjectLockConfigurationNotFoundError", detail={"BucketName": call.bucket.row.name})
    default = call.bucket.setting("object-lock", object_lock.parse_configuration)
    return Answer(200, [XML_TYPE], object_lock.write_configuration(default))


async def put_object_lock(call: Call) -> Answer:
    """PutObjectLockConfiguration."""
    bucket_id = call.bucket_id
    document = await read_document(call)
    default = object_lock.parse_configuration(document)
    if not call.bucket.row.object_lock:
        await call.gateway.change(lambda c: enable_object_lock(c, bucket_id))
    await _store(call, "object-lock", object_lock.write_configuration(default))
    return Answer(200)


# ---- encryption ------------------------------------------------------------------------------------------------------


async def get_encryption(call: Call) -> Answer:
    """GetBucketEncryption: what was put, else the default. Everything is encrypted under the gateway's keys, always."""
    return Answer(200, [XML_TYPE], call.bucket.row.settings.get("encryption") or encryption.configuration())


put_encryption = writer("encryption", encryption.normal_configuration)
delete_encryption = remover("encryption")  # back to the default, which is the same


# ---- what is not done ------------------------------------------------------------------------------------------------


def fixed(root: str, content: xml.Content) -> Handler:
    """Return a handler that always answers the same document."""

    async def answer(call: Call) -> Answer:
        return Answer.document(root, content)

    return answer


def missing(code: str) -> Handler:
    """Return a handler that always answers an error."""

    async def answer(call: Call) -> Answer:
        raise S3Error(code, detail={"BucketName": call.bucket.row.name})

    return answer


def switched_off(root: str, what: str) -> Handler:
    """Return a handler that lets something be switched off which is never on. An empty document does that."""

    async def write(call: Call) -> Answer:
        if xml.parse(await read_document(call), root).children:
            raise S3Error("NotImplemented", f"{what} are not offered.")
        return Answer(200)

    return write


async def put_request_payment(call: Call) -> Answer:
    """PutBucketRequestPayment: the owner pays."""
    root = xml.parse(await read_document(call), "RequestPaymentConfiguration")
    if root.required("Payer") != "BucketOwner":
        raise S3Error("NotImplemented", "The bucket's owner pays for requests.")
    return Answer(200)
