"""What requests and buckets may ask for in `x-amz-server-side-encryption`.

Everything is encrypted under the gateway's keys (which S3 calls AES256), and under the customer's as well where the request brings one.
There is no key service: SSE-KMS is NotImplemented, never left out in silence.
"""

from __future__ import annotations

from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.customer_keys import PREFIX
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.wire import Request

HEADER = b"x-amz-server-side-encryption"
ANSWER = (HEADER, b"AES256")
_SERVICE = ("aws:kms", "aws:kms:dsse")
_OF_SERVICE = (
    b"x-amz-server-side-encryption-aws-kms-key-id",
    b"x-amz-server-side-encryption-context",
    b"x-amz-server-side-encryption-bucket-key-enabled",
)
_READS = frozenset({"GetObject", "HeadObject", "GetObjectAttributes"})


def check(operation: str, request: Request) -> None:
    """Check the request's encryption headers other than the customer's key itself.

    Errors: InvalidArgument (an unknown method, headers that contradict each other, a method on a read), NotImplemented
    (a key service).
    """
    method = request.header(HEADER.decode())
    if method is not None and operation in _READS:
        raise S3Error(
            "InvalidArgument",
            "x-amz-server-side-encryption header is not supported for this operation.",
            detail={"ArgumentName": HEADER.decode(), "ArgumentValue": method},
        )
    of_service = [name for name in _OF_SERVICE if name in request.headers]
    if method is None and not of_service:
        return
    if method not in (None, "AES256", *_SERVICE):
        raise S3Error(
            "InvalidArgument",
            "The encryption method specified is not supported",
            detail={"ArgumentName": HEADER.decode(), "ArgumentValue": method or ""},
        )
    if method is not None and any(name.startswith(PREFIX.encode()) for name in request.headers):
        raise S3Error(
            "InvalidArgument",
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            detail={"ArgumentName": HEADER.decode(), "ArgumentValue": method},
        )
    if of_service and method not in _SERVICE:
        # a bucket key is a matter of a key service too, but S3 lets AES256 name it
        if of_service == [_OF_SERVICE[2]]:
            return
        raise S3Error(
            "InvalidArgument",
            f"{of_service[0].decode()} needs the encryption method aws:kms.",
            detail={"ArgumentName": of_service[0].decode()},
        )
    if method in _SERVICE:
        raise S3Error("NotImplemented", "There is no key service: AES256 and keys of the customer (SSE-C) are offered.")


def normal_configuration(document: bytes) -> bytes:
    """Return the normal form of a bucket's `ServerSideEncryptionConfiguration`.

    Errors: MalformedXML, InvalidArgument (a key of a service with AES256), NotImplemented (a key service).
    """
    rules = xml.parse(document, "ServerSideEncryptionConfiguration").all("Rule")
    if len(rules) != 1:
        raise S3Error("MalformedXML")
    chosen = rules[0].child("ApplyServerSideEncryptionByDefault")
    if chosen is None:
        raise S3Error("MalformedXML")
    method = chosen.required("SSEAlgorithm")
    if method in _SERVICE:
        raise S3Error("NotImplemented", "Only AES256 under the gateway's own keys is offered, no key service.")
    if method != "AES256":
        raise S3Error("MalformedXML")
    if chosen.child("KMSMasterKeyID") is not None:
        raise S3Error(
            "InvalidArgument", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms"
        )
    return configuration(bucket_key=xml.boolean(rules[0].value("BucketKeyEnabled") or "false"))


def configuration(*, bucket_key: bool = False) -> bytes:
    """Render the configuration that every bucket has: AES256."""
    default: list[xml.Pair] = [("SSEAlgorithm", "AES256")]
    rule: list[xml.Pair] = [("ApplyServerSideEncryptionByDefault", default), ("BucketKeyEnabled", bucket_key)]
    return xml.write("ServerSideEncryptionConfiguration", [("Rule", rule)])
