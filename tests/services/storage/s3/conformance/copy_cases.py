"""Copies of objects: bytes, metadata, lists, versions, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.services.storage.s3.conformance.table import case, fill, refused
from tests.services.storage.s3.conftest import Door, empty

NUMBERS = itertools.count(1)
MIB = 2**20


@contextmanager
def another(door: Door, account: str = "main", *, versioned: bool = False) -> Iterator[str]:
    """Give a second bucket, removed afterwards."""
    client, name = door.client(account), f"copies-{door.port}-{next(NUMBERS)}"
    client.create_bucket(Bucket=name)
    if versioned:
        keep_versions(client, name)
    yield name
    empty(client, name)


def keep_versions(client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def body_of(client: Any, bucket: str, key: str) -> bytes:
    body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


@case("copies", "test_object_copy_zero_size")
def nothing_is_copied_too(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    client.copy({"Bucket": bucket, "Key": "k"}, bucket, "copy")
    assert client.head_object(Bucket=bucket, Key="copy")["ContentLength"] == 0


@case("copies", "test_object_copy_16m")
def more_than_a_segment_is_copied(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=bytes(9 * MIB) + b"end")
    client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    got = client.get_object(Bucket=bucket, Key="copy", Range=f"bytes={9 * MIB - 1}-")
    assert (got["Body"].read(), got["ContentRange"]) == (b"\0end", f"bytes {9 * MIB - 1}-{9 * MIB + 2}/{9 * MIB + 3}")


@case("copies", "test_object_copy_same_bucket")
def within_a_bucket(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    door.client().copy({"Bucket": bucket, "Key": "k"}, bucket, "copy")
    assert body_of(door.client(), bucket, "copy") == b"k"


@case("copies", "test_object_copy_verify_contenttype")
def the_type_is_copied(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=b"leaf", ContentType="text/leaf")
    client.copy({"Bucket": bucket, "Key": "k"}, bucket, "copy")
    assert client.get_object(Bucket=bucket, Key="copy")["ContentType"] == "text/leaf"


@case("copies", "test_object_copy_to_itself")
def onto_itself_without_a_change(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    words = {"CopySource": {"Bucket": bucket, "Key": "k"}, "Bucket": bucket, "Key": "k"}
    refused("InvalidRequest", door.client().copy_object, status=400, **words)


@case("copies", "test_object_copy_to_itself_with_metadata")
def onto_itself_with_other_metadata(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    source, metadata = {"Bucket": bucket, "Key": "k"}, {"leaf": "lobed"}
    client.copy_object(Bucket=bucket, Key="k", CopySource=source, Metadata=metadata, MetadataDirective="REPLACE")
    got = client.get_object(Bucket=bucket, Key="k")
    assert (got["Metadata"], got["Body"].read()) == (metadata, b"k")


@case("copies", "test_object_copy_diff_bucket")
def into_another_bucket(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    with another(door) as other:
        door.client().copy({"Bucket": bucket, "Key": "k"}, other, "copy")
        assert body_of(door.client(), other, "copy") == b"k"


@case("copies", "test_object_copy_not_owned_bucket")
def out_of_anothers_bucket(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    with another(door, "alt") as other:
        words = {"CopySource": {"Bucket": bucket, "Key": "k"}, "Bucket": other, "Key": "copy"}
        refused("AccessDenied", door.client("alt").copy_object, status=403, **words)
        assert "Contents" not in door.client("alt").list_objects(Bucket=other)


@case("copies", "test_object_copy_not_owned_object_bucket")
def in_anothers_bucket_with_leave(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    fill(client, bucket, "k")
    leave = ",".join(f"id={door.accounts[name].id}" for name in ("main", "alt"))
    client.put_object_acl(Bucket=bucket, Key="k", GrantFullControl=leave)
    client.put_bucket_acl(Bucket=bucket, GrantFullControl=leave)
    other.copy({"Bucket": bucket, "Key": "k"}, bucket, "copy")
    assert body_of(other, bucket, "copy") == b"k"


@case("copies", "test_object_copy_canned_acl")
def a_copy_has_a_list_of_its_own(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    fill(client, bucket, "k")
    client.copy_object(Bucket=bucket, Key="open", CopySource=f"{bucket}/k", ACL="public-read")
    assert body_of(other, bucket, "open") == b"k"
    client.copy_object(Bucket=bucket, Key="shut", CopySource=f"{bucket}/open")
    refused("AccessDenied", other.get_object, Bucket=bucket, Key="shut", status=403)
    words = {"Metadata": {"a": "b"}, "MetadataDirective": "REPLACE", "ACL": "public-read"}
    client.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/open", **words)
    assert body_of(other, bucket, "k") == b"k"


@case("copies", "test_object_copy_retaining_metadata")
def metadata_is_kept(door: Door, bucket: str) -> None:
    _metadata(door, bucket, {}, "audio/flac", {"leaf": "lobed", "bark": "smooth"})


@case("copies", "test_object_copy_replacing_metadata")
def or_replaced(door: Door, bucket: str) -> None:
    words = {"Metadata": {"root": "deep", "bark": "rough"}, "ContentType": "audio/ogg"}
    _metadata(door, bucket, {**words, "MetadataDirective": "REPLACE"}, "audio/ogg", words["Metadata"])


def _metadata(door: Door, bucket: str, words: dict[str, Any], content_type: str, metadata: Any) -> None:
    client, stated = door.client(), {"leaf": "lobed", "bark": "smooth"}
    for size in (5, MIB):  # kept in the catalogue, kept in segments
        client.put_object(Bucket=bucket, Key="k", Body=b"x" * size, ContentType="audio/flac", Metadata=stated)
        client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", **words)
        got = client.head_object(Bucket=bucket, Key="copy")
        assert (got["ContentType"], got["Metadata"], got["ContentLength"]) == (content_type, metadata, size)


@case("copies")
def out_of_a_bucket_of_somebody_unexpected(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    words = {"CopySource": f"{bucket}/k", "Bucket": bucket, "Key": "copy"}
    for name, expected in (("ExpectedBucketOwner", "alt"), ("ExpectedSourceBucketOwner", "alt")):
        refused("AccessDenied", client.copy_object, status=403, **words, **{name: door.accounts[expected].id})
    owner = door.accounts["main"].id
    client.copy_object(**words, ExpectedBucketOwner=owner, ExpectedSourceBucketOwner=owner)


@case("copies", "test_object_copy_bucket_not_found")
def out_of_no_bucket(door: Door, bucket: str) -> None:
    words = {"CopySource": f"{bucket}-gone/k", "Bucket": bucket, "Key": "copy"}
    refused("NoSuchBucket", door.client().copy_object, status=404, **words)


@case("copies", "test_object_copy_key_not_found")
def of_no_object(door: Door, bucket: str) -> None:
    words = {"CopySource": f"{bucket}/gone", "Bucket": bucket, "Key": "copy"}
    refused("NoSuchKey", door.client().copy_object, status=404, **words)


@case("copies", "test_object_copy_versioned_bucket")
def from_version_to_version(door: Door, bucket: str) -> None:
    client = door.client()
    keep_versions(client, bucket)
    with another(door, versioned=True) as versioned, another(door) as plain:
        version = client.put_object(Bucket=bucket, Key="k", Body=b"first")["VersionId"]
        client.put_object(Bucket=bucket, Key="k", Body=b"second")
        source = {"Bucket": bucket, "Key": "k", "VersionId": version}
        for target, shown in ((bucket, True), (versioned, True), (plain, False)):
            done = client.copy_object(Bucket=target, Key="copy", CopySource=source)
            assert done["CopySourceVersionId"] == version
            assert ("VersionId" in done) is shown
            assert body_of(client, target, "copy") == b"first"
        for origin in (versioned, plain):  # copies of copies, back into the first
            client.copy_object(Bucket=bucket, Key=f"of {origin}", CopySource=f"{origin}/copy")
            assert body_of(client, bucket, f"of {origin}") == b"first"


@case("copies", "test_object_copy_versioned_url_encoding")
def keys_that_look_like_queries(door: Door, bucket: str) -> None:
    client = door.client()
    keep_versions(client, bucket)
    version = client.put_object(Bucket=bucket, Key="oak?leaf", Body=b"leaf")["VersionId"]
    source = {"Bucket": bucket, "Key": "oak?leaf", "VersionId": version}
    client.copy_object(Bucket=bucket, Key="ash&leaf", CopySource=source)
    assert body_of(client, bucket, "ash&leaf") == b"leaf"


@case("copies", "test_object_copy_versioning_multipart_upload")
def copies_of_an_object_of_parts(door: Door, bucket: str) -> None:
    client = door.client()
    keep_versions(client, bucket)
    words = {"Bucket": bucket, "Key": "k"}
    upload = client.create_multipart_upload(**words, Metadata={"leaf": "lobed"}, ContentType="text/leaf")["UploadId"]
    bodies = [b"a" * (5 * MIB), b"b" * 99]
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**words, UploadId=upload, PartNumber=n, Body=body)["ETag"]}
        for n, body in enumerate(bodies, 1)
    ]
    done = client.complete_multipart_upload(**words, UploadId=upload, MultipartUpload={"Parts": parts})
    with another(door, versioned=True) as versioned, another(door) as plain:
        origin: dict[str, Any] = {"Bucket": bucket, "Key": "k", "VersionId": done["VersionId"]}
        for target in (bucket, versioned, plain):
            client.copy_object(Bucket=target, Key="copy", CopySource=origin)
            got = client.get_object(Bucket=target, Key="copy")
            assert got["Body"].read() == b"".join(bodies)
            assert (got["Metadata"], got["ContentType"]) == ({"leaf": "lobed"}, "text/leaf")
            origin = {"Bucket": target, "Key": "copy"}


@case("copies")
def the_copy_of_an_object_of_parts_is_one_with_a_plain_etag(door: Door, bucket: str) -> None:
    """Clients that compare a 32-digit ETag with the file's MD5 find it true, and the checksum is that of the whole."""
    client, at = door.client(), {"Bucket": bucket, "Key": "k"}
    bodies = [b"a" * (5 * MIB), b"b" * 99]
    whole = b"".join(bodies)
    upload = client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")["UploadId"]
    parts: list[dict[str, Any]] = []
    for number, body in enumerate(bodies, 1):
        words = {"UploadId": upload, "PartNumber": number, "Body": body, "ChecksumAlgorithm": "SHA256"}
        done = client.upload_part(**at, **words)
        parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": done["ChecksumSHA256"]})
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    said = client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")["CopyObjectResult"]
    digest = base64.b64encode(hashlib.sha256(whole).digest()).decode()
    assert said["ETag"] == f'"{hashlib.md5(whole).hexdigest()}"'
    assert (said["ChecksumSHA256"], said["ChecksumType"]) == (digest, "FULL_OBJECT")
    head = client.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert (head["ETag"], head["ChecksumSHA256"]) == (said["ETag"], digest)
    again = client.copy_object(Bucket=bucket, Key="again", CopySource=f"{bucket}/copy")["CopyObjectResult"]
    assert again["ETag"] == said["ETag"]
    assert body_of(client, bucket, "again") == whole


