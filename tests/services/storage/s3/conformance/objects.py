"""Buckets, objects, listing, conditions, ranges, copies, multipart."""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import Any

from botocore.handlers import validate_bucket_name

from tests.services.storage.s3.conformance.table import case, fill, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20


@case("buckets")
def creating_ones_own_again_is_fine_in_the_first_region(door: Door, bucket: str) -> None:
    door.client().create_bucket(Bucket=bucket)


@case("buckets")
def a_name_is_taken_for_everybody(door: Door, bucket: str) -> None:
    refused("BucketAlreadyExists", door.client("alt").create_bucket, Bucket=bucket, status=409)


@case("buckets")
def names_follow_the_rules(door: Door, bucket: str) -> None:
    client = door.client(user_agent_extra="unchecked")  # a client of its own: boto3 would refuse the names itself
    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    for name in ("ab", "a" * 64, "Upper", "under_score", "-lead", "trail-", "a..b", "192.168.5.4", "a-.b"):
        refused("InvalidBucketName", client.create_bucket, Bucket=name, status=400)


@case("buckets")
def deleting_needs_it_empty(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    refused("BucketNotEmpty", door.client().delete_bucket, Bucket=bucket, status=409)


@case("buckets")
def what_is_not_there(door: Door, bucket: str) -> None:
    client, gone = door.client(), bucket + "-gone"
    for call in (client.list_objects, client.list_objects_v2, client.delete_bucket, client.get_bucket_acl):
        refused("NoSuchBucket", call, Bucket=gone, status=404)
    refused("404", client.head_bucket, Bucket=gone)
    refused("NoSuchBucket", client.put_object, Bucket=gone, Key="k", Body=b"", status=404)
    refused("NoSuchBucket", client.get_object, Bucket=gone, Key="k", status=404)


@case("buckets")
def listing_shows_ones_own(door: Door, bucket: str) -> None:
    assert bucket in [b["Name"] for b in door.client().list_buckets()["Buckets"]]
    assert bucket not in [b["Name"] for b in door.client("alt").list_buckets().get("Buckets", [])]


@case("buckets")
def location_and_head(door: Door, bucket: str) -> None:
    assert door.client().get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert door.client().head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200


@case("objects")
def written_bytes_come_back(door: Door, bucket: str) -> None:
    client = door.client()
    for size in (0, 1, 4096, 4097, 100_000, 3 * MIB):
        data = hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1)
        put = client.put_object(Bucket=bucket, Key=str(size), Body=data[:size])
        assert put["ETag"] == f'"{hashlib.md5(data[:size]).hexdigest()}"'
        got = client.get_object(Bucket=bucket, Key=str(size))
        assert (got["Body"].read(), got["ContentLength"], got["ETag"]) == (data[:size], size, put["ETag"])


@case("objects")
def the_last_write_wins(door: Door, bucket: str) -> None:
    client = door.client()
    for body in (b"one", b"two"):
        client.put_object(Bucket=bucket, Key="k", Body=body)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"


@case("objects")
def parallel_writers_never_mix(door: Door, bucket: str) -> None:
    client = door.client()
    bodies = [bytes([i]) * (300_000 + i) for i in range(6)]
    threads = [
        threading.Thread(target=client.put_object, kwargs={"Bucket": bucket, "Key": "k", "Body": b}) for b in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() in bodies


@case("objects")
def metadata_and_content_headers_are_kept(door: Door, bucket: str) -> None:
    client = door.client()
    words = {
        "ContentType": "text/x",
        "CacheControl": "no-cache",
        "ContentDisposition": "inline",
        "ContentLanguage": "de",
    }
    client.put_object(
        Bucket=bucket, Key="k", Body=b"", Metadata={"Name": "Value", "empty": ""}, ContentEncoding="gzip", **words
    )
    got = client.head_object(Bucket=bucket, Key="k")
    assert {name: got[name] for name in words} == words
    assert (got["Metadata"], got["ContentEncoding"]) == ({"name": "Value", "empty": ""}, "gzip")
    client.put_object(Bucket=bucket, Key="k", Body=b"")
    got = client.head_object(Bucket=bucket, Key="k")
    assert (got["Metadata"], got["ContentType"]) == ({}, "binary/octet-stream")


@case("objects")
def chunked_is_no_encoding_of_the_object(door: Door, bucket: str) -> None:
    client = door.client()
    for sent, kept in (("gzip, aws-chunked", "gzip"), ("aws-chunked", None), ("deflate, gzip", "deflate, gzip")):
        client.put_object(Bucket=bucket, Key="k", Body=b"x", ContentEncoding=sent)
        assert client.head_object(Bucket=bucket, Key="k").get("ContentEncoding") == kept


@case("objects")
def overrides_change_one_answer(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    got = door.client().get_object(
        Bucket=bucket, Key="k", ResponseContentType="a/b", ResponseCacheControl="x", ResponseContentDisposition="bla"
    )
    assert (got["ContentType"], got["CacheControl"], got["ContentDisposition"]) == ("a/b", "x", "bla")


@case("objects")
def deleting_what_is_not_there_succeeds(door: Door, bucket: str) -> None:
    assert door.client().delete_object(Bucket=bucket, Key="gone")["ResponseMetadata"]["HTTPStatusCode"] == 204
    answer = door.client().delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "gone"}, {"Key": "too"}]})
    assert len(answer["Deleted"]) == 2


