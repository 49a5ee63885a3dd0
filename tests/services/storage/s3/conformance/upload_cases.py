"""Uploads in parts: completed, refused, listed, aborted, and parts that are copies."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.services.storage.s3.conformance.copy_cases import another, body_of, keep_versions
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20
LEAST = 5 * MIB  # of every part but the last
STATED = {"Metadata": {"leaf": "lobed"}, "ContentType": "text/leaf"}


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes of which no two places look alike."""
    block = b"".join(hashlib.sha256(b"%d/%d" % (seed, i)).digest() for i in range(64))
    return (block * (size // len(block) + 1))[:size]


def begin(
    client: Any, bucket: str, bodies: list[bytes], key: str = "k", **stated: Any
) -> tuple[dict[str, Any], list[Any]]:
    """Upload parts; return what names the upload, and its parts as a completion names them."""
    named = {"Bucket": bucket, "Key": key}
    named["UploadId"] = client.create_multipart_upload(**named, **stated)["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        etag = client.upload_part(**named, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag.strip('"')})  # many clients name them without quotes
    return named, parts


def complete(client: Any, named: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
    done: dict[str, Any] = client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    return done


# ---- completed -------------------------------------------------------------------------------------------------------


@case("multipart", "test_multipart_upload")
def parts_become_an_object(door: Door, bucket: str) -> None:
    client, bodies = door.client(), [pattern(LEAST, 1), pattern(LEAST + 7, 2), pattern(99, 3)]
    whole = b"".join(bodies)
    named, parts = begin(client, bucket, bodies, **STATED)
    etag = complete(client, named, parts)["ETag"]
    assert complete(client, named, parts)["ETag"] == etag  # an answer may get lost
    got = client.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == whole
    assert (got["Metadata"], got["ContentType"], got["ETag"]) == (STATED["Metadata"], STATED["ContentType"], etag)
    for start, end in ((0, 9), (LEAST - 3, LEAST + 3), (LEAST - 1, 2 * LEAST + 20), (2 * LEAST, len(whole) - 1)):
        ranged = client.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{end}")
        assert ranged["Body"].read() == whole[start : end + 1]
    assert [entry["Size"] for entry in client.list_objects(Bucket=bucket)["Contents"]] == [len(whole)]


@case("multipart", "test_multipart_upload_small")
def one_small_part_is_enough(door: Door, bucket: str) -> None:
    client = door.client()
    named, parts = begin(client, bucket, [b"x"])
    complete(client, named, parts)
    complete(client, named, parts)
    assert body_of(client, bucket, "k") == b"x"


@case("multipart", "test_multipart_upload_contents")
def the_bytes_are_those_of_the_parts_in_order(door: Door, bucket: str) -> None:
    client, bodies = door.client(), [pattern(LEAST, 1), pattern(LEAST, 2), pattern(300, 3)]
    named, parts = begin(client, bucket, bodies)
    complete(client, named, parts)
    assert body_of(client, bucket, "k") == b"".join(bodies)


@case("multipart", "test_multipart_upload_overwrite_existing_object")
def an_upload_replaces_what_is_there(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    named, parts = begin(client, bucket, [pattern(LEAST), b"end"])
    assert body_of(client, bucket, "k") == b"k"
    complete(client, named, parts)
    assert body_of(client, bucket, "k") == pattern(LEAST) + b"end"


@case("multipart", "test_multipart_upload_multiple_sizes")
def sizes_around_the_borders_of_parts(door: Door, bucket: str) -> None:
    client = door.client()
    for size in (LEAST, LEAST + 1, 2 * LEAST + 600 * 1024):
        whole = pattern(size, size)
        named, parts = begin(client, bucket, [whole[i : i + LEAST] for i in range(0, size, LEAST)])
        complete(client, named, parts)
        assert client.head_object(Bucket=bucket, Key="k")["ContentLength"] == size
    assert body_of(client, bucket, "k") == whole


@case("multipart", "test_multipart_upload_resend_part")
def parts_may_be_sent_again(door: Door, bucket: str) -> None:
    client, bodies = door.client(), [pattern(LEAST, 1), pattern(50, 2)]
    for again in ((1,), (2,), (2, 1, 2)):
        named, parts = begin(client, bucket, [b"first try" if 1 in again else bodies[0], b"another"], **STATED)
        for number in again:
            parts[number - 1]["ETag"] = client.upload_part(**named, PartNumber=number, Body=bodies[number - 1])["ETag"]
        complete(client, named, parts)
        assert body_of(client, bucket, "k") == bodies[0] + (bodies[1] if 2 in again else b"another")
    assert client.head_object(Bucket=bucket, Key="k")["Metadata"] == STATED["Metadata"]


def _by_part(name: str, bodies: list[bytes], *, uploaded: bool = True) -> None:
    def try_parts(door: Door, bucket: str) -> None:
        client = door.client()
        if uploaded:
            named, parts = begin(client, bucket, bodies)
            refused("NoSuchKey", client.get_object, Bucket=bucket, Key="k", PartNumber=1, status=404)
            etag = complete(client, named, parts)["ETag"]
        else:
            etag = client.put_object(Bucket=bucket, Key="k", Body=bodies[0])["ETag"]
        for number, body in enumerate(bodies, 1):
            for call in (client.head_object, client.get_object):
                got = call(Bucket=bucket, Key="k", PartNumber=number)
                assert (got["ETag"], got["ContentLength"]) == (etag, len(body))
                assert got.get("PartsCount") == (len(bodies) if uploaded else None)
            assert got["Body"].read() == body
        beyond = len(bodies) + 1
        refused("InvalidPartNumber", client.get_object, Bucket=bucket, Key="k", PartNumber=beyond, status=416)

    enter("multipart", f"test_{name}get_part", try_parts)


_by_part("multipart_", [pattern(LEAST, 1), pattern(77, 2)])
_by_part("multipart_single_", [pattern(9, 1)])
_by_part("non_multipart_", [pattern(9, 1)], uploaded=False)


# ---- refused ---------------------------------------------------------------------------------------------------------


def _refused(name: str, code: str, change: Any, bodies: tuple[bytes, ...] = (b"only",)) -> None:
    def try_completion(door: Door, bucket: str) -> None:
        client = door.client()
        named, parts = begin(client, bucket, list(bodies))
        words = change(parts)
        refused(code, client.complete_multipart_upload, status=400, **named, **words)
        refused("404", client.head_object, Bucket=bucket, Key="k")

    enter("multipart", f"test_multipart_upload_{name}", try_completion)


def _named(parts: list[Any], **changes: Any) -> dict[str, Any]:
    return {"MultipartUpload": {"Parts": [part | changes for part in parts]}}


_refused("empty", "MalformedXML", lambda parts: {}, ())
_refused("missing_part", "InvalidPart", lambda parts: _named(parts, PartNumber=8_888))
_refused("incorrect_etag", "InvalidPart", lambda parts: _named(parts, ETag="0" * 32))
_refused("size_too_small", "EntityTooSmall", _named, (b"too", b"small", b"parts"))


@case("multipart")
def the_part_that_is_wrong_is_named(door: Door, bucket: str) -> None:
    client = door.client()
    named, parts = begin(client, bucket, [b"only"])
    for change in ({"ETag": "0" * 32}, {"ETag": ""}, {"PartNumber": 8_888}):
        said = refused("InvalidPart", client.complete_multipart_upload, **named, **_named(parts, **change))["Error"]
        expected = parts[0] | change
        assert (said["UploadId"], said["PartNumber"]) == (named["UploadId"], str(expected["PartNumber"]))
        assert (said["ETag"] or "") == expected["ETag"].strip('"')


# ---- listed and aborted ----------------------------------------------------------------------------------------------


@case("multipart", "test_abort_multipart_upload")
def an_aborted_upload_leaves_nothing(door: Door, bucket: str) -> None:
    client = door.client()
    named, parts = begin(client, bucket, [pattern(LEAST), b"end"])
    client.abort_multipart_upload(**named)
    assert "Contents" not in client.list_objects(Bucket=bucket)
    refused("NoSuchUpload", client.complete_multipart_upload, **named, MultipartUpload={"Parts": parts}, status=404)
    client.delete_bucket(Bucket=bucket)


@case("multipart", "test_abort_multipart_upload_not_found")
def only_what_was_begun_can_be_aborted(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    refused("NoSuchUpload", door.client().abort_multipart_upload, Bucket=bucket, Key="k", UploadId="4711", status=404)
    assert body_of(door.client(), bucket, "k") == b"k"


@case("multipart", "test_list_multipart_upload")
def several_uploads_of_a_key_are_listed(door: Door, bucket: str) -> None:
    client = door.client()
    begun = [begin(client, bucket, [b"part"], key)[0] for key in ("ash", "ash", "oak")]
    listed = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(entry["Key"], entry["UploadId"]) for entry in listed] == [(b["Key"], b["UploadId"]) for b in begun]
    client.abort_multipart_upload(**begun[1])
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 2


@case("multipart", "test_list_multipart_upload_owner")
def with_whoever_began_them(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    begun = [begin(door.client(name), bucket, [], name) for name in ("alt", "main")]
    wanted = [{"ID": door.accounts[name].id, "DisplayName": name} for name in ("alt", "main")]
    for name in ("main", "alt"):
        listed = door.client(name).list_multipart_uploads(Bucket=bucket)["Uploads"]
        assert [entry["Initiator"] for entry in listed] == wanted
        assert [entry["Owner"] for entry in listed] == wanted
        assert [entry["UploadId"] for entry in listed] == [named["UploadId"] for named, _ in begun]


# ---- parts that are copies -------------------------------------------------------------------------------------------


def _copied(client: Any, source: Any, target: str, ranges: list[tuple[int, int] | None]) -> dict[str, Any]:
    """Complete an upload whose parts are ranges (half open; None: all) of an object."""
    named, parts = begin(client, target, [])
    for number, piece in enumerate(ranges, 1):
        words = {} if piece is None else {"CopySourceRange": f"bytes={piece[0]}-{piece[1] - 1}"}
        done = client.upload_part_copy(**named, PartNumber=number, CopySource=source, **words)
        parts.append({"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]})
    return complete(client, named, parts)


@case("multipart", "test_multipart_copy_small")
def a_part_of_one_copied_byte(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="source", Body=pattern(3 * MIB))
    with another(door) as target:
        _copied(client, f"{bucket}/source", target, [(0, 1)])
        assert body_of(client, target, "k") == pattern(1)


@case("multipart", "test_multipart_copy_without_range")
def a_part_that_is_a_whole_object(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "source")
    _copied(door.client(), f"{bucket}/source", bucket, [None])
    assert body_of(door.client(), bucket, "k") == b"source"


@case("multipart", "test_multipart_copy_special_names")
def sources_of_odd_names(door: Door, bucket: str) -> None:
    client = door.client()
    for key in (" ", "_", "__", "?versionId", "a?versionId=b"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode() * 3)
        _copied(client, {"Bucket": bucket, "Key": key}, bucket, [(0, 2)])
        assert body_of(client, bucket, "k") == (key.encode() * 3)[:2]


@case("multipart", "test_multipart_copy_multiple_sizes")
def copies_around_the_borders_of_parts(door: Door, bucket: str) -> None:
    client, whole = door.client(), pattern(2 * LEAST + 2 * MIB)
    client.put_object(Bucket=bucket, Key="source", Body=whole)
    for size in (LEAST, LEAST + 1, 2 * LEAST + 600 * 1024):
        ranges = [(start, min(start + LEAST, size)) for start in range(0, size, LEAST)]
        _copied(client, f"{bucket}/source", bucket, [*ranges])
        assert body_of(client, bucket, "k") == whole[:size]


@case("multipart", "test_multipart_copy_versioned")
def parts_copied_from_versions(door: Door, bucket: str) -> None:
    client = door.client()
    keep_versions(client, bucket)
    with another(door) as target:
        for seed in (1, 2):
            client.put_object(Bucket=bucket, Key="source", Body=pattern(LEAST + 9, seed))
        versions = client.list_object_versions(Bucket=bucket)["Versions"]
        for seed, version in zip((2, 1), versions, strict=True):  # newest first
            source = {"Bucket": bucket, "Key": "source", "VersionId": version["VersionId"]}
            _copied(client, source, target, [(0, LEAST), (LEAST, LEAST + 9)])
            assert body_of(client, target, "k") == pattern(LEAST + 9, seed)


def _bad_ranges(name: str, ranges: tuple[str, ...], code: str, status: int) -> None:
    def try_ranges(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="source", Body=b"leaf")
        named, _ = begin(client, bucket, [])
        words = {**named, "PartNumber": 1, "CopySource": f"{bucket}/source"}
        for text in ranges:
            refused(code, client.upload_part_copy, **words, CopySourceRange=text, status=status)
        assert "Parts" not in client.list_parts(**named)

    enter("multipart", f"test_multipart_copy_{name}", try_ranges)


_bad_ranges("invalid_range", ("bytes=0-40", "bytes=4-4"), "InvalidRange", 416)
_improper = ("1-2", "bytes=1", "bytes=one-two", "bytes=1-two", "bytes=one-", "bytes=0-1,2-3", "bytes=1-", "bytes=2-1")
_bad_ranges("improper_range", _improper, "InvalidArgument", 400)
