"""Writes upon conditions, whole and in parts: only what is new, only what is still as it was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.services.storage.s3.conformance.table import enter, refused
from tests.services.storage.s3.conftest import Door

Write = Callable[..., dict[str, Any]]


class Writer:
    """Writes one key, whole or in parts."""

    def __init__(self, door: Door, bucket: str, *, in_parts: bool, versioned: bool) -> None:
        self.client, self.in_parts = door.client(), in_parts
        self.at = {"Bucket": bucket, "Key": "k"}
        self.count = 0
        if versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def _call(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        self.count += 1
        body = b"state %d" % self.count
        if not self.in_parts:
            return self.client.put_object, {**self.at, "Body": body}
        upload = self.client.create_multipart_upload(**self.at)["UploadId"]
        part = self.client.upload_part(**self.at, UploadId=upload, PartNumber=1, Body=body)
        named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return self.client.complete_multipart_upload, {**self.at, "UploadId": upload, "MultipartUpload": named}

    def done(self, **condition: str) -> str:
        """Write; return the ETag."""
        call, words = self._call()
        etag: str = call(**words, **condition)["ETag"]
        return etag

    def failed(self, **condition: str) -> None:
        call, words = self._call()
        refused("PreconditionFailed", call, status=412, **words, **condition)

    def missing(self) -> None:
        """No object is there to match."""
        for value in ("*", '"other"'):
            call, words = self._call()
            refused("NoSuchKey", call, status=404, **words, IfMatch=value)

    def remove(self) -> None:
        self.client.delete_object(**self.at)


def _matching(door: Door, bucket: str, *, in_parts: bool, versioned: bool) -> None:
    writer = Writer(door, bucket, in_parts=in_parts, versioned=versioned)
    writer.missing()
    first = writer.done(IfNoneMatch='"other"')
    second = writer.done(IfMatch="*")
    for value in ('"other"', first):  # what was before is not what is
        writer.failed(IfMatch=value)
    third = writer.done(IfMatch=second)
    writer.remove()
    writer.missing()  # a delete marker is no object
    writer.done(IfNoneMatch=third)


def _not_matching(door: Door, bucket: str, *, in_parts: bool, versioned: bool) -> None:
    writer = Writer(door, bucket, in_parts=in_parts, versioned=versioned)
    first = writer.done(IfNoneMatch="*")
    second = writer.done()
    for value in ("*", second):
        writer.failed(IfNoneMatch=value)
    for value in (first, '"other"'):
        writer.done(IfNoneMatch=value)
    writer.remove()
    writer.done(IfNoneMatch="*")


for _name, _check, _in_parts, _versioned in (
    ("put_object_if_match", _matching, False, False),
    ("put_object_current_if_match", _matching, False, True),
    ("put_current_object_if_match", _matching, False, True),
    ("put_current_object_if_none_match", _not_matching, False, True),
    ("multipart_put_object_if_match", _matching, True, False),
    ("multipart_put_current_object_if_match", _matching, True, True),
    ("multipart_put_current_object_if_none_match", _not_matching, True, True),
):

    def _run(
        door: Door, bucket: str, check: Any = _check, in_parts: bool = _in_parts, versioned: bool = _versioned
    ) -> None:
        check(door, bucket, in_parts=in_parts, versioned=versioned)

    enter("conditions", f"test_{_name}", _run)