@case("objects")
def deletions_by_the_thousand_and_no_more(door: Door, bucket: str) -> None:
    client = door.client()
    assert (
        len(client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": str(i)} for i in range(1000)]})["Deleted"])
        == 1000
    )
    refused(
        "MalformedXML", client.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": str(i)} for i in range(1001)]}
    )


@case("objects")
def wrong_digests_are_refused_and_store_nothing(door: Door, bucket: str) -> None:
    client, other = door.client(), base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused("BadDigest", client.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=other, status=400)
    refused("InvalidDigest", client.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="rubbish", status=400)
    refused("BadDigest", client.put_object, Bucket=bucket, Key="k", Body=b"x", ChecksumCRC32="AAAAAA==", status=400)
    refused("404", client.head_object, Bucket=bucket, Key="k")


@case("objects")
def attributes_of_an_object(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm="SHA256")
    got = door.client().get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert (got["ObjectSize"], got["ETag"], got["StorageClass"]) == (5, hashlib.md5(b"hello").hexdigest(), "STANDARD")
    assert got["Checksum"]["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"hello").digest()).decode()


LISTED = ("asdf", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud", "é", "日本")


@case("listing")
def a_delimiter_gathers_prefixes(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, *LISTED)
    for call in (client.list_objects, client.list_objects_v2):
        page = call(Bucket=bucket, Delimiter="/")
        assert [o["Key"] for o in page["Contents"]] == ["asdf", "é", "日本"]
        assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["boo/", "cquux/"]
        page = call(Bucket=bucket, Delimiter="/", Prefix="boo/")
        assert [o["Key"] for o in page["Contents"]] == ["boo/bar"]
        assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["boo/baz/"]
        assert [p["Prefix"] for p in call(Bucket=bucket, Delimiter="oo")["CommonPrefixes"]] == ["boo"]
        assert "Contents" not in call(Bucket=bucket, Prefix="zzz")


@case("listing")
def pages_fit_together(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, *LISTED)
    for size in (1, 2, 3, 7):
        for name, entry in (("list_objects", "Key"), ("list_objects_v2", "Key"), ("list_object_versions", "Key")):
            pages = list(client.get_paginator(name).paginate(Bucket=bucket, PaginationConfig={"PageSize": size}))
            field = "Versions" if name.endswith("versions") else "Contents"
            assert [o[entry] for p in pages for o in p.get(field, ())] == sorted(LISTED, key=str.encode)
        pages = list(
            client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
            )
        )
        assert [c["Prefix"] for p in pages for c in p.get("CommonPrefixes", ())] == ["boo/", "cquux/"]
        assert [o["Key"] for p in pages for o in p.get("Contents", ())] == ["asdf", "é", "日本"]


@case("listing")
def markers_and_next_markers(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "a", "b", "c/d", "e")
    page = client.list_objects(Bucket=bucket, Marker="a", MaxKeys=2, Delimiter="/")
    assert (page["IsTruncated"], page["NextMarker"], page["Marker"]) == (True, "c/", "a")
    assert [o["Key"] for o in client.list_objects(Bucket=bucket, Marker="bb")["Contents"]] == ["c/d", "e"]
    assert [o["Key"] for o in client.list_objects_v2(Bucket=bucket, StartAfter="c/d")["Contents"]] == ["e"]
    page = client.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (page["KeyCount"], page["IsTruncated"], page["MaxKeys"]) == (0, False, 0)


@case("listing")
def bad_limits_are_refused(door: Door, bucket: str) -> None:
    client = door.client()
    refused("InvalidArgument", client.list_objects_v2, Bucket=bucket, MaxKeys=-1, status=400)
    refused("InvalidArgument", client.list_objects_v2, Bucket=bucket, ContinuationToken="rubbish é", status=400)


@case("listing")
def owners_on_request(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    assert client.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"] == door.accounts["main"].id
    assert "Owner" not in client.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert (
        client.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"] == door.accounts["main"].id
    )


@case("conditions")
def reads_with_conditions(door: Door, bucket: str) -> None:
    client = door.client()
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    when = client.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert client.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"x"
    refused("PreconditionFailed", client.get_object, Bucket=bucket, Key="k", IfMatch='"a"', status=412)
    refused("304", client.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag)
    refused("304", client.get_object, Bucket=bucket, Key="k", IfModifiedSince=when)
    refused("PreconditionFailed", client.get_object, Bucket=bucket, Key="k", IfUnmodifiedSince="2001-01-01T00:00:00Z")


@case("conditions")
def writes_with_conditions(door: Door, bucket: str) -> None:
    client = door.client()
    refused("NoSuchKey", client.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch="*", status=404)
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", client.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*", status=412)
    refused("PreconditionFailed", client.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"a"', status=412)
    client.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"


@case("conditions")
def only_one_creator_wins(door: Door, bucket: str) -> None:
    client, wins = door.client(), []

    def create(i: int) -> None:
        try:
            client.put_object(Bucket=bucket, Key="k", Body=str(i).encode(), IfNoneMatch="*")
            wins.append(i)
        except client.exceptions.ClientError:
            pass

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == str(wins[0]).encode()


@case("ranges")
def ranges_of_an_object(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=bytes(range(100)))
    for value, expected in (
        ("bytes=4-7", (4, 8)),
        ("bytes=4-", (4, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=90-900", (90, 100)),
    ):
        got = client.get_object(Bucket=bucket, Key="k", Range=value)
        assert got["Body"].read() == bytes(range(*expected))
        assert got["ContentRange"] == f"bytes {expected[0]}-{expected[1] - 1}/100"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    refused("InvalidRange", client.get_object, Bucket=bucket, Key="k", Range="bytes=100-", status=416)
    client.put_object(Bucket=bucket, Key="empty", Body=b"")
    refused("InvalidRange", client.get_object, Bucket=bucket, Key="empty", Range="bytes=0-1", status=416)
    assert client.get_object(Bucket=bucket, Key="k", Range="rubbish")["ResponseMetadata"]["HTTPStatusCode"] == 200


@case("copies")
def copies_keep_or_replace(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="a b+é", Body=b"data", Metadata={"x": "1"}, ContentType="t/a")
    source = {"Bucket": bucket, "Key": "a b+é"}
    client.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    got = client.get_object(Bucket=bucket, Key="copy")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"data", {"x": "1"}, "t/a")
    client.copy_object(Bucket=bucket, Key="copy", CopySource=source, MetadataDirective="REPLACE", Metadata={"y": "2"})
    assert client.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"y": "2"}
    client.delete_object(Bucket=bucket, Key="a b+é")
    assert client.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"data"


@case("copies")
def copies_that_are_refused(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    refused("InvalidRequest", client.copy_object, Bucket=bucket, Key="k", CopySource=f"{bucket}/k", status=400)
    client.copy_object(
        Bucket=bucket, Key="k", CopySource=f"{bucket}/k", MetadataDirective="REPLACE", Metadata={"z": "1"}
    )
    refused("NoSuchKey", client.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/gone", status=404)
    refused("NoSuchBucket", client.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}-gone/k", status=404)
    refused(
        "PreconditionFailed",
        client.copy_object,
        Bucket=bucket,
        Key="c",
        CopySource=f"{bucket}/k",
        CopySourceIfMatch='"a"',
    )
    refused(
        "AccessDenied", door.client("alt").copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/k", status=403
    )


def _upload(
    client: Any, bucket: str, key: str, sizes: list[int], **words: Any
) -> tuple[str, list[dict[str, Any]], bytes]:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **words)["UploadId"]
    data, parts = b"", []
    for number, size in enumerate(sizes, 1):
        body = bytes([number]) * size
        data += body
        etag = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    return upload, parts, data


@case("multipart")
def parts_become_one_object(door: Door, bucket: str) -> None:
    client = door.client()
    upload, parts, data = _upload(client, bucket, "k", [5 * MIB, 5 * MIB, 7], Metadata={"a": "b"}, ContentType="t/x")
    done = client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(bytes.fromhex(p["ETag"].strip('"')) for p in parts)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"'
    got = client.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read() == data, got["Metadata"], got["ContentType"]) == (True, {"a": "b"}, "t/x")
    part = client.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (part["ContentLength"], part["PartsCount"]) == (5 * MIB, 3)
    again = client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]


@case("multipart")
def a_part_sent_again_replaces_the_first(door: Door, bucket: str) -> None:
    client = door.client()
    upload, parts, _ = _upload(client, bucket, "k", [10])
    parts[0]["ETag"] = client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"new")["ETag"]
    client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"


@case("multipart")
def completions_that_are_refused(door: Door, bucket: str) -> None:
    client = door.client()
    upload, parts, _ = _upload(client, bucket, "k", [10, 10])

    def complete(code: str, chosen: list[dict[str, Any]], upload_id: str = upload) -> None:
        refused(
            code,
            client.complete_multipart_upload,
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            MultipartUpload={"Parts": chosen},
        )

    complete("EntityTooSmall", parts)
    complete("InvalidPartOrder", parts[::-1])
    complete("InvalidPart", [{"PartNumber": 9, "ETag": parts[0]["ETag"]}])
    complete("InvalidPart", [{"PartNumber": 1, "ETag": '"ffffffffffffffffffffffffffffffff"'}])
    complete("MalformedXML", [])
    complete("NoSuchUpload", parts, "gone")
    refused("404", client.head_object, Bucket=bucket, Key="k")


@case("multipart")
def uploads_and_parts_are_listed_and_aborted(door: Door, bucket: str) -> None:
    client = door.client()
    upload, parts, _ = _upload(client, bucket, "k", [10, 20, 30])
    assert [u["UploadId"] for u in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    page = client.list_parts(Bucket=bucket, Key="k", UploadId=upload, MaxParts=2)
    assert ([p["Size"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]) == (
        [10, 20],
        True,
        2,
    )
    page = client.list_parts(Bucket=bucket, Key="k", UploadId=upload, PartNumberMarker=2)
    assert [p["ETag"] for p in page["Parts"]] == [parts[2]["ETag"]]
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    for call in (client.abort_multipart_upload, client.list_parts):
        refused("NoSuchUpload", call, Bucket=bucket, Key="k", UploadId=upload, status=404)
    refused("NoSuchUpload", client.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"")


@case("multipart")
def part_numbers_are_bounded(door: Door, bucket: str) -> None:
    client = door.client()
    upload, _, _ = _upload(client, bucket, "k", [])
    for number in (0, 10_001, -1):
        refused(
            "InvalidArgument", client.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=b""
        )


@case("multipart")
def parts_copied_from_objects(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="src", Body=bytes(range(256)) * 24_000)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    words = {"Bucket": bucket, "Key": "k", "UploadId": upload, "CopySource": f"{bucket}/src"}
    first = client.upload_part_copy(PartNumber=1, CopySourceRange=f"bytes=0-{5 * MIB - 1}", **words)["CopyPartResult"][
        "ETag"
    ]
    second = client.upload_part_copy(PartNumber=2, CopySourceRange="bytes=10-20", **words)["CopyPartResult"]["ETag"]
    refused("InvalidArgument", client.upload_part_copy, PartNumber=3, CopySourceRange="bytes=5", **words)
    refused("InvalidRange", client.upload_part_copy, PartNumber=3, CopySourceRange="bytes=0-99999999", **words)
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    source = client.get_object(Bucket=bucket, Key="src")["Body"].read()
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == source[: 5 * MIB] + source[10:21]