@case("copies", "test_upload_part_copy_percent_encoded_key")
def keys_that_look_encoded_are_decoded_once(door: Door, bucket: str) -> None:
    """A key may hold `%25`; asked for with `%` in that place, it is another key, which is not there."""
    client = door.client()
    fill(client, bucket, "leaf%25.txt", "whole.txt")
    at = {"Bucket": bucket, "Key": "whole.txt"}
    upload = client.create_multipart_upload(**at)["UploadId"]
    part = {**at, "UploadId": upload, "PartNumber": 1}
    words = {"CopySource": {"Bucket": bucket, "Key": "leaf%.txt"}}
    refused("NoSuchKey", client.upload_part_copy, status=404, **part, **words)
    assert body_of(client, bucket, "whole.txt") == b"whole.txt"
    copied = client.upload_part_copy(**part, CopySource={"Bucket": bucket, "Key": "leaf%25.txt"})["CopyPartResult"]
    parts = [{"PartNumber": 1, "ETag": copied["ETag"]}]
    client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})
    assert body_of(client, bucket, "whole.txt") == b"leaf%25.txt"


@case("policies", "test_bucket_policy_upload_part_copy")
def parts_are_copied_only_from_what_a_policy_opens(door: Door, bucket: str) -> None:
    client, other = door.client(), door.client("alt")
    fill(client, bucket, "open/k", "shut/k")
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject"}
    statement["Resource"] = f"arn:aws:s3:::{bucket}/open/*"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    with another(door, "alt") as theirs:
        at = {"Bucket": theirs, "Key": "k"}
        upload = other.create_multipart_upload(**at)["UploadId"]
        part = {**at, "UploadId": upload, "PartNumber": 1}
        refused("AccessDenied", other.upload_part_copy, status=403, **part, CopySource=f"{bucket}/shut/k")
        copied = other.upload_part_copy(**part, CopySource=f"{bucket}/open/k")["CopyPartResult"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": copied["ETag"]}]}
        other.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)
        assert other.get_object(**at)["Body"].read() == b"open/k"
