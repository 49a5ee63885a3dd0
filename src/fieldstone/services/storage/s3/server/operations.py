"""Every operation that is answered, and by which handler. What `addressing` names and this table lacks: NotImplemented."""

from __future__ import annotations

from dataclasses import dataclass

from fieldstone.services.storage.s3.server import (
    buckets,
    copies,
    crossorigin,
    forms,
    listings,
    marks,
    multipart,
    part_copies,
    reads,
    removals,
    settings,
    writes,
)
from fieldstone.services.storage.s3.server.exchange import Handler


@dataclass(frozen=True, slots=True)
class Operation:
    """`public`: no signature is asked for before the handler runs. `needs_bucket`: it must exist."""

    name: str
    handler: Handler
    public: bool = False
    needs_bucket: bool = True


_HANDLERS: dict[str, Handler] = {
    # buckets
    "HeadBucket": buckets.head_bucket,
    "DeleteBucket": buckets.delete_bucket,
    "GetBucketLocation": buckets.get_location,
    # listings
    "ListObjects": listings.list_objects_v1,
    "ListObjectsV2": listings.list_objects_v2,
    "ListObjectVersions": listings.list_object_versions,
    "ListMultipartUploads": listings.list_multipart_uploads,
    # objects
    "GetObject": reads.get_object,
    "HeadObject": reads.head_object,
    "GetObjectAttributes": reads.get_object_attributes,
    "PutObject": writes.put_object,
    "CopyObject": copies.copy_object,
    "DeleteObject": removals.delete_object,
    "DeleteObjects": removals.delete_objects,
    # multipart
    "CreateMultipartUpload": multipart.create_multipart_upload,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": part_copies.upload_part_copy,
    "ListParts": multipart.list_parts_of,
    "CompleteMultipartUpload": multipart.complete_multipart_upload,
    "AbortMultipartUpload": multipart.abort_multipart_upload,
    # marks on objects
    "GetObjectTagging": marks.get_tagging,
    "PutObjectTagging": marks.put_tagging,
    "DeleteObjectTagging": marks.delete_tagging,
    "GetObjectAcl": marks.get_acl,
    "PutObjectAcl": marks.put_acl,
    "GetObjectRetention": marks.get_retention,
    "PutObjectRetention": marks.put_retention,
    "GetObjectLegalHold": marks.get_legal_hold,
    "PutObjectLegalHold": marks.put_legal_hold,
    # settings of buckets
    "GetBucketAcl": settings.get_bucket_acl,
    "PutBucketAcl": settings.put_bucket_acl,
    "GetBucketPolicy": settings.get_policy,
    "PutBucketPolicy": settings.put_policy,
    "DeleteBucketPolicy": settings.remover("policy"),
    "GetBucketPolicyStatus": settings.get_policy_status,
    "GetBucketCors": settings.reader("cors", "NoSuchCORSConfiguration"),
    "PutBucketCors": settings.put_cors,
    "DeleteBucketCors": settings.remover("cors"),
    "GetBucketLifecycleConfiguration": settings.reader("lifecycle", "NoSuchLifecycleConfiguration"),
    "PutBucketLifecycleConfiguration": settings.put_lifecycle,
    "DeleteBucketLifecycle": settings.remover("lifecycle"),
    "GetBucketTagging": settings.reader("tagging", "NoSuchTagSet"),
    "PutBucketTagging": settings.put_tagging,
    "DeleteBucketTagging": settings.remover("tagging"),
    "GetBucketVersioning": settings.get_versioning,
    "PutBucketVersioning": settings.put_versioning,
    "GetObjectLockConfiguration": settings.get_object_lock,
    "PutObjectLockConfiguration": settings.put_object_lock,
    "GetPublicAccessBlock": settings.reader("public-access", "NoSuchPublicAccessBlockConfiguration"),
    "PutPublicAccessBlock": settings.put_public_access,
    "DeletePublicAccessBlock": settings.remover("public-access"),
    "GetBucketOwnershipControls": settings.reader("ownership", "OwnershipControlsNotFoundError"),
    "PutBucketOwnershipControls": settings.put_ownership,
    "DeleteBucketOwnershipControls": settings.remover("ownership"),
    "GetBucketEncryption": settings.get_encryption,
    "PutBucketEncryption": settings.put_encryption,
    "DeleteBucketEncryption": settings.delete_encryption,
    # what S3 has and we do not do: reading says so in S3's way, writing is NotImplemented unless it switches off
    "GetBucketAccelerateConfiguration": settings.fixed("AccelerateConfiguration", []),
    "GetBucketLogging": settings.fixed("BucketLoggingStatus", []),
    "PutBucketLogging": settings.switched_off("BucketLoggingStatus", "Access logs into a bucket"),
    "GetBucketNotificationConfiguration": settings.fixed("NotificationConfiguration", []),
    "PutBucketNotificationConfiguration": settings.switched_off("NotificationConfiguration", "Notifications"),
    "GetBucketRequestPayment": settings.fixed("RequestPaymentConfiguration", [("Payer", "BucketOwner")]),
    "PutBucketRequestPayment": settings.put_request_payment,
    "GetBucketReplication": settings.missing("ReplicationConfigurationNotFoundError"),
    "GetBucketWebsite": settings.missing("NoSuchWebsiteConfiguration"),
}

OPERATIONS: dict[str, Operation] = {name: Operation(name, handler) for name, handler in _HANDLERS.items()} | {
    "ListBuckets": Operation("ListBuckets", buckets.list_buckets, needs_bucket=False),
    "CreateBucket": Operation("CreateBucket", buckets.create_bucket, needs_bucket=False),
    "Preflight": Operation("Preflight", crossorigin.preflight, public=True),
    "PostObject": Operation("PostObject", forms.post_object, public=True),
}
