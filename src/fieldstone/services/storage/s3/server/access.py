"""May they? What `decision` weighs, gathered from the request, the bucket's settings and the object's row."""

from __future__ import annotations

from collections.abc import Mapping

from fieldstone.services.storage.catalog.rows import Version
from fieldstone.services.storage.s3 import acl, policy, public_access
from fieldstone.services.storage.s3.acl import Acl
from fieldstone.services.storage.s3.customer_keys import check_secure
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.public_access import PublicAccessBlock
from fieldstone.services.storage.s3.server import decision
from fieldstone.services.storage.s3.server.context import arn_of, context_of
from fieldstone.services.storage.s3.server.exchange import Call
from fieldstone.services.storage.s3.server.gateway import BucketView

_NO_BLOCK = PublicAccessBlock()
# their permission hangs on the object's own ACL, so they are decided when the object's row is known
_BY_OBJECT = frozenset(
    name for name, (_, _, where, permission) in decision.ACTIONS.items() if where == "object" or (
        where == "" and permission is None and name in (
            "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging", "GetObjectRetention", "PutObjectRetention",
            "GetObjectLegalHold", "PutObjectLegalHold",
        )
    )
)  # fmt: skip
# each upload is its initiator's besides the bucket owner's; each key of a DeleteObjects is asked for on its own
_ASKED_BY_HANDLER = frozenset({"ListParts", "AbortMultipartUpload", "DeleteObjects"})


def block_of(view: BucketView) -> PublicAccessBlock:
    """Return the bucket's public access block."""
    return view.setting("public-access", public_access.parse) or _NO_BLOCK


def ownership_of(view: BucketView) -> public_access.Ownership:
    """Return who owns what others write. A bucket that says nothing follows the classic rule: the writer."""
    return view.setting("ownership", public_access.parse_ownership) or "ObjectWriter"


def bucket_acl(view: BucketView) -> Acl:
    """Return the bucket's ACL; without one it is private."""
    owner = view.row.owner
    return view.setting("acl", lambda document: acl.parse(document, owner)) or acl.canned("private", owner, owner)


def object_acl(version: Version) -> Acl:
    """Return a version's ACL; without one it is private to its owner."""
    if version.acl is None:
        return acl.canned("private", version.owner, version.owner)
    return acl.parse(version.acl, version.owner)


def policy_of(view: BucketView) -> policy.Policy | None:
    """Return the bucket's policy."""
    return view.setting("policy", lambda document: policy.parse(document, view.row.name))


async def authorise(call: Call, operation: str) -> None:
    """Check what can be said before an object is looked up. Errors: AccessDenied."""
    expected = call.header("x-amz-expected-bucket-owner")
    if expected is not None and expected != call.bucket.row.owner:
        raise S3Error("AccessDenied")
    if operation in _BY_OBJECT or operation in _ASKED_BY_HANDLER:
        return
    if not allowed(call, operation, call.target.key, versioned=call.names_version):
        raise S3Error("AccessDenied")


def authorise_object(call: Call, operation: str, version: Version | None) -> None:
    """Check an operation on an object that was looked up; what is not there passes for the bucket's owner and whom the
    policy lets. Errors: AccessDenied."""
    found = object_acl(version) if version is not None and not version.marker else None
    versioned = call.names_version or (version is not None and not version.is_current)
    tags = version.tag_map() if version is not None and version.tags else {}
    if found is None:
        # nothing to protect: whether its absence may be known is the caller's next question
        refuse_denied(call, operation, versioned=versioned)
        return
    if not allowed(call, operation, call.target.key, object_acl=found, versioned=versioned, tags=tags):
        raise S3Error("AccessDenied")


def allowed(
    call: Call,
    operation: str,
    key: str | None,
    *,
    object_acl: Acl | None = None,
    versioned: bool = False,
    tags: Mapping[str, str] | None = None,
    action: str | None = None,
) -> bool:
    """Say whether the requester may do `operation` to a key (None: to the bucket)."""
    view = call.bucket
    account = call.account.id if call.account else None
    found = view.access
    if found is None:
        row = view.row
        found = view.access = decision.Bucket(
            row.name, row.owner, bucket_acl(view), policy_of(view), block_of(view), ownership_of(view)
        )
    mine = object_acl is None or object_acl.owner == account or found.ownership == "BucketOwnerEnforced"
    if mine and found.policy is None and account is not None and account == found.owner:
        return True  # the common case: nothing to build a question for
    caller = decision.Caller(
        account, arn_of(call.account), context_of(call, tags or {}) if found.policy is not None else {}
    )
    return decision.allowed(caller, operation, found, key, object_acl=object_acl, versioned=versioned, action=action)


