"""Which bucket, key and operation a request names: virtual-host and path style, sub-resources, name rules.

Keys are opaque: `//`, `.` and `..` are characters of a key, never directories; nothing is normalised. Sources: Amazon S3
user guide, "Virtual hosting of buckets", "Bucket naming rules", "Object key naming"; API reference for the operations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request, percent_decode

MAX_KEY_BYTES = 1024
Level = Literal["service", "bucket", "object"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED = (("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"))

# sub-resource → methods → operation. The methods of a plain bucket or object stand under "".
SERVICE: dict[str, dict[str, str]] = {"": {"GET": "ListBuckets", "OPTIONS": "Preflight"}}
BUCKET: dict[str, dict[str, str]] = {
    "": {
        "GET": "ListObjects",
        "HEAD": "HeadBucket",
        "PUT": "CreateBucket",
        "DELETE": "DeleteBucket",
        "POST": "PostObject",
        "OPTIONS": "Preflight",
    },
    "accelerate": {"GET": "GetBucketAccelerateConfiguration", "PUT": "PutBucketAccelerateConfiguration"},
    "acl": {"GET": "GetBucketAcl", "PUT": "PutBucketAcl"},
    "analytics": {"GET": "ListBucketAnalyticsConfigurations", "PUT": "PutBucketAnalyticsConfiguration"},
    "cors": {"GET": "GetBucketCors", "PUT": "PutBucketCors", "DELETE": "DeleteBucketCors"},
    "delete": {"POST": "DeleteObjects"},
    "encryption": {"GET": "GetBucketEncryption", "PUT": "PutBucketEncryption", "DELETE": "DeleteBucketEncryption"},
    "intelligent-tiering": {"GET": "ListBucketIntelligentTieringConfigurations"},
    "inventory": {"GET": "ListBucketInventoryConfigurations", "PUT": "PutBucketInventoryConfiguration"},
    "lifecycle": {
        "GET": "GetBucketLifecycleConfiguration",
        "PUT": "PutBucketLifecycleConfiguration",
        "DELETE": "DeleteBucketLifecycle",
    },
    "location": {"GET": "GetBucketLocation"},
    "logging": {"GET": "GetBucketLogging", "PUT": "PutBucketLogging"},
    "metrics": {"GET": "ListBucketMetricsConfigurations", "PUT": "PutBucketMetricsConfiguration"},
    "notification": {"GET": "GetBucketNotificationConfiguration", "PUT": "PutBucketNotificationConfiguration"},
    "object-lock": {"GET": "GetObjectLockConfiguration", "PUT": "PutObjectLockConfiguration"},
    "ownershipControls": {
        "GET": "GetBucketOwnershipControls",
        "PUT": "PutBucketOwnershipControls",
        "DELETE": "DeleteBucketOwnershipControls",
    },
    "policy": {"GET": "GetBucketPolicy", "PUT": "PutBucketPolicy", "DELETE": "DeleteBucketPolicy"},
    "policyStatus": {"GET": "GetBucketPolicyStatus"},
    "publicAccessBlock": {
        "GET": "GetPublicAccessBlock",
        "PUT": "PutPublicAccessBlock",
        "DELETE": "DeletePublicAccessBlock",
    },
    "replication": {"GET": "GetBucketReplication", "PUT": "PutBucketReplication", "DELETE": "DeleteBucketReplication"},
    "requestPayment": {"GET": "GetBucketRequestPayment", "PUT": "PutBucketRequestPayment"},
    "tagging": {"GET": "GetBucketTagging", "PUT": "PutBucketTagging", "DELETE": "DeleteBucketTagging"},
    "uploads": {"GET": "ListMultipartUploads"},
    "versioning": {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"},
    "versions": {"GET": "ListObjectVersions"},
    "website": {"GET": "GetBucketWebsite", "PUT": "PutBucketWebsite", "DELETE": "DeleteBucketWebsite"},
}
OBJECT: dict[str, dict[str, str]] = {
    "": {
        "GET": "GetObject",
        "HEAD": "HeadObject",
        "PUT": "PutObject",
        "DELETE": "DeleteObject",
        "OPTIONS": "Preflight",
    },
    "acl": {"GET": "GetObjectAcl", "PUT": "PutObjectAcl"},
    "attributes": {"GET": "GetObjectAttributes"},
    "legal-hold": {"GET": "GetObjectLegalHold", "PUT": "PutObjectLegalHold"},
    "restore": {"POST": "RestoreObject"},
    "retention": {"GET": "GetObjectRetention", "PUT": "PutObjectRetention"},
    "select": {"POST": "SelectObjectContent"},
    "tagging": {"GET": "GetObjectTagging", "PUT": "PutObjectTagging", "DELETE": "DeleteObjectTagging"},
    "torrent": {"GET": "GetObjectTorrent"},
    "uploadId": {
        "GET": "ListParts",
        "PUT": "UploadPart",
        "POST": "CompleteMultipartUpload",
        "DELETE": "AbortMultipartUpload",
    },
    "uploads": {"POST": "CreateMultipartUpload"},
}
_TABLES = {"service": SERVICE, "bucket": BUCKET, "object": OBJECT}
OPERATIONS = frozenset(
    {name for table in _TABLES.values() for methods in table.values() for name in methods.values()}
    | {"ListObjectsV2", "CopyObject", "UploadPartCopy"}
)
"""Every operation name that `target` can return; a server handles each or answers NotImplemented."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `bucket`/`key` None where the level has none; `style` tells how the bucket was named."""

    level: Level
    operation: str
    bucket: str | None
    key: str | None
    subresource: str
    style: Literal["path", "virtual-host"]

    @property
    def resource(self) -> str:
        """`/bucket/key`, as error documents and policies name it."""
        if self.bucket is None:
            return "/"
        return f"/{self.bucket}" if self.key is None else f"/{self.bucket}/{self.key}"


