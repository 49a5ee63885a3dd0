"""What is set on an object after it was written: tags, ACL, retention, legal hold."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from fieldstone.services.storage.catalog.faults import Replaced
from fieldstone.services.storage.catalog.locks import retention_of, set_legal_hold, set_retention
from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.catalog.versions import find_version, set_acl, set_tags
from fieldstone.services.storage.s3 import acl, object_lock, tagging
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.access import object_acl, ownership_of, require_bypass
from fieldstone.services.storage.s3.server.copy_sources import settled
from fieldstone.services.storage.s3.server.document import read_document
from fieldstone.services.storage.s3.server.exchange import XML_TYPE, Answer, Call
from fieldstone.services.storage.s3.server.reads import find_for
from fieldstone.services.storage.s3.server.settings import named, wanted_acl


def _answer(call: Call, version: Version, body: bytes = b"", status: int = 200) -> Answer:
    answer = Answer(status, [XML_TYPE] if body else [], body)
    if call.bucket.row.versioning:
        answer.headers.append((b"x-amz-version-id", version.version_id.encode()))
    return answer


async def get_tagging(call: Call) -> Answer:
    """GetObjectTagging."""
    version = await find_for(call)
    return _answer(call, version, tagging.write(version.tag_map()))


async def put_tagging(call: Call) -> Answer:
    """PutObjectTagging."""
    tags = call.stated_tags = tagging.parse(await read_document(call))  # a policy may ask what they will be
    return _answer(call, await settled(lambda: _tagged(call, tags)))


async def delete_tagging(call: Call) -> Answer:
    """DeleteObjectTagging."""
    return _answer(call, await settled(lambda: _tagged(call, None)), status=204)


async def _tagged(call: Call, tags: dict[str, str] | None) -> Version:
    version = await find_for(call)
    await call.gateway.store.write(lambda c: set_tags(c, version.id, tags))
    return version


async def get_acl(call: Call) -> Answer:
    """GetObjectAcl. Where ACLs are switched off, everything is the bucket owner's alone."""
    version = await find_for(call)
    owner = call.bucket.row.owner
    off = ownership_of(call.bucket) == "BucketOwnerEnforced"
    found = acl.canned("private", owner, owner) if off else object_acl(version)
    return _answer(call, version, acl.write(await named(call, found)))


async def put_acl(call: Call) -> Answer:
    """PutObjectAcl."""
    owner = (await find_for(call)).owner
    document = acl.write(await wanted_acl(call, owner))

    async def listed() -> Version:
        version = await find_for(call)
        if version.owner != owner:
            raise S3Error("OperationAborted")  # the list that was asked for names another owner
        await call.gateway.store.write(lambda c: set_acl(c, version.id, document))
        return version

    return _answer(call, await settled(listed))


def _require_lock(call: Call) -> None:
    if not call.bucket.row.object_lock:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


async def get_retention(call: Call) -> Answer:
    """GetObjectRetention."""
    _require_lock(call)
    version = await find_for(call)
    found = retention_of(version)
    if found is None:
        raise S3Error("NoSuchObjectLockConfiguration", detail={"Key": call.target.key or ""})
    return _answer(call, version, object_lock.write_retention(found))


async def put_retention(call: Call) -> Answer:
    """PutObjectRetention."""
    _require_lock(call)
    version = await find_for(call)
    wanted = object_lock.parse_retention(await read_document(call), call.now_ms)
    bypass = object_lock.bypasses(call.request)
    if bypass:
        require_bypass(call, call.target.key)
    now_ms = call.gateway.now_ms()
    return await _with_fresh(call, version, lambda c, fresh: set_retention(c, fresh, wanted, now_ms, bypass=bypass))


async def get_legal_hold(call: Call) -> Answer:
    """GetObjectLegalHold."""
    _require_lock(call)
    version = await find_for(call)
    return _answer(call, version, object_lock.write_legal_hold(version.legal_hold))


async def put_legal_hold(call: Call) -> Answer:
    """PutObjectLegalHold."""
    _require_lock(call)
    version = await find_for(call)
    on = object_lock.parse_legal_hold(await read_document(call))
    return await _with_fresh(call, version, lambda c, fresh: set_legal_hold(c, fresh, on))


async def _with_fresh(call: Call, found: Version, change: Callable[[Connection, Version], None]) -> Answer:
    """Run `change` on the version as it is in the writing transaction: two changes at once must not undo a lock."""
    seen = [found]

    async def changed() -> Version:
        version = seen.pop() if seen else await find_for(call)

        def write(connection: Connection) -> None:
            fresh = find_version(connection, version.bucket_id, version.key, version.version_id, lock=True)
            if fresh is None or fresh.id != version.id:
                raise Replaced("NoSuchKey", "the version was deleted meanwhile")
            change(connection, fresh)

        await call.gateway.store.write(write)
        return version

    return _answer(call, await settled(changed))
