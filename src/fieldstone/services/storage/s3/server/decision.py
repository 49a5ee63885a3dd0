"""May this caller do this? Policy, ACLs, ownership and public access block weighed together; pure.

Order (Amazon S3 user guide, "How Amazon S3 authorizes a request"): an explicit deny of the bucket policy ends it; else the
bucket owner may, the policy may allow, an ACL may allow; nothing else does. A deny cannot lock the owner out of the policy
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fieldstone.services.storage.s3 import acl as acls
from fieldstone.services.storage.s3 import policy as policies
from fieldstone.services.storage.s3.acl import Acl, Permission
from fieldstone.services.storage.s3.policy import Policy
from fieldstone.services.storage.s3.public_access import Ownership, PublicAccessBlock

# operation → policy action of the unversioned and of the versioned request, and the ACL permission that also allows it
# with where it is looked up: "bucket", "object", or "" where only owner and policy count.
ACTIONS: dict[str, tuple[str, str, str, Permission | None]] = {
    "AbortMultipartUpload": ("s3:AbortMultipartUpload", "", "bucket", "WRITE"),
    "CompleteMultipartUpload": ("s3:PutObject", "", "bucket", "WRITE"),
    "CopyObject": ("s3:PutObject", "", "bucket", "WRITE"),
    "CreateBucket": ("s3:CreateBucket", "", "", None),
    "CreateMultipartUpload": ("s3:PutObject", "", "bucket", "WRITE"),
    "DeleteBucket": ("s3:DeleteBucket", "", "", None),
    "DeleteBucketCors": ("s3:PutBucketCORS", "", "", None),
    "DeleteBucketEncryption": ("s3:PutEncryptionConfiguration", "", "", None),
    "DeleteBucketLifecycle": ("s3:PutLifecycleConfiguration", "", "", None),
    "DeleteBucketOwnershipControls": ("s3:PutBucketOwnershipControls", "", "", None),
    "DeleteBucketPolicy": ("s3:DeleteBucketPolicy", "", "", None),
    "DeleteBucketReplication": ("s3:PutReplicationConfiguration", "", "", None),
    "DeleteBucketTagging": ("s3:PutBucketTagging", "", "", None),
    "DeleteBucketWebsite": ("s3:DeleteBucketWebsite", "", "", None),
    "DeleteObject": ("s3:DeleteObject", "s3:DeleteObjectVersion", "bucket", "WRITE"),
    "DeleteObjectTagging": ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging", "", None),
    "DeleteObjects": ("s3:DeleteObject", "s3:DeleteObjectVersion", "bucket", "WRITE"),
    "DeletePublicAccessBlock": ("s3:PutBucketPublicAccessBlock", "", "", None),
    "GetBucketAccelerateConfiguration": ("s3:GetAccelerateConfiguration", "", "", None),
    "GetBucketAcl": ("s3:GetBucketAcl", "", "bucket", "READ_ACP"),
    "GetBucketCors": ("s3:GetBucketCORS", "", "", None),
    "GetBucketEncryption": ("s3:GetEncryptionConfiguration", "", "", None),
    "GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration", "", "", None),
    "GetBucketLocation": ("s3:GetBucketLocation", "", "", None),
    "GetBucketLogging": ("s3:GetBucketLogging", "", "", None),
    "GetBucketNotificationConfiguration": ("s3:GetBucketNotification", "", "", None),
    "GetBucketOwnershipControls": ("s3:GetBucketOwnershipControls", "", "", None),
    "GetBucketPolicy": ("s3:GetBucketPolicy", "", "", None),
    "GetBucketPolicyStatus": ("s3:GetBucketPolicyStatus", "", "", None),
    "GetBucketReplication": ("s3:GetReplicationConfiguration", "", "", None),
    "GetBucketRequestPayment": ("s3:GetBucketRequestPayment", "", "", None),
    "GetBucketTagging": ("s3:GetBucketTagging", "", "", None),
    "GetBucketVersioning": ("s3:GetBucketVersioning", "", "", None),
    "GetBucketWebsite": ("s3:GetBucketWebsite", "", "", None),
    "GetObject": ("s3:GetObject", "s3:GetObjectVersion", "object", "READ"),
    "GetObjectAcl": ("s3:GetObjectAcl", "s3:GetObjectVersionAcl", "object", "READ_ACP"),
    "GetObjectAttributes": ("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes", "object", "READ"),
    "GetObjectLegalHold": ("s3:GetObjectLegalHold", "", "", None),
    "GetObjectLockConfiguration": ("s3:GetBucketObjectLockConfiguration", "", "", None),
    "GetObjectRetention": ("s3:GetObjectRetention", "", "", None),
    "GetObjectTagging": ("s3:GetObjectTagging", "s3:GetObjectVersionTagging", "", None),
    "GetObjectTorrent": ("s3:GetObjectTorrent", "", "", None),
    "GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock", "", "", None),
    "HeadBucket": ("s3:ListBucket", "", "bucket", "READ"),
    "HeadObject": ("s3:GetObject", "s3:GetObjectVersion", "object", "READ"),
    "ListBucketAnalyticsConfigurations": ("s3:GetAnalyticsConfiguration", "", "", None),
    "ListBucketIntelligentTieringConfigurations": ("s3:GetIntelligentTieringConfiguration", "", "", None),
    "ListBucketInventoryConfigurations": ("s3:GetInventoryConfiguration", "", "", None),
    "ListBucketMetricsConfigurations": ("s3:GetMetricsConfiguration", "", "", None),
    "ListBuckets": ("s3:ListAllMyBuckets", "", "", None),
    "ListMultipartUploads": ("s3:ListBucketMultipartUploads", "", "bucket", "READ"),
    "ListObjectVersions": ("s3:ListBucketVersions", "", "bucket", "READ"),
    "ListObjects": ("s3:ListBucket", "", "bucket", "READ"),
    "ListObjectsV2": ("s3:ListBucket", "", "bucket", "READ"),
    "ListParts": ("s3:ListMultipartUploadParts", "", "", None),
    "PostObject": ("s3:PutObject", "", "bucket", "WRITE"),
    "PutBucketAccelerateConfiguration": ("s3:PutAccelerateConfiguration", "", "", None),
    "PutBucketAcl": ("s3:PutBucketAcl", "", "bucket", "WRITE_ACP"),
    "PutBucketAnalyticsConfiguration": ("s3:PutAnalyticsConfiguration", "", "", None),
    "PutBucketCors": ("s3:PutBucketCORS", "", "", None),
    "PutBucketEncryption": ("s3:PutEncryptionConfiguration", "", "", None),
    "PutBucketInventoryConfiguration": ("s3:PutInventoryConfiguration", "", "", None),
    "PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration", "", "", None),
    "PutBucketLogging": ("s3:PutBucketLogging", "", "", None),
    "PutBucketMetricsConfiguration": ("s3:PutMetricsConfiguration", "", "", None),
    "PutBucketNotificationConfiguration": ("s3:PutBucketNotification", "", "", None),
    "PutBucketOwnershipControls": ("s3:PutBucketOwnershipControls", "", "", None),
    "PutBucketPolicy": ("s3:PutBucketPolicy", "", "", None),
    "PutBucketReplication": ("s3:PutReplicationConfiguration", "", "", None),
    "PutBucketRequestPayment": ("s3:PutBucketRequestPayment", "", "", None),
    "PutBucketTagging": ("s3:PutBucketTagging", "", "", None),
    "PutBucketVersioning": ("s3:PutBucketVersioning", "", "", None),
    "PutBucketWebsite": ("s3:PutBucketWebsite", "", "", None),
    "PutObject": ("s3:PutObject", "", "bucket", "WRITE"),
    "PutObjectAcl": ("s3:PutObjectAcl", "s3:PutObjectVersionAcl", "object", "WRITE_ACP"),
    "PutObjectLegalHold": ("s3:PutObjectLegalHold", "", "", None),
    "PutObjectLockConfiguration": ("s3:PutBucketObjectLockConfiguration", "", "", None),
    "PutObjectRetention": ("s3:PutObjectRetention", "", "", None),
    "PutObjectTagging": ("s3:PutObjectTagging", "s3:PutObjectVersionTagging", "", None),
    "PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock", "", "", None),
    "RestoreObject": ("s3:RestoreObject", "", "", None),
    "SelectObjectContent": ("s3:GetObject", "s3:GetObjectVersion", "object", "READ"),
    "UploadPart": ("s3:PutObject", "", "bucket", "WRITE"),
    "UploadPartCopy": ("s3:PutObject", "", "bucket", "WRITE"),
}
_LOCKING = frozenset({"PutObjectRetention", "PutObjectLegalHold"})
_OWNER_KEEPS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a bucket says about access."""

    name: str
    owner: str
    acl: Acl
    policy: Policy | None = None
    block: PublicAccessBlock = field(default_factory=PublicAccessBlock)
    ownership: Ownership = "ObjectWriter"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: account id (None: anonymous), its ARN, and what the request gives to conditions."""

    account: str | None
    arn: str | None = None
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def allowed(
    caller: Caller,
    operation: str,
    bucket: Bucket,
    key: str | None = None,
    *,
    object_acl: Acl | None = None,
    versioned: bool = False,
    action: str | None = None,
) -> bool:
    """Return whether the caller may.

    `object_acl`: of the object asked for, None where there is none (or the question is about the bucket); `versioned`:
    a version is named; `action`: asked instead of the operation's own, e.g. `s3:BypassGovernanceRetention`.
    """
    plain, with_version, where, permission = ACTIONS[operation]
    asked = action or (with_version if versioned and with_version else plain)
    question = policies.Question(
        asked, policies.resource_arn(bucket.name, key), caller.account, caller.arn, caller.context
    )
    owns_bucket = caller.account is not None and caller.account == bucket.owner
    decision = policies.decide(bucket.policy, question)
    if decision == "deny" and not (owns_bucket and asked in _OWNER_KEEPS):
        return False
    enforced = bucket.ownership == "BucketOwnerEnforced"
    if owns_bucket and (where != "object" or enforced or object_acl is None or object_acl.owner == bucket.owner):
        return True
    if decision == "allow":
        restricted = bucket.block.restrict_buckets and bucket.policy is not None and policies.is_public(bucket.policy)
        if not restricted or owns_bucket:
            return True
    if enforced or action is not None:
        return False
    if permission is None:
        # Whoever wrote an object keeps its tags as its owner, and may read its locks. To set one would make the bucket's
        # owner keep, and pay for, bytes for ever.
        return (
            operation not in _LOCKING
            and object_acl is not None
            and caller.account is not None
            and caller.account == object_acl.owner
        )
    found = bucket.acl if where == "bucket" else object_acl
    return found is not None and acls.allows(found, caller.account, permission, ignore_public=bucket.block.ignore_acls)