def bucket_of_host(host: str, base_domains: tuple[str, ...]) -> str | None:
    """Return the bucket a Host header names below one of our domains, None for path style.

    The longest domain wins, so `s3.example.org` is not read as bucket `s3` of `example.org` where both are ours.
    """
    name = host.lower()
    if not name.startswith("["):
        name = name.partition(":")[0]
    name = name.rstrip(".")
    if name in base_domains:
        return None
    for domain in sorted(base_domains, key=len, reverse=True):
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return None


def locate(request: Request, base_domains: tuple[str, ...] = ()) -> tuple[str | None, str | None, bool]:
    """Return bucket, key (None: none named) and whether the bucket came from the host.

    Errors: InvalidURI for broken escapes or UTF-8, KeyTooLongError over 1,024 bytes, InvalidBucketName for `//key`.
    """
    raw = request.raw_path
    if raw.startswith((b"http://", b"https://")):  # absolute form (RFC 9112 3.2.2), as proxies send it
        raw = b"/" + raw.split(b"/", 3)[3] if raw.count(b"/") > 2 else b"/"
    if not raw.startswith(b"/"):
        raise S3Error("InvalidURI")
    bucket = bucket_of_host(request.header("host") or "", base_domains) if base_domains else None
    if bucket is not None:
        raw_key = raw[1:]
        return bucket, _key(raw_key) if raw_key else None, True
    raw_bucket, _, raw_key = raw[1:].partition(b"/")
    if not raw_bucket:
        if raw_key:
            raise S3Error("InvalidBucketName", detail={"BucketName": ""})
        return None, None, False
    return percent_decode(raw_bucket), _key(raw_key) if raw_key else None, False


def target(request: Request, base_domains: tuple[str, ...] = ()) -> Target:
    """Decide what a request is about and which operation it asks for.

    Errors: those of `locate`; MethodNotAllowed for a method the sub-resource lacks; InvalidRequest where two
    sub-resources are named; InvalidArgument for a multipart request without its part number.
    """
    bucket, key, virtual = locate(request, base_domains)
    level: Level = "service" if bucket is None else "bucket" if key is None else "object"
    table = _TABLES[level]
    parameters = {name for name, _ in request.query} if request.raw_query else set()
    named = sorted(parameters & table.keys() - {""})
    if len(named) > 1:
        raise S3Error(
            "InvalidRequest",
            f"Conflicting query string parameters: {', '.join(named)}",
            detail={"ArgumentName": "ResourceType", "ArgumentValue": named[0]},
        )
    sub = named[0] if named else ""
    operation = table[sub].get(request.method)
    if operation is None:
        raise S3Error(
            "MethodNotAllowed",
            detail={"Method": request.method, "ResourceType": sub or level},
            headers={"Allow": ", ".join(sorted(table[sub]))},
        )
    if operation == "ListObjects" and request.parameter("list-type") == "2":
        operation = "ListObjectsV2"
    elif operation in ("PutObject", "UploadPart") and b"x-amz-copy-source" in request.headers:
        operation = "CopyObject" if operation == "PutObject" else "UploadPartCopy"
    if sub == "uploadId" and request.method == "PUT" and "partNumber" not in parameters:
        raise S3Error("InvalidArgument", "This operation needs the query parameter partNumber.")
    return Target(level, operation, bucket, key, sub, "virtual-host" if virtual else "path")


def _key(raw: bytes) -> str:
    key = percent_decode(raw)
    check_key(key)
    return key


def check_key(key: str) -> None:
    """Errors: KeyTooLongError over 1,024 UTF-8 bytes, InvalidArgument for an empty key."""
    size = len(key.encode())
    if size == 0:
        raise S3Error("InvalidArgument", "The object key must not be empty.")
    if size > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", detail={"Size": str(size), "MaxSizeAllowed": str(MAX_KEY_BYTES)})


def check_bucket_name(name: str) -> None:
    """Errors: InvalidBucketName unless the name follows Amazon's rules for new buckets."""
    bad = (
        not _NAME.fullmatch(name)
        or _IPV4.fullmatch(name)
        or any(pair in name for pair in ("..", ".-", "-."))
        or name.startswith(_RESERVED[0])
        or name.endswith(_RESERVED[1])
    )
    if bad:
        raise S3Error("InvalidBucketName", detail={"BucketName": name})


def copy_source(value: str) -> tuple[str, str, str | None]:
    """Split `x-amz-copy-source` into bucket, key and version (None: current).

    The value is percent-encoded (`/bucket/key?versionId=…`, leading slash optional). Errors: InvalidArgument.
    """
    path, _, query = value.partition("?versionId=")
    bucket, _, key = percent_decode(path.encode().removeprefix(b"/")).partition("/")
    if not bucket or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            detail={"ArgumentName": "x-amz-copy-source", "ArgumentValue": value},
        )
    check_key(key)
    return bucket, key, percent_decode(query.encode()) if query else None
