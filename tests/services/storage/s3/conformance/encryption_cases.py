"""Encryption: under the gateway's keys (SSE-S3), under the customer's (SSE-C), and what is not offered (SSE-KMS)."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20
ONE, OTHER = bytes(range(32)), bytes(range(7, 39))
PREFIX = "x-amz-server-side-encryption-customer-"


def words(key: bytes, prefix: str = "") -> dict[str, Any]:
    """Return boto3's parameters for a customer's key."""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def headers(key: bytes) -> dict[str, str]:
    """Return the three headers of a customer's key."""
    return {
        PREFIX + "algorithm": "AES256",
        PREFIX + "key": base64.b64encode(key).decode(),
        PREFIX + "key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


def _text(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


def _customer_round_trip(size: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        client, data = door.client(), _text(size)
        put = client.put_object(Bucket=bucket, Key="k", Body=data, **words(ONE))
        assert (put["SSECustomerAlgorithm"], "ServerSideEncryption" in put) == ("AES256", False)
        assert put["SSECustomerKeyMD5"] == headers(ONE)[PREFIX + "key-md5"]
        assert put["ETag"].strip('"') != hashlib.md5(data).hexdigest()  # it would tell what the bytes are
        got = client.get_object(Bucket=bucket, Key="k", **words(ONE))
        assert got["Body"].read() == data
        assert (got["SSECustomerAlgorithm"], got["SSECustomerKeyMD5"]) == ("AES256", put["SSECustomerKeyMD5"])

    return run


for _name, _size in (("1b", 1), ("13b", 13), ("1kb", 1024), ("1MB", MIB)):
    enter("encryption", f"test_encrypted_transfer_{_name}", _customer_round_trip(_size))


@case("encryption", "test_encryption_sse_c_method_head")
def heads_need_the_key(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"abc", **words(ONE))
    refused("400", client.head_object, Bucket=bucket, Key="k", status=400)
    refused("400", client.head_object, Bucket=bucket, Key="k", status=400, **words(OTHER))
    head = client.head_object(Bucket=bucket, Key="k", **words(ONE))
    assert (head["ContentLength"], "ServerSideEncryption" in head) == (3, False)
    assert not [name for name in head["ResponseMetadata"]["HTTPHeaders"] if "fieldstone-" in name]


@case("encryption", "test_encryption_sse_c_present")
def reads_need_the_key(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"abc" * 5000, **words(ONE))
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="k", status=400)
    wanted = {"ObjectAttributes": ["ObjectSize"]}
    refused("InvalidRequest", client.get_object_attributes, Bucket=bucket, Key="k", status=400, **wanted)
    encoded = {**words(ONE), "SSECustomerKey": headers(ONE)[PREFIX + "key"]}
    encoded["SSECustomerKeyMD5"] = headers(ONE)[PREFIX + "key-md5"]
    assert client.get_object_attributes(Bucket=bucket, Key="k", **wanted, **encoded)["ObjectSize"] == 15_000


@case("encryption", "test_encryption_sse_c_other_key")
def another_key_reads_nothing(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"abc", **words(ONE))
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="k", status=400, **words(OTHER))
    client.put_object(Bucket=bucket, Key="plain", Body=b"abc")
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="plain", status=400, **words(ONE))


