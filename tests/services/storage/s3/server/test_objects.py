"""Objects as boto3 sees them: put, get, ranges, conditions, copies, versions, marks."""

from __future__ import annotations

import concurrent.futures
import datetime
import hashlib
import io
import json
import os
import time
from typing import Any

import pytest

from tests.services.storage.s3.server.conftest import Process, Refused

MIB = 1 << 20
KEYS = [
    "plain",
    "a/b/c",
    "a//b",
    "./x",
    "../up",
    "/lead",
    "trail/",
    "ä ö+ü?&=#%",
    "日本語",
    "\U0001f600",
    "e\u0301",
    "\x01\x1f",
    "a" * 1024,
    "%2F",
    "+",
    " ",
]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_comes_back_as_it_was_put(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    for listing in (s3.list_objects_v2, s3.list_objects):
        assert [o["Key"] for o in listing(Bucket=bucket)["Contents"]] == [key]
    assert s3.list_object_versions(Bucket=bucket)["Versions"][0]["Key"] == key
    if key.isprintable():
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
        assert answer["Deleted"] == [{"Key": key}]
    else:  # boto3's parser does not read control characters in this answer, with no server
        s3.delete_object(Bucket=bucket, Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65_536, MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB])
def test_any_size_comes_back(s3: Any, bucket: str, size: int) -> None:
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body and got["ContentLength"] == size
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == size
    if size > 2:
        got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes=1-{size - 2}")
        assert got["Body"].read() == body[1:-1]
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes 1-{size - 2}/{size}"
        assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=-2")["Body"].read() == body[-2:]
    with Refused("InvalidRange", 416):
        s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size}-")


def test_headers_metadata_and_overrides(s3: Any, bucket: str) -> None:
    s3.put_object(
        Bucket=bucket, Key="k", Body=b"x", ContentType="text/x", CacheControl="no-store", ContentEncoding="gzip,aws-chunked",
        ContentDisposition="inline", ContentLanguage="de", Metadata={"Name": "value", "other": "2"}, Tagging="a=b&c=d",
    )  # fmt: skip
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="text/y", ResponseCacheControl="max-age=1")
    assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"]) == ("text/y", "max-age=1", "gzip")
    assert got["Metadata"] == {"name": "value", "other": "2"}
    assert (got["TagCount"], got["ServerSideEncryption"]) == (2, "AES256")


def test_conditions_on_reads(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    etag = put["ETag"]
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)
    with Refused("PreconditionFailed", 412):
        s3.get_object(Bucket=bucket, Key="k", IfMatch='"other"')
    for named in ({"IfNoneMatch": etag}, {"IfModifiedSince": later}):
        with Refused("304", 304):
            s3.get_object(Bucket=bucket, Key="k", **named)


def test_conditions_on_writes(s3: Any, bucket: str) -> None:
    with Refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfMatch='"x"')
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    with Refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first["ETag"])
    with Refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="k", Body=b"4", IfMatch=first["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"


def test_of_parallel_conditional_writers_one_wins(gateway: Process, s3: Any, bucket: str) -> None:
    def put(number: int) -> int:
        try:
            gateway.client().put_object(Bucket=bucket, Key="k", Body=b"%d" % number * 100_000, IfNoneMatch="*")
        except Exception:
            return -1
        return number

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        winners = [number for number in threads.map(put, range(6)) if number >= 0]
    assert len(winners) == 1
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"%d" % winners[0] * 100_000


def test_parallel_writers_never_mix(gateway: Process, s3: Any, bucket: str) -> None:
    bodies = [bytes([65 + i]) * (5 * MIB) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda body: gateway.client().put_object(Bucket=bucket, Key="k", Body=body), bodies))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() in bodies


def test_copies_share_bytes_and_keep_or_replace_what_is_stated(s3: Any, bucket: str) -> None:
    body = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=body, Metadata={"m": "1"}, ContentType="text/x", Tagging="t=1")
    source = {"Bucket": bucket, "Key": "a"}
    s3.copy_object(Bucket=bucket, Key="b", CopySource=source)
    s3.copy_object(
        Bucket=bucket, Key="c", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"}, TaggingDirective="REPLACE", Tagging="u=2"
    )  # fmt: skip
    s3.delete_object(Bucket=bucket, Key="a")
    for key, metadata, tags in (("b", {"m": "1"}, "t"), ("c", {"n": "2"}, "u")):
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == body and got["Metadata"] == metadata
        assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"][0]["Key"] == tags
    with Refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "b"})
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "b"}, MetadataDirective="REPLACE")
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == body
    with Refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="x", CopySource={"Bucket": bucket, "Key": "a"})


def test_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % i)["VersionId"] for i in range(3)]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=ids[0])["Body"].read() == b"0"
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    with Refused("NoSuchKey", 404) as refused:
        s3.get_object(Bucket=bucket, Key="k")
    assert refused.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    with Refused("MethodNotAllowed", 405):
        s3.get_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    with Refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    with Refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="k", VersionId="none-such")


