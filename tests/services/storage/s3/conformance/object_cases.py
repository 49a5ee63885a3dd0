"""Objects: what is written comes back, with its headers and metadata, and what is gone is gone."""

from __future__ import annotations

import datetime
import hashlib
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from email.header import decode_header, make_header
from typing import Any

from tests.services.storage.s3.conformance.raw import send
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door


@case("objects", "test_object_read_not_exist")
def what_was_never_written(door: Door, bucket: str) -> None:
    refused("NoSuchKey", door.client().get_object, Bucket=bucket, Key="k", status=404)


@case("objects", "test_object_requestid_matches_header_on_error")
def an_error_names_its_request(door: Door, bucket: str) -> None:
    reply = send(door, "GET", f"/{bucket}/k")
    said = ElementTree.fromstring(reply.body).findtext("RequestId")
    assert said is not None
    assert said == reply.headers["x-amz-request-id"]


@case("objects", "test_object_head_zero_bytes")
def nothing_is_something(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"")
    assert door.client().head_object(Bucket=bucket, Key="k")["ContentLength"] == 0


@case("objects", "test_object_write_check_etag")
def the_etag_is_the_md5(door: Door, bucket: str) -> None:
    put = door.client().put_object(Bucket=bucket, Key="k", Body=b"moss")
    assert put["ETag"] == f'"{hashlib.md5(b"moss").hexdigest()}"'


@case("objects", "test_object_write_cache_control")
def cache_control_is_kept(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"", CacheControl="private, max-age=77")
    head = door.client().head_object(Bucket=bucket, Key="k")
    assert head["ResponseMetadata"]["HTTPHeaders"]["cache-control"] == "private, max-age=77"


@case("objects", "test_object_write_expires")
def so_is_expires(door: Door, bucket: str) -> None:
    when = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=3)
    door.client().put_object(Bucket=bucket, Key="k", Body=b"", Expires=when)
    assert door.client().head_object(Bucket=bucket, Key="k")["Expires"] == when


@case("objects", "test_object_write_read_update_read_delete")
def a_whole_life(door: Door, bucket: str) -> None:
    client = door.client()
    for body in (b"seed", b"tree with many branches"):
        client.put_object(Bucket=bucket, Key="k", Body=body)
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    client.delete_object(Bucket=bucket, Key="k")
    refused("404", client.head_object, Bucket=bucket, Key="k")


@case("objects", "test_object_write_file")
def a_body_that_waits_for_its_call(door: Door, bucket: str) -> None:
    # a reader of a file: botocore sends `Expect: 100-continue` and waits
    with open(__file__, "rb") as file:
        door.client().put_object(Bucket=bucket, Key="k", Body=file)
        file.seek(0)
        assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == file.read()


@case("objects", "test_object_write_with_chunked_transfer_encoding")
def a_body_may_come_in_chunks_of_http(door: Door, bucket: str) -> None:
    words = {"content-length": None, "transfer-encoding": "chunked"}
    assert send(door, "PUT", f"/{bucket}/k", words, b"4\r\nmoss\r\n3\r\non \r\n0\r\n\r\n").status == 200
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"mosson "


@case("objects", "test_object_content_encoding_aws_chunked")
def the_frame_of_a_request_is_not_the_objects(door: Door, bucket: str) -> None:
    client = door.client()
    for sent, kept in (
        ("br", "br"),
        ("deflate, br", "deflate, br"),
        ("br, aws-chunked", "br"),
        ("aws-chunked, br", "br"),
        ("aws-chunked", None),
        ("aws-chunked, aws-chunked", None),
    ):
        client.put_object(Bucket=bucket, Key="k", Body=b"", ContentEncoding=sent)
        assert client.head_object(Bucket=bucket, Key="k").get("ContentEncoding") == kept


# ---- deleting many ---------------------------------------------------------------------------------------------------