def _bad_headers(changes: dict[str, str | None], code: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        reply = send(door, "PUT", f"/{bucket}/k", {**headers(ONE), **changes}, b"abc")
        assert (reply.status, reply.code) == (400, code)
        refused("404", door.client().head_object, Bucket=bucket, Key="k")

    return run


for _name, _changes, _code in (
    ("test_encryption_sse_c_invalid_md5", {PREFIX + "key-md5": base64.b64encode(bytes(16)).decode()}, "InvalidArgument"),
    ("test_encryption_sse_c_no_md5", {PREFIX + "key-md5": None}, "InvalidArgument"),
    ("test_encryption_sse_c_no_key", {PREFIX + "key": None, PREFIX + "key-md5": None}, "InvalidArgument"),
    ("test_encryption_key_no_sse_c", {PREFIX + "algorithm": None}, "InvalidArgument"),
    ("customer_key_too_short", {PREFIX + "key": base64.b64encode(bytes(16)).decode()}, "InvalidArgument"),
    ("customer_key_of_another_algorithm", {PREFIX + "algorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
    ("test_put_obj_enc_conflict_c_s3", {"x-amz-server-side-encryption": "AES256"}, "InvalidArgument"),
    (
        "test_put_obj_enc_conflict_c_kms",
        {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "k"},
        "InvalidArgument",
    ),
):  # fmt: skip
    enter("encryption", _name, _bad_headers(_changes, _code))


def _contradiction(stated: dict[str, str], code: str, status: int = 400) -> Any:
    def run(door: Door, bucket: str) -> None:
        reply = send(door, "PUT", f"/{bucket}/k", stated, b"abc")
        assert (reply.status, reply.code) == (status, code)

    return run


_METHOD, _SERVICE_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
for _name, _stated, _answer in (
    ("test_put_obj_enc_conflict_s3_kms", {_METHOD: "AES256", _SERVICE_KEY: "k"}, ("InvalidArgument", 400)),
    ("test_put_obj_enc_conflict_bad_enc_kms", {_METHOD: "aes:kms"}, ("InvalidArgument", 400)),
    ("test_sse_kms_not_declared", {_SERVICE_KEY: "k"}, ("InvalidArgument", 400)),
    ("test_sse_kms_no_key", {_METHOD: "aws:kms"}, ("NotImplemented", 501)),
    ("no_key_service", {_METHOD: "aws:kms", _SERVICE_KEY: "k"}, ("NotImplemented", 501)),
):
    enter("encryption", _name, _contradiction(_stated, *_answer))


@case("encryption", "test_sse_kms_read_declare")
def reads_name_no_method(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"abc")
    for stated in ({_METHOD: "aws:kms", _SERVICE_KEY: "k"}, {_METHOD: "AES256"}, {_SERVICE_KEY: "k"}):
        assert send(door, "GET", f"/{bucket}/k", stated).status == 400


def _upload(client: Any, bucket: str, first: dict[str, Any], part: dict[str, Any]) -> bytes:
    """Upload two parts, the first of them twice with other bytes before."""
    begun = client.create_multipart_upload(Bucket=bucket, Key="k", Metadata={"a": "b"}, ContentType="text/x", **first)
    data = [_text(5 * MIB), _text(300_001)]
    named = []
    for number, body in ((1, b"?" * 5 * MIB), (1, data[0]), (2, data[1])):
        done = client.upload_part(
            Bucket=bucket, Key="k", UploadId=begun["UploadId"], PartNumber=number, Body=body, **part
        )
        named = [p for p in named if p["PartNumber"] != number] + [{"PartNumber": number, "ETag": done["ETag"]}]
    whole = client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=begun["UploadId"], MultipartUpload={"Parts": named}, **part
    )
    assert whole["ETag"].endswith('-2"')
    return b"".join(data)


def _ranges(client: Any, bucket: str, data: bytes, **key: Any) -> None:
    edge = 5 * MIB
    for start, end in ((0, 1), (5, 70_000), (edge - 3, edge + 3), (edge + 17, len(data)), (65_536 * 3 + 1, edge)):
        got = client.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{end - 1}", **key)
        assert got["Body"].read() == data[start:end]


@case("encryption", "test_encryption_sse_c_multipart_upload")
def parts_under_a_key(door: Door, bucket: str) -> None:
    client = door.client()
    data = _upload(client, bucket, words(ONE), words(ONE))
    got = client.get_object(Bucket=bucket, Key="k", **words(ONE))
    assert got["Body"].read() == data
    assert (got["Metadata"], got["ContentType"], got["ContentLength"]) == ({"a": "b"}, "text/x", len(data))
    _ranges(client, bucket, data, **words(ONE))
    assert client.get_object(Bucket=bucket, Key="k", PartNumber=2, **words(ONE))["Body"].read() == data[5 * MIB :]


@case("encryption", "test_encryption_sse_c_multipart_bad_download")
def parts_under_a_key_need_it(door: Door, bucket: str) -> None:
    client = door.client()
    _upload(client, bucket, words(ONE), words(ONE))
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="k", status=400, **words(OTHER))
    refused("InvalidRequest", client.get_object, Bucket=bucket, Key="k", status=400)


@case("encryption", "test_encryption_sse_c_multipart_invalid_chunks_1")
def a_part_needs_its_uploads_key(door: Door, bucket: str) -> None:
    client = door.client()
    for first, part in ((words(ONE), words(OTHER)), (words(ONE), {}), ({}, words(ONE))):
        begun = client.create_multipart_upload(Bucket=bucket, Key="k", **first)
        at = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"], "PartNumber": 1}
        refused("InvalidRequest", client.upload_part, Body=b"abc", status=400, **at, **part)


@case("encryption", "test_encryption_sse_c_multipart_invalid_chunks_2")
def a_parts_key_needs_its_digest(door: Door, bucket: str) -> None:
    client = door.client()
    begun = client.create_multipart_upload(Bucket=bucket, Key="k", **words(ONE))
    wrong = {**words(ONE), "SSECustomerKey": headers(ONE)[PREFIX + "key"]}
    wrong["SSECustomerKeyMD5"] = base64.b64encode(bytes(16)).decode()
    at = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"], "PartNumber": 1}
    refused("InvalidArgument", client.upload_part, Body=b"abc", status=400, **at, **wrong)


@case("encryption")
def copies_change_the_key(door: Door, bucket: str) -> None:
    client, data = door.client(), _text(200_000)
    client.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"a": "b"}, **words(ONE))
    source = {"Bucket": bucket, "CopySource": f"{bucket}/k"}
    refused("InvalidRequest", client.copy_object, Key="c", status=400, **source)
    refused("InvalidRequest", client.copy_object, Key="c", status=400, **source, **words(OTHER, "CopySource"))
    client.copy_object(Key="c", **source, **words(ONE, "CopySource"), **words(OTHER))
    got = client.get_object(Bucket=bucket, Key="c", **words(OTHER))
    assert (got["Body"].read() == data, got["Metadata"]) == (True, {"a": "b"})
    client.copy_object(Key="plain", **source, **words(ONE, "CopySource"))
    got = client.get_object(Bucket=bucket, Key="plain")
    assert (got["Body"].read() == data, got["ETag"]) == (True, f'"{hashlib.md5(data).hexdigest()}"')
    client.copy_object(Bucket=bucket, CopySource=f"{bucket}/plain", Key="plain", **words(OTHER))  # onto itself
    assert client.get_object(Bucket=bucket, Key="plain", **words(OTHER))["Body"].read() == data