def test_multipart_with_gaps_ranges_parts_and_retries(s3: Any, bucket: str) -> None:
    bodies = {1: os.urandom(5 * MIB), 3: os.urandom(6 * MIB), 10_000: b"end"}
    begun = s3.create_multipart_upload(Bucket=bucket, Key="m", Metadata={"a": "b"}, ContentType="text/m")
    named = {"Bucket": bucket, "Key": "m", "UploadId": begun["UploadId"]}
    parts = []
    for number, body in bodies.items():
        etag = s3.upload_part(**named, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    assert [p["PartNumber"] for p in s3.list_parts(**named)["Parts"]] == [1, 3, 10_000]
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Key"] == "m"
    with Refused("InvalidPartOrder", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts[::-1]})
    with Refused("InvalidPart", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"PartNumber": 2, "ETag": parts[0]["ETag"]}]})
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    again = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert done["ETag"] == again["ETag"] and done["ETag"].endswith('-3"')
    digests = b"".join(hashlib.md5(body).digest() for body in bodies.values())
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    whole = b"".join(bodies.values())
    got = s3.get_object(Bucket=bucket, Key="m")
    assert got["Body"].read() == whole and got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/m"
    got = s3.get_object(Bucket=bucket, Key="m", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}")
    assert got["Body"].read() == whole[5 * MIB - 3 : 5 * MIB + 3]
    second = s3.get_object(Bucket=bucket, Key="m", PartNumber=2)
    assert second["Body"].read() == bodies[3] and second["PartsCount"] == 3
    with Refused("InvalidPartNumber", 416):
        s3.get_object(Bucket=bucket, Key="m", PartNumber=4)
    with Refused("NoSuchUpload", 404):
        s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId="none")
    for others in (parts[:2], [*parts[:2], {"PartNumber": 10_000, "ETag": "?"}]):
        with Refused("NoSuchUpload", 404):
            s3.complete_multipart_upload(**named, MultipartUpload={"Parts": others}, IfNoneMatch="*")
    again = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    assert done["ETag"] == again["ETag"]
    s3.delete_object(Bucket=bucket, Key="m")
    with Refused("NoSuchUpload", 404):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})


def test_parts_too_small_are_refused_and_an_abort_forgets(s3: Any, bucket: str) -> None:
    begun = s3.create_multipart_upload(Bucket=bucket, Key="m")
    named = {"Bucket": bucket, "Key": "m", "UploadId": begun["UploadId"]}
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**named, PartNumber=n, Body=b"small")["ETag"]} for n in (1, 2)]
    with Refused("EntityTooSmall", 400):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    for number in (0, 10_001):
        with Refused("InvalidArgument", 400):
            s3.upload_part(**named, PartNumber=number, Body=b"")
    s3.abort_multipart_upload(**named)
    with Refused("NoSuchUpload", 404):
        s3.upload_part(**named, PartNumber=1, Body=b"x")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_parts_copied_from_ranges(s3: Any, bucket: str) -> None:
    body = os.urandom(11 * MIB)
    s3.put_object(Bucket=bucket, Key="src", Body=body)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="m")
    named = {"Bucket": bucket, "Key": "m", "UploadId": begun["UploadId"]}
    ranges = [(100, 5 * MIB + 200), (7, 6 * MIB), (3, 9)]
    parts = []
    for number, (start, end) in enumerate(ranges, 1):
        copied = s3.upload_part_copy(
            **named, PartNumber=number, CopySource={"Bucket": bucket, "Key": "src"}, CopySourceRange=f"bytes={start}-{end - 1}"
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    with Refused("InvalidRange", 416):
        s3.upload_part_copy(
            **named, PartNumber=9, CopySource={"Bucket": bucket, "Key": "src"}, CopySourceRange=f"bytes=0-{12 * MIB}"
        )
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket=bucket, Key="src")
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"".join(body[a:b] for a, b in ranges)


