"""Conditional reads and writes."""

from __future__ import annotations

from typing import Any

from tests.services.storage.s3.conformance.raw import Reply, send
from tests.services.storage.s3.conformance.table import case, enter, refused
from tests.services.storage.s3.conftest import Door

OLD, NEW = b"first leaf", b"second leaf"
LONG_AGO, FAR_OFF = "Thu, 05 Jan 1995 08:00:00 GMT", "Sat, 05 Jan 2075 08:00:00 GMT"
OTHER = '"0123456789abcdef0123456789abcdef"'


def _read(name: str, header: str, value: str | None, status: int) -> None:
    """`value` None: the object's own tag, or where the header is a date, the object's own."""

    def try_read(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="k", Body=OLD)
        head = client.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]
        own = head["last-modified"] if header.endswith("since") else head["etag"]
        reply = send(door, "GET", f"/{bucket}/k", {header: own if value is None else value})
        assert reply.status == status
        assert reply.body == (OLD if status == 200 else b"" if status == 304 else reply.body)
        assert reply.code == ("PreconditionFailed" if status == 412 else "")

    enter("conditions", f"test_get_object_{name}", try_read)


_read("ifmatch_good", "if-match", None, 200)
_read("ifmatch_failed", "if-match", OTHER, 412)
_read("ifnonematch_good", "if-none-match", None, 304)
_read("ifnonematch_failed", "if-none-match", OTHER, 200)
_read("ifmodifiedsince_good", "if-modified-since", LONG_AGO, 200)
_read("ifmodifiedsince_failed", "if-modified-since", None, 304)
_read("ifunmodifiedsince_good", "if-unmodified-since", LONG_AGO, 412)
_read("ifunmodifiedsince_failed", "if-unmodified-since", FAR_OFF, 200)


@case("conditions")
def a_304_has_the_words_that_clients_show(door: Door, bucket: str) -> None:
    etag = door.client().put_object(Bucket=bucket, Key="k", Body=OLD)["ETag"]
    error = refused("304", door.client().get_object, Bucket=bucket, Key="k", IfNoneMatch=etag, status=304)
    assert error["Error"]["Message"] == "Not Modified"


def _put(door: Door, bucket: str, header: str, value: str) -> Reply:
    return send(door, "PUT", f"/{bucket}/k", {header: value}, NEW)


def _write(name: str, header: str, value: str | None, code: str, *, exists: bool = True) -> None:
    """`value` None: the object's own tag, without its quotes."""

    def try_write(door: Door, bucket: str) -> None:
        client: Any = door.client()
        etag = client.put_object(Bucket=bucket, Key="k", Body=OLD)["ETag"] if exists else OTHER
        reply = _put(door, bucket, header, etag.strip('"') if value is None else value)
        assert (reply.status, reply.code) == ({"": 200, "NoSuchKey": 404}.get(code, 412), code)
        if code and not exists:
            refused("NoSuchKey", client.get_object, Bucket=bucket, Key="k", status=404)
        else:
            assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == (OLD if code else NEW)

    enter("conditions", f"test_put_object_{name}", try_write)


_write("ifmatch_good", "if-match", None, "")
_write("ifmatch_failed", "if-match", OTHER, "PreconditionFailed")
_write("ifmatch_overwrite_existed_good", "if-match", "*", "")
_write("ifmatch_nonexisted_failed", "if-match", "*", "NoSuchKey", exists=False)
_write("ifnonmatch_good", "if-none-match", OTHER, "")
_write("ifnonmatch_failed", "if-none-match", None, "PreconditionFailed")
_write("ifnonmatch_nonexisted_good", "if-none-match", "*", "", exists=False)
_write("ifnonmatch_overwrite_existed_failed", "if-none-match", "*", "PreconditionFailed")


# ---- copies and deletions --------------------------------------------------------------------------------------------


@case("conditions")
def copies_ask_about_their_source(door: Door, bucket: str) -> None:
    client = door.client()
    etag = client.put_object(Bucket=bucket, Key="k", Body=OLD)["ETag"]
    words = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/k"}
    for good in (
        {"CopySourceIfMatch": etag},
        {"CopySourceIfNoneMatch": OTHER},
        {"CopySourceIfModifiedSince": LONG_AGO},
    ):
        client.copy_object(**words, **good)
        client.delete_object(Bucket=bucket, Key="copy")
    for bad in (
        {"CopySourceIfMatch": OTHER},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfUnmodifiedSince": LONG_AGO},
    ):
        refused("PreconditionFailed", client.copy_object, status=412, **words, **bad)
    refused("404", client.head_object, Bucket=bucket, Key="copy")


@case("conditions")
def deletions_ask_about_what_they_delete(door: Door, bucket: str) -> None:
    client = door.client()
    etag = client.put_object(Bucket=bucket, Key="k", Body=OLD)["ETag"]
    refused("PreconditionFailed", client.delete_object, Bucket=bucket, Key="k", IfMatch=OTHER, status=412)
    client.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    refused("404", client.head_object, Bucket=bucket, Key="k")


@case("conditions")
def completions_ask_before_they_replace(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_object(Bucket=bucket, Key="k", Body=OLD)
    named = {"Bucket": bucket, "Key": "k"}
    named["UploadId"] = client.create_multipart_upload(**named)["UploadId"]
    etag = client.upload_part(**named, PartNumber=1, Body=NEW)["ETag"]
    words = {**named, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": etag}]}}
    refused("PreconditionFailed", client.complete_multipart_upload, status=412, **words, IfNoneMatch="*")
    refused("PreconditionFailed", client.complete_multipart_upload, status=412, **words, IfMatch=OTHER)
    client.complete_multipart_upload(**words, IfMatch=client.head_object(Bucket=bucket, Key="k")["ETag"])
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == NEW