@case("encryption")
def parts_copied_from_under_a_key(door: Door, bucket: str) -> None:
    client, data = door.client(), _text(300_000)
    client.put_object(Bucket=bucket, Key="source", Body=data, **words(ONE))
    begun = client.create_multipart_upload(Bucket=bucket, Key="k", **words(OTHER))
    at = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    source = {"CopySource": f"{bucket}/source", "CopySourceRange": "bytes=100-250000"}
    refused("InvalidRequest", client.upload_part_copy, PartNumber=1, status=400, **at, **source, **words(OTHER))
    copied = client.upload_part_copy(PartNumber=1, **at, **source, **words(ONE, "CopySource"), **words(OTHER))
    named = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]
    client.complete_multipart_upload(**at, MultipartUpload={"Parts": named})
    assert client.get_object(Bucket=bucket, Key="k", **words(OTHER))["Body"].read() == data[100:250_001]


# how an object is encrypted → the parameters of its writer and of its readers
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "unencrypted": ({}, {}, {}),
    "sse-s3": ({"ServerSideEncryption": "AES256"}, {}, {}),
    "sse-c": (words(OTHER), words(OTHER), words(OTHER, "CopySource")),
}


def _copied_everyhow(copy: Any) -> Any:
    """Copy from every kind of encryption to every other."""

    def run(door: Door, bucket: str) -> None:
        client, data = door.client(), _text(70_001)
        for source, (written, _, read) in KINDS.items():
            client.put_object(Bucket=bucket, Key=source, Body=data, **written)
            for target, (wanted, shown, _) in KINDS.items():
                at = {"Bucket": bucket, "Key": f"{source}-{target}"}
                copy(client, at, {"CopySource": f"{bucket}/{source}", **read}, wanted)
                assert client.get_object(**at, **shown)["Body"].read() == data

    return run


