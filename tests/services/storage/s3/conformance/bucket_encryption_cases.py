"""Encryption under the gateway's own keys: asked for by request or by the bucket's configuration, and shown."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.services.storage.s3.conformance.encryption_cases import ONE, OTHER, headers, words
from tests.services.storage.s3.conformance.post_cases import moment, post, signed
from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20
SIZES = (("1b", 1), ("1kb", 1024), ("1mb", MIB), ("8mb", 8 * MIB))
DEFAULT = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}
BY_SERVICE = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "some-key"}}]
}


def _shown(size: int, by_bucket: bool) -> Any:
    def run(door: Door, bucket: str) -> None:
        client, data = door.client(), hashlib.shake_128(b"x").digest(size)
        if by_bucket:
            client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=DEFAULT)
        asked = {} if by_bucket else {"ServerSideEncryption": "AES256"}
        assert client.put_object(Bucket=bucket, Key="k", Body=data, **asked)["ServerSideEncryption"] == "AES256"
        got = client.get_object(Bucket=bucket, Key="k")
        assert (got["Body"].read() == data, got["ServerSideEncryption"]) == (True, "AES256")

    return run


for _name, _size in SIZES:
    enter("encryption", f"test_sse_s3_default_upload_{_name}", _shown(_size, True))
    enter("encryption", f"test_sse_s3_encrypted_upload_{_name}", _shown(_size, False))


@case("encryption", "test_sse_s3_default_method_head")
def heads_show_it_and_ask_for_nothing(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=DEFAULT)
    client.put_object(Bucket=bucket, Key="k", Body=b"abc")
    assert client.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    assert send(door, "HEAD", f"/{bucket}/k", {"x-amz-server-side-encryption": "AES256"}).status == 400


@case("encryption", "test_sse_s3_default_multipart_upload")
def uploads_in_parts_show_it(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=DEFAULT)
    at = {"Bucket": bucket, "Key": "k"}
    begun = client.create_multipart_upload(**at, Metadata={"a": "b"}, ContentType="text/x")
    part = client.upload_part(**at, UploadId=begun["UploadId"], PartNumber=1, Body=b"abcdef")
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    done = client.complete_multipart_upload(**at, UploadId=begun["UploadId"], MultipartUpload=named)
    got = client.get_object(**at, Range="bytes=1-3")
    assert {a["ServerSideEncryption"] for a in (begun, part, done, got)} == {"AES256"}
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"bcd", {"a": "b"}, "text/x")


def signed_fields(door: Door, bucket: str, form: dict[str, str], *more: Any) -> dict[str, str | None]:
    """Return a form with the signature of a policy that lets just its fields."""
    conditions = [{"bucket": bucket}, *({name: value} for name, value in form.items()), *more]
    return {**form, **signed(door, {"expiration": moment(600), "conditions": conditions})}


@case("encryption", "test_sse_s3_default_post_object_authenticated_request")
def forms_show_it(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=DEFAULT)
    optional = ["starts-with", "$x-amz-server-side-encryption", ""]
    assert post(door, bucket, signed_fields(door, bucket, {"key": "f/k"}, optional), b"abc").status == 204
    got = client.get_object(Bucket=bucket, Key="f/k")
    assert (got["Body"].read(), got["ServerSideEncryption"]) == (b"abc", "AES256")


@case("encryption", "test_encryption_sse_c_post_object_authenticated_request")
def forms_bring_a_key(door: Door, bucket: str) -> None:
    fields = signed_fields(door, bucket, {"key": "k", **headers(ONE)})
    reply = post(door, bucket, fields, b"abc" * 3000)
    assert (reply.status, reply.headers["x-amz-server-side-encryption-customer-algorithm"]) == (204, "AES256")
    client = door.client()
    assert client.get_object(Bucket=bucket, Key="k", **words(ONE))["Body"].read() == b"abc" * 3000
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="k", **words(OTHER))
    both = signed_fields(door, bucket, {"key": "k", "x-amz-server-side-encryption": "aws:kms"})
    assert post(door, bucket, both, b"abc").code == "NotImplemented"


@case("encryption", "test_put_bucket_encryption_s3")
def a_bucket_says_how(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=DEFAULT)
    for rules in (
        [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES512"}}],
        [*DEFAULT["Rules"], *DEFAULT["Rules"]],
        [{"BucketKeyEnabled": True}],
    ):
        call = client.put_bucket_encryption
        refused("MalformedXML", call, Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules}, status=400)
    keyed = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}}]}
    refused("InvalidArgument", client.put_bucket_encryption, Bucket=bucket, ServerSideEncryptionConfiguration=keyed)


@case("encryption", "test_get_bucket_encryption_s3")
def what_a_bucket_said_is_shown(door: Door, bucket: str) -> None:
    client = door.client()
    shown = client.get_bucket_encryption(Bucket=bucket)  # as AWS since 2023: the default is a configuration
    assert shown["ServerSideEncryptionConfiguration"] == DEFAULT
    wanted = {"Rules": [{**DEFAULT["Rules"][0], "BucketKeyEnabled": True}]}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=wanted)
    assert client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == wanted


@case("encryption", "test_delete_bucket_encryption_s3")
def what_a_bucket_said_is_taken_back(door: Door, bucket: str) -> None:
    client = door.client()
    delete = client.delete_bucket_encryption
    assert delete(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    wanted = {"Rules": [{**DEFAULT["Rules"][0], "BucketKeyEnabled": True}]}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=wanted)
    assert delete(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == DEFAULT


@case("encryption")
def no_bucket_has_a_key_service(door: Door, bucket: str) -> None:
    client = door.client()
    call = client.put_bucket_encryption
    refused("NotImplemented", call, Bucket=bucket, ServerSideEncryptionConfiguration=BY_SERVICE, status=501)
    assert client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == DEFAULT