def test_an_object_copied_part_by_part_keeps_its_etag(s3: Any, bucket: str) -> None:
    bodies = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"end"]
    etags = []
    for key in ("first", "second"):
        named = {"Bucket": bucket, "Key": key}
        named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
        parts, start = [], 0
        for number, part in enumerate(bodies, 1):
            if key == "first":
                etag = s3.upload_part(**named, PartNumber=number, Body=part)["ETag"]
            else:
                end, source = start + len(part), {"Bucket": bucket, "Key": "first"}
                copied = s3.upload_part_copy(
                    **named, PartNumber=number, CopySource=source, CopySourceRange=f"bytes={start}-{end - 1}"
                )
                etag, start = copied["CopyPartResult"]["ETag"], end
            parts.append({"PartNumber": number, "ETag": etag})
        etags.append(s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})["ETag"])
    assert etags[0] == etags[1]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_of_puts_and_parts(s3: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello world", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[name] == put[name] and got["Body"].read() == b"hello world"
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    with Refused("BadDigest", 400):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", **{name: put[name]})
    data = os.urandom(12 * MIB)
    s3.upload_fileobj(io.BytesIO(data), bucket, "m", ExtraArgs={"ChecksumAlgorithm": algorithm})
    head = s3.head_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
    assert head["ChecksumType"] == ("FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE") and head[name]
    found = s3.get_object_attributes(
        Bucket=bucket, Key="m", ObjectAttributes=["ObjectParts", "ObjectSize", "Checksum", "ETag"]
    )
    assert (found["ObjectSize"], found["ObjectParts"]["TotalPartsCount"]) == (len(data), 2)


def test_tags(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    with Refused("InvalidTag", 400):
        s3.put_object_tagging(
            Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": str(i), "Value": ""} for i in range(11)]}
        )


def test_object_lock(s3: Any) -> None:
    bucket = f"lock-{time.time_ns()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    assert s3.get_object_retention(Bucket=bucket, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    s3.delete_object(Bucket=bucket, Key="k")  # a marker, nothing is lost
    with Refused("AccessDenied", 403):
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    s3.put_object_legal_hold(Bucket=bucket, Key="k", VersionId=version, LegalHold={"Status": "ON"})
    with Refused("AccessDenied", 403):
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version, BypassGovernanceRetention=True)
    s3.put_object_legal_hold(Bucket=bucket, Key="k", VersionId=version, LegalHold={"Status": "OFF"})
    s3.delete_object(Bucket=bucket, Key="k", VersionId=version, BypassGovernanceRetention=True)
    with Refused("InvalidBucketState", 409):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_deletions_in_batches_say_what_happened(s3: Any, bucket: str) -> None:
    for key in "ab":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in ("a", "b", "none")]})
    assert {d["Key"] for d in done["Deleted"]} == {"a", "b", "none"}
    with Refused("MalformedXML", 400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": str(i)} for i in range(1001)]})


def test_listing_pages_and_parameters(s3: Any, bucket: str) -> None:
    keys = [f"{folder}/{i}" for folder in "abc" for i in range(3)] + ["top"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    assert [o["Key"] for p in pages for o in p["Contents"]] == sorted(keys) and len(pages) == 5
    found = s3.list_objects_v2(Bucket=bucket, Delimiter="/", MaxKeys=2)
    assert [p["Prefix"] for p in found["CommonPrefixes"]] == ["a/", "b/"] and found["IsTruncated"]
    rest = s3.list_objects_v2(Bucket=bucket, Delimiter="/", ContinuationToken=found["NextContinuationToken"])
    assert [p["Prefix"] for p in rest["CommonPrefixes"]] == ["c/"] and rest["Contents"][0]["Key"] == "top"
    first = s3.list_objects(Bucket=bucket, Delimiter="/", MaxKeys=1)
    assert first["NextMarker"] == "a/"
    second = s3.list_objects(Bucket=bucket, Delimiter="/", Marker="a/", MaxKeys=1)
    assert second["CommonPrefixes"][0]["Prefix"] == "b/"
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="c/1")
    assert [o["Key"] for o in after["Contents"]] == ["c/2", "top"]
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    with Refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="!!")


def test_policies_acls_and_anonymous_readers(gateway: Process, s3: Any, bucket: str) -> None:
    alt, nobody = gateway.client("alt"), gateway.client("")
    s3.put_object(Bucket=bucket, Key="private", Body=b"p")
    s3.put_object(Bucket=bucket, Key="public", Body=b"q", ACL="public-read")
    for other in (alt, nobody):
        assert other.get_object(Bucket=bucket, Key="public")["Body"].read() == b"q"
        for act in (
            lambda o=other: o.get_object(Bucket=bucket, Key="private"),
            lambda o=other: o.get_object(Bucket=bucket, Key="none"),  # not even that it is not there
            lambda o=other: o.put_object(Bucket=bucket, Key="new", Body=b""),
            lambda o=other: o.delete_object(Bucket=bucket, Key="private"),
            lambda o=other: o.list_objects_v2(Bucket=bucket),
            lambda o=other: o.get_bucket_acl(Bucket=bucket),
            lambda o=other: o.delete_bucket(Bucket=bucket),
        ):
            with Refused("AccessDenied", 403):
                act()
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{bucket}/*"
    }  # fmt: skip
    deny = {**statement, "Effect": "Deny", "Resource": f"arn:aws:s3:::{bucket}/secret*"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement, deny]}))
    assert nobody.get_object(Bucket=bucket, Key="private")["Body"].read() == b"p"
    alt.put_object(Bucket=bucket, Key="theirs", Body=b"t")
    with Refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="secret", Body=b"")
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True,
        },
    )  # fmt: skip
    for key in ("private", "public"):
        with Refused("AccessDenied", 403):
            nobody.get_object(Bucket=bucket, Key=key)
    with Refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="x", Body=b"", ACL="public-read")
    s3.delete_bucket_policy(Bucket=bucket)
    with Refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket=bucket)