def may_list(call: Call) -> bool:
    """Say whether the requester may know which keys there are: others are told 403 instead of 404."""
    return allowed(call, "ListObjects", None)


def require_bypass(call: Call, key: str | None) -> None:
    """Errors: AccessDenied unless the requester may bypass governance retention."""
    if not allowed(call, "DeleteObject", key, action="s3:BypassGovernanceRetention"):
        raise S3Error("AccessDenied")


def refuse_denied(
    call: Call, operation: str, *, versioned: bool = False, tags: Mapping[str, str] | None = None
) -> None:
    """Refuse what the bucket's policy denies, whoever else lets it. Errors: AccessDenied."""
    found = policy_of(call.bucket)
    if found is None:
        return
    plain, with_version, _, _ = decision.ACTIONS[operation]
    question = policy.Question(
        with_version if versioned and with_version else plain,
        policy.resource_arn(call.bucket.row.name, call.target.key),
        call.account.id if call.account else None,
        arn_of(call.account),
        context_of(call, tags or {}),
    )
    if policy.decide(found, question) == "deny":
        raise S3Error("AccessDenied")


async def acl_for_write(call: Call) -> bytes | None:
    """Return the document of the ACL that the request's headers ask for; None for a private one.

    Errors: AccessControlListNotSupported, AccessDenied (public, while that is blocked), InvalidArgument, InvalidRequest.
    """
    found = await acl_of_headers(call, call.account_id)
    if found is not None:
        refuse_denied(call, "PutObjectAcl")  # a write must not do what its own operation is forbidden to
    return None if found is None or owner_of_write(call) != call.account_id else acl.write(found)


def owner_of_write(call: Call) -> str:
    """Return who owns what a request writes: the writer, or the bucket's owner where its ownership controls say so."""
    wanted = ownership_of(call.bucket)
    given = wanted == "BucketOwnerPreferred" and call.header("x-amz-acl") == "bucket-owner-full-control"
    return call.bucket.row.owner if given or wanted == "BucketOwnerEnforced" else call.account_id


async def acl_of_headers(call: Call, owner: str) -> Acl | None:
    """Return the ACL that the request's headers ask for, for something of `owner`'s; the bucket may be yet to come."""
    request = call.request
    if not any(name.startswith((b"x-amz-acl", b"x-amz-grant-")) for name in request.headers):
        return None
    names, emails = await call.gateway.account_names()
    bucket_owner = call.view.row.owner if call.view is not None else owner
    found = acl.of_headers(
        request,
        owner,
        bucket_owner,
        owner_name=names.get(owner, ""),
        bucket_owner_name=names.get(bucket_owner, ""),
        names=names,
        emails=emails,
    )
    if found is not None and call.view is not None:
        check_acl_accepted(call, found)
    return found


def check_acl_accepted(call: Call, wanted: Acl) -> None:
    """Errors: AccessControlListNotSupported where ACLs are switched off, AccessDenied for a public one that is blocked."""
    view = call.bucket
    if ownership_of(view) == "BucketOwnerEnforced":
        owner = view.row.owner
        grants = {(grant.grantee, grant.permission) for grant in wanted.grants}
        if not {(owner, "FULL_CONTROL")} <= grants <= {(owner, "FULL_CONTROL"), (wanted.owner, "FULL_CONTROL")}:
            raise S3Error("AccessControlListNotSupported")
    if wanted.is_public and block_of(view).block_acls:
        raise S3Error("AccessDenied")


def check_keys(call: Call) -> None:
    """Refuse customers' keys that came unencrypted, unless the operator lets them. Errors: InvalidRequest."""
    if not call.secure and not call.gateway.options.keys_over_http:
        check_secure(call.request)
