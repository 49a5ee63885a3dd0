"""Checksums of objects, parts and wholes, and what GetObjectAttributes tells of them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from fieldstone.services.storage.codes import checksums as codes
from tests.services.storage.s3.conformance.post_cases import moment, post, signed
from tests.services.storage.s3.conformance.table import case, enter, fill, refused
from tests.services.storage.s3.conftest import Door

MIB = 2**20
FULL_OBJECT = ("CRC32", "CRC32C", "CRC64NVME")


def checksum(algorithm: str, data: bytes) -> str:
    digest = codes.new(algorithm)  # type: ignore[arg-type]
    digest.update(data)
    return base64.b64encode(digest.digest()).decode()


def _of_an_object(algorithm: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        client, data, field = door.client(), b"leaf" * 700, f"Checksum{algorithm}"
        value = checksum(algorithm, data)
        put = client.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm, **{field: value})
        assert (put[field], put["ChecksumType"]) == (value, "FULL_OBJECT")
        assert client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[field] == value
        wrong = {field: checksum(algorithm, b"other")}
        refused("BadDigest", client.put_object, Bucket=bucket, Key="k", Body=data, status=400, **wrong)
        malformed = {field: "bad"}
        refused("InvalidRequest", client.put_object, Bucket=bucket, Key="k", Body=data, status=400, **malformed)

    return run


enter("checksums", "test_object_checksum_sha256", _of_an_object("SHA256"))
enter("checksums", "test_object_checksum_crc64nvme", _of_an_object("CRC64NVME"))


@case("checksums", "test_post_object_upload_checksum")
def a_form_states_a_checksum(door: Door, bucket: str) -> None:
    data = b"leaf" * 90
    for key, stated, status in (("k", checksum("SHA256", data), 204), ("wrong", checksum("SHA256", b"other"), 400)):
        form = {"key": key, "x-amz-checksum-sha256": stated}
        conditions = [{"bucket": bucket}, *({name: value} for name, value in form.items())]
        fields = {**form, **signed(door, {"expiration": moment(600), "conditions": conditions})}
        assert post(door, bucket, fields, data).status == status
    head = door.client().head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == checksum("SHA256", data)
    refused("404", door.client().head_object, Bucket=bucket, Key="wrong")


class Upload:
    """An upload in parts under one algorithm."""

    def __init__(self, door: Door, bucket: str, algorithm: str, bodies: list[bytes], key: str = "k") -> None:
        self.client, self.field, self.bodies = door.client(), f"Checksum{algorithm}", bodies
        self.algorithm = algorithm
        self.kind = "FULL_OBJECT" if algorithm in FULL_OBJECT else "COMPOSITE"
        at: dict[str, Any] = {"Bucket": bucket, "Key": key}
        begun = self.client.create_multipart_upload(**at, ChecksumAlgorithm=algorithm, ChecksumType=self.kind)
        assert (begun["ChecksumAlgorithm"], begun["ChecksumType"]) == (algorithm, self.kind)
        self.at = {**at, "UploadId": begun["UploadId"]}
        self.parts: list[dict[str, Any]] = []
        for number, body in enumerate(bodies, 1):
            stated = {self.field: checksum(algorithm, body), "ChecksumAlgorithm": algorithm}
            part = self.client.upload_part(**self.at, PartNumber=number, Body=body, **stated)
            assert part[self.field] == stated[self.field]
            self.parts.append({"PartNumber": number, "ETag": part["ETag"], self.field: part[self.field]})

    @property
    def whole(self) -> str:
        """The checksum that the whole should have."""
        if self.kind == "FULL_OBJECT":
            return checksum(self.algorithm, b"".join(self.bodies))
        digests = b"".join(base64.b64decode(part[self.field]) for part in self.parts)
        return f"{checksum(self.algorithm, digests)}-{len(self.parts)}"

    def complete(self, **words: Any) -> dict[str, Any]:
        done: dict[str, Any] = self.client.complete_multipart_upload(
            **self.at, **{"MultipartUpload": {"Parts": self.parts}, **words}
        )
        return done


def _of_parts(algorithm: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        upload = Upload(door, bucket, algorithm, [b"a" * 5 * MIB, b"b" * 5 * MIB, b"c" * 777])
        done = upload.complete(**{upload.field: upload.whole})
        assert (done[upload.field], done["ChecksumType"]) == (upload.whole, upload.kind)
        again = upload.complete(**{upload.field: upload.whole})  # asked again, it answers as before
        assert (again["ETag"], again[upload.field]) == (done["ETag"], upload.whole)
        client, at = door.client(), {"Bucket": bucket, "Key": "k"}
        assert client.head_object(**at, ChecksumMode="ENABLED")[upload.field] == upload.whole
        shown = client.get_object_attributes(**at, ObjectAttributes=["Checksum"])["Checksum"]
        assert (shown["ChecksumType"], shown[upload.field]) == (upload.kind, upload.whole.partition("-")[0])
        for part, body in zip(upload.parts, upload.bodies, strict=True):
            got = client.get_object(**at, PartNumber=part["PartNumber"], ChecksumMode="ENABLED")
            assert (got[upload.field], got["Body"].read() == body) == (part[upload.field], True)

    return run


for _algorithm in ("SHA256", "SHA1", "CRC32", "CRC32C", "CRC64NVME"):
    enter("checksums", f"test_multipart_use_cksum_helper_{_algorithm.lower()}", _of_parts(_algorithm))
enter("checksums", "test_multipart_reupload_checksum_and_etag", _of_parts("SHA256"))


@case("checksums", "test_multipart_checksum_sha256")
def wrong_checksums_complete_nothing(door: Door, bucket: str) -> None:
    upload = Upload(door, bucket, "SHA256", [b"abc" * 99])
    call, at = upload.client.complete_multipart_upload, upload.at
    named, other = {"Parts": upload.parts}, base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    refused("BadDigest", call, **at, MultipartUpload=named, ChecksumSHA256="bad", status=400)
    refused("BadDigest", call, **at, MultipartUpload=named, ChecksumSHA256=f"{other}-1", status=400)
    bare = {"Parts": [{"PartNumber": 1, "ETag": upload.parts[0]["ETag"]}]}
    refused("InvalidRequest", call, **at, MultipartUpload=bare, ChecksumSHA256=upload.whole, status=400)
    changed = {"Parts": [{**upload.parts[0], "ChecksumSHA256": other}]}
    refused("InvalidPart", call, **at, MultipartUpload=changed, ChecksumSHA256=upload.whole, status=400)
    assert upload.complete(ChecksumSHA256=upload.whole)["ChecksumSHA256"] == upload.whole
    head = upload.client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == upload.whole


# ---- attributes ------------------------------------------------------------------------------------------------------

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def _attributes(door: Door, bucket: str, **words: Any) -> dict[str, Any]:
    found = door.client().get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL, **words)
    etag = door.client().head_object(Bucket=bucket, Key="k")["ETag"].strip('"')
    assert (found["ETag"], found["StorageClass"]) == (etag, "STANDARD")
    return dict(found)


@case("checksums", "test_get_object_attributes")
def attributes_of_a_whole(door: Door, bucket: str) -> None:
    fill(door.client(), bucket, "k")
    found = _attributes(door, bucket)
    assert (found["ObjectSize"], "ObjectParts" in found) == (1, False)


@case("checksums", "test_get_checksum_object_attributes")
def attributes_show_the_checksum(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"abc", ChecksumAlgorithm="SHA256")
    assert _attributes(door, bucket)["Checksum"]["ChecksumSHA256"] == checksum("SHA256", b"abc")


def _parts(door: Door, bucket: str, sizes: list[int]) -> Upload:
    upload = Upload(door, bucket, "SHA256", [bytes([i]) * size for i, size in enumerate(sizes)])
    upload.complete()
    return upload


@case("checksums", "test_get_single_multipart_object_attributes")
def attributes_of_one_part(door: Door, bucket: str) -> None:
    _parts(door, bucket, [999])
    found = _attributes(door, bucket)
    assert found["ObjectSize"] == 999
    assert [(p["PartNumber"], p["Size"]) for p in found["ObjectParts"]["Parts"]] == [(1, 999)]


def _of_all_parts(door: Door, bucket: str) -> None:
    upload = _parts(door, bucket, [5 * MIB, 5 * MIB, 11])
    found = _attributes(door, bucket)
    shown = found["ObjectParts"]
    assert (found["ObjectSize"], shown["TotalPartsCount"], shown["IsTruncated"]) == (10 * MIB + 11, 3, False)
    listed = [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in shown["Parts"]]
    sizes = [len(body) for body in upload.bodies]
    assert listed == [(i, sizes[i - 1], upload.parts[i - 1]["ChecksumSHA256"]) for i in (1, 2, 3)]


enter("checksums", "test_get_multipart_checksum_object_attributes", _of_all_parts)
enter("checksums", "test_get_multipart_object_attributes", _of_all_parts)


@case("checksums", "test_get_paginated_multipart_object_attributes")
def attributes_of_parts_by_the_page(door: Door, bucket: str) -> None:
    _parts(door, bucket, [5 * MIB, 5 * MIB, 11])
    for after, most, numbers, truncated in ((0, 1, [1], True), (1, 1, [2], True), (1, 9, [2, 3], False)):
        shown = _attributes(door, bucket, MaxParts=most, PartNumberMarker=after)["ObjectParts"]
        assert (shown["TotalPartsCount"], shown["MaxParts"], shown["PartNumberMarker"]) == (3, most, after)
        assert (shown["IsTruncated"], shown["NextPartNumberMarker"]) == (truncated, numbers[-1])
        assert [p["PartNumber"] for p in shown["Parts"]] == numbers


@case("checksums", "test_get_versioned_object_attributes")
def attributes_of_a_version(door: Door, bucket: str) -> None:
    client, at = door.client(), {"Bucket": bucket, "Key": "k"}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    puts = [client.put_object(**at, Body=b"x" * size, ChecksumAlgorithm="CRC32C") for size in (3, 5)]
    for size, put in zip((3, 5), puts, strict=True):
        named = {"VersionId": put["VersionId"]} if size == 3 else {}
        found = client.get_object_attributes(**at, ObjectAttributes=ALL, **named)
        assert (found["VersionId"], found["ObjectSize"]) == (put["VersionId"], size)
        assert found["ETag"] == put["ETag"].strip('"')
        assert found["Checksum"]["ChecksumCRC32C"] == put["ChecksumCRC32C"]
        assert not found.get("DeleteMarker")
    marker = client.delete_object(**at)["VersionId"]
    call = client.get_object_attributes
    refused("NoSuchKey", call, **at, ObjectAttributes=ALL, status=404)
    refused("MethodNotAllowed", call, **at, ObjectAttributes=ALL, VersionId=marker, status=405)