def _whole(client: Any, at: dict[str, str], source: dict[str, Any], wanted: dict[str, Any]) -> None:
    client.copy_object(**at, **source, **wanted)


def _as_part(client: Any, at: dict[str, str], source: dict[str, Any], wanted: dict[str, Any]) -> None:
    upload = client.create_multipart_upload(**at, **wanted)["UploadId"]
    key = {} if "ServerSideEncryption" in wanted else wanted
    part = client.upload_part_copy(**at, UploadId=upload, PartNumber=1, **source, **key)["CopyPartResult"]
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=named)


enter("encryption", "test_copy_enc", _copied_everyhow(_whole))
enter("encryption", "test_copy_part_enc", _copied_everyhow(_as_part))


@case("encryption", "test_multipart_sse_c_get_part")
def one_part_under_a_key(door: Door, bucket: str) -> None:
    client = door.client()
    data = _upload(client, bucket, words(ONE), words(ONE))
    for number, start, end in ((1, 0, 5 * MIB), (2, 5 * MIB, len(data))):
        at = {"Bucket": bucket, "Key": "k", "PartNumber": number}
        head, got = client.head_object(**at, **words(ONE)), client.get_object(**at, **words(ONE))
        assert (head["PartsCount"], got["PartsCount"], head["ContentLength"]) == (2, 2, end - start)
        assert got["Body"].read() == data[start:end]
        refused("InvalidRequest", client.get_object, **at, status=400)
    refused("InvalidPartNumber", client.get_object, Bucket=bucket, Key="k", PartNumber=3, status=416, **words(ONE))


@case("encryption", "test_encryption_sse_c_unaligned_multipart_upload")
def parts_of_odd_sizes_under_a_key(door: Door, bucket: str) -> None:
    client, at = door.client(), {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**at, **words(ONE))["UploadId"]
    bodies, named = [_text(5 * MIB + 1), _text(5 * MIB + 13), _text(7)], []
    for number, body in enumerate(bodies, 1):
        part = client.upload_part(**at, UploadId=upload, PartNumber=number, Body=body, **words(ONE))
        named.append({"PartNumber": number, "ETag": part["ETag"]})
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": named}, **words(ONE))
    data = b"".join(bodies)
    assert client.get_object(**at, **words(ONE))["Body"].read() == data
    _ranges(client, bucket, data, **words(ONE))


@case("encryption")
def a_key_holds_for_one_version(door: Door, bucket: str) -> None:
    """Versions of a key may each have a customer's key of their own, or none."""
    client, at = door.client(), {"Bucket": bucket, "Key": "k"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kinds = [words(ONE), {}, words(OTHER)]
    versions = [client.put_object(**at, Body=b"%d" % i, **kind)["VersionId"] for i, kind in enumerate(kinds)]
    for i, kind in enumerate(kinds):
        assert client.get_object(**at, VersionId=versions[i], **kind)["Body"].read() == b"%d" % i
        for other in kinds:
            if other != kind:
                refused("InvalidRequest", client.get_object, **at, VersionId=versions[i], status=400, **other)


@case("encryption", "test_get_sse_c_encrypted_object_attributes")
def attributes_need_the_key(door: Door, bucket: str) -> None:
    client = door.client()
    put = client.put_object(Bucket=bucket, Key="k", Body=b"abc" * 300, **words(ONE))
    named = headers(ONE)  # boto3 puts them into the other calls by itself
    stated = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": named[PREFIX + "key"]}
    stated["SSECustomerKeyMD5"] = named[PREFIX + "key-md5"]
    wanted: dict[str, Any] = {"ObjectAttributes": ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]}
    refused("InvalidRequest", client.get_object_attributes, Bucket=bucket, Key="k", status=400, **wanted)
    found = client.get_object_attributes(Bucket=bucket, Key="k", **wanted, **stated)
    assert (found["ETag"], found["ObjectSize"], found["StorageClass"]) == (put["ETag"].strip('"'), 900, "STANDARD")
    assert not {"DeleteMarker", "VersionId", "ObjectParts"} & found.keys()