def _many(name: str, version: int) -> None:
    def listed(door: Door, bucket: str) -> list[str]:
        client = door.client()
        page = (client.list_objects if version == 1 else client.list_objects_v2)(Bucket=bucket)
        return [entry["Key"] for entry in page.get("Contents", ())]

    def delete(door: Door, bucket: str) -> None:
        fill(door.client(), bucket, "ash", "elm", "oak")
        assert listed(door, bucket) == ["ash", "elm", "oak"]
        for _ in range(2):  # what is gone may be deleted again
            wanted: Any = {"Objects": [{"Key": "ash"}, {"Key": "elm"}, {"Key": "oak"}]}
            answer = door.client().delete_objects(Bucket=bucket, Delete=wanted)
            assert [entry["Key"] for entry in answer["Deleted"]] == ["ash", "elm", "oak"]
            assert "Errors" not in answer
            assert listed(door, bucket) == []

    def too_many(door: Door, bucket: str) -> None:
        fill(door.client(), bucket, "0")
        wanted = {"Objects": [{"Key": str(number)} for number in range(1001)]}
        refused("MalformedXML", door.client().delete_objects, Bucket=bucket, Delete=wanted, status=400)
        assert listed(door, bucket) == ["0"]

    enter("objects", name, delete)
    enter("objects", name + "_key_limit", too_many)


_many("test_multi_object_delete", 1)
_many("test_multi_objectv2_delete", 2)


@case("versions", "test_versioning_concurrent_multi_object_delete")
def many_may_delete_the_same_at_once(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        fill(client, bucket, "ash", "elm", "oak")
    listed = client.list_object_versions(Bucket=bucket)["Versions"]
    wanted = {"Objects": [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in listed]}
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: client.delete_objects(Bucket=bucket, Delete=wanted), range(5)))
    assert [(len(answer["Deleted"]), answer.get("Errors")) for answer in answers] == [(6, None)] * 5
    left = client.list_object_versions(Bucket=bucket)
    assert "Versions" not in left
    assert "DeleteMarkers" not in left


# ---- metadata --------------------------------------------------------------------------------------------------------


def _metadata(name: str, *values: str) -> None:
    def try_values(door: Door, bucket: str) -> None:
        client = door.client()
        for value in values:
            client.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"leaf": value})
            assert client.get_object(Bucket=bucket, Key="k")["Metadata"] == {"leaf": value}

    enter("objects", f"test_object_set_get_metadata_{name}", try_values)


_metadata("none_to_good", "lobed")
_metadata("none_to_empty", "")
_metadata("overwrite_to_empty", "lobed", "")


@case("objects", "test_object_metadata_replaced_on_put")
def a_new_write_says_everything_anew(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"leaf": "lobed"})
    door.client().put_object(Bucket=bucket, Key="k", Body=b"")
    assert door.client().get_object(Bucket=bucket, Key="k")["Metadata"] == {}


@case("objects", "test_object_set_get_unicode_metadata")
def text_outside_ascii_comes_back_as_words_of_rfc_2047(door: Door, bucket: str) -> None:
    door.client().put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    for sent, meant in (("Bl\xe4tter", "Blätter"), ("Bl\xc3\xa4tter", "Blätter")):  # as Latin-1, as UTF-8
        words = {"x-amz-meta-leaf": sent, "x-amz-acl": "public-read"}
        assert send(door, "PUT", f"/{bucket}/k", words, account=None).status == 200  # signers differ on such bytes
        kept = door.client().get_object(Bucket=bucket, Key="k")["Metadata"]["leaf"]
        assert kept.isascii()
        assert str(make_header(decode_header(kept))) == meant


def _unreadable(name: str, value: str) -> None:
    def try_value(door: Door, bucket: str) -> None:
        assert send(door, "PUT", f"/{bucket}/k", {"x-amz-meta-leaf": value}).status == 400
        refused("404", door.client().head_object, Bucket=bucket, Key="k")

    enter("objects", f"test_object_set_get_{name}", try_value)


_unreadable("non_utf8_metadata", "\x04lobed")
_unreadable("metadata_empty_to_unreadable_prefix", "\x04l")
_unreadable("metadata_empty_to_unreadable_suffix", "l\x04")
_unreadable("metadata_empty_to_unreadable_infix", "l\x04b")
