"""Reads and writes of one key at once: each is whole, whatever else happens while its bytes travel."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from typing import Any

from tests.services.storage.s3.conformance.table import case, enter, fill
from tests.services.storage.s3.conftest import Door

MIB = 2**20
SIZES = (("1mb", MIB), ("4mb", 4 * MIB), ("8mb", 8 * MIB))


def held_up(
    door: Door, method: str, words: dict[str, Any], data: bytes, meanwhile: Callable[[], Any], **headers: str
) -> tuple[int, str, str]:
    """Send a body but for its last bytes, do something, send the rest; return (status, error code, ETag)."""
    url = door.client(signature_version="s3v4").generate_presigned_url(method, Params=words)
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    try:
        connection.putrequest("PUT", url.split(str(door.port), 1)[1])
        for name, value in {"content-length": str(len(data)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        connection.send(data[:-7])
        meanwhile()
        connection.send(data[-7:])
        answer = connection.getresponse()
        body = answer.read().decode()
        code = re.search(r"<Code>(\w+)</Code>", body)
        return answer.status, code[1] if code else "", answer.headers.get("etag", "")
    finally:
        connection.close()


def _is(door: Door, bucket: str, letter: bytes, size: int) -> None:
    assert door.client().get_object(Bucket=bucket, Key="k")["Body"].read() == letter * size


def _read(size: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="k", Body=b"a" * size)
        body = client.get_object(Bucket=bucket, Key="k")["Body"]
        first = body.read(1000)
        client.put_object(Bucket=bucket, Key="k", Body=b"b" * size)
        assert first + body.read() == b"a" * size
        _is(door, bucket, b"b", size)

    return run


def _write(size: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        door.client().put_object(Bucket=bucket, Key="k", Body=b"a" * size)
        at = {"Bucket": bucket, "Key": "k"}
        assert held_up(door, "put_object", at, b"b" * size, lambda: _is(door, bucket, b"a", size))[0] == 200
        _is(door, bucket, b"b", size)

    return run


def _dual(size: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        def other() -> None:
            door.client().put_object(Bucket=bucket, Key="k", Body=b"a" * size)
            _is(door, bucket, b"a", size)

        assert held_up(door, "put_object", {"Bucket": bucket, "Key": "k"}, b"b" * size, other)[0] == 200
        _is(door, bucket, b"b", size)  # who ends last has the key

    return run


for _name, _size in SIZES:
    enter("conditions", f"test_atomic_read_{_name}", _read(_size))
    enter("conditions", f"test_atomic_write_{_name}", _write(_size))
    enter("conditions", f"test_atomic_dual_write_{_name}", _dual(_size))


@case("conditions", "test_atomic_conditional_write_1mb")
def a_write_upon_whatever_is_there(door: Door, bucket: str) -> None:
    door.client().put_object(Bucket=bucket, Key="k", Body=b"a" * MIB)
    at = {"Bucket": bucket, "Key": "k"}
    done = held_up(door, "put_object", at, b"b" * MIB, lambda: _is(door, bucket, b"a", MIB), if_match="*")
    assert done[0] == 200
    _is(door, bucket, b"b", MIB)


@case("conditions", "test_atomic_dual_conditional_write_1mb")
def of_two_writes_upon_one_state_one_wins(door: Door, bucket: str) -> None:
    client = door.client()
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"a" * MIB)["ETag"]

    def other() -> None:
        client.put_object(Bucket=bucket, Key="k", Body=b"b" * MIB, IfMatch=etag)

    done = held_up(door, "put_object", {"Bucket": bucket, "Key": "k"}, b"c" * MIB, other, if_match=etag)
    assert done[:2] == (412, "PreconditionFailed")
    _is(door, bucket, b"b", MIB)


@case("conditions", "test_atomic_write_bucket_gone")
def a_bucket_goes_while_bytes_travel(door: Door, bucket: str) -> None:
    def remove() -> None:
        door.client().delete_bucket(Bucket=bucket)

    done = held_up(door, "put_object", {"Bucket": bucket, "Key": "k"}, b"a" * MIB, remove)
    assert done[:2] == (404, "NoSuchBucket")


@case("multipart", "test_atomic_multipart_upload_write")
def an_upload_in_parts_is_nothing_until_it_is_complete(door: Door, bucket: str) -> None:
    client = door.client()
    fill(client, bucket, "k")
    begun = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    client.upload_part(Bucket=bucket, Key="k", UploadId=begun, PartNumber=1, Body=b"other")
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
    client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=begun)
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"


@case("multipart", "test_multipart_resend_first_finishes_last")
def the_part_that_ends_last_counts(door: Door, bucket: str) -> None:
    client = door.client()
    at = {"Bucket": bucket, "Key": "k", "UploadId": client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]}

    def other() -> None:
        client.upload_part(**at, PartNumber=1, Body=b"b" * 9000)

    status, _, etag = held_up(door, "upload_part", {**at, "PartNumber": 1}, b"a" * 9000, other)
    assert status == 200
    client.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    _is(door, bucket, b"a", 9000)


def at_once(*calls: Callable[[], Any]) -> None:
    """Run calls in threads of their own and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _versions(client: Any, bucket: str) -> list[dict[str, Any]]:
    return client.list_object_versions(Bucket=bucket).get("Versions", [])


def _removals(client: Any, bucket: str) -> list[Callable[[], Any]]:
    return [
        lambda v=v: client.delete_object(Bucket=bucket, Key=v["Key"], VersionId=v["VersionId"])
        for v in _versions(client, bucket)
    ]


@case("versions", "test_versioned_concurrent_object_create_concurrent_remove")
def versions_come_at_once_and_go_at_once(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        at_once(*(lambda i=i: fill(client, bucket, "k") for i in range(5)))
        assert len(_versions(client, bucket)) == 5
        at_once(*_removals(client, bucket))
        assert _versions(client, bucket) == []


@case("versions", "test_versioned_concurrent_object_create_and_remove")
def versions_come_while_others_go(door: Door, bucket: str) -> None:
    client = door.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        at_once(*(lambda i=i: fill(client, bucket, "k") for i in range(3)), *_removals(client, bucket))
    assert _versions(client, bucket)
    at_once(*_removals(client, bucket))
    assert _versions(client, bucket) == []
