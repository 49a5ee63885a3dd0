"""Two gateway processes on one PostgreSQL, asked the same at the same instant."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.services.storage.s3.server.conftest import Process, Refused

MIB = 1 << 20


@pytest.fixture
def doors(postgres_url: str, tmp_path: Path) -> Iterator[list[Any]]:
    """Clients of both gateways."""
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    both = [Process(tmp_path, postgres_url) for _ in range(2)]
    for one in both:
        one.start()
    yield [one.client() for one in both]
    for one in both:
        assert one.stop() == 0


def at_once(doors: list[Any], ask: Callable[[Any, int], Any]) -> list[Any]:
    """Return what both answer: the answer or S3's code."""
    begun = threading.Barrier(len(doors))
    answers: list[Any] = [None] * len(doors)

    def run(number: int) -> None:
        begun.wait()
        try:
            answers[number] = ask(doors[number], number)
        except ClientError as error:
            answers[number] = error.response["Error"]["Code"]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(doors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_two_gateways_decide_as_one(doors: list[Any]) -> None:
    doors[0].create_bucket(Bucket="both")
    of_those_who_create_one_object_one_does(doors)
    those_who_complete_one_upload_both_did(doors)
    of_those_who_complete_it_from_other_parts_one_does(doors)
    who_overwrites_and_who_deletes_leave_the_one_or_nothing(doors)
    a_bucket_goes_only_when_nobody_writes_to_it(doors)


def of_those_who_create_one_object_one_does(doors: list[Any]) -> None:
    for number in range(8):
        key, bodies = f"new{number}", [os.urandom(6_000 * (1 + i)) for i in range(2)]
        answers = at_once(
            doors, lambda s3, i, k=key, b=bodies: s3.put_object(Bucket="both", Key=k, Body=b[i], IfNoneMatch="*")
        )  # fmt: skip
        won = [isinstance(answer, dict) for answer in answers]
        assert sorted(won) == [False, True], answers
        assert answers[won.index(False)] in ("PreconditionFailed", "ConditionalRequestConflict")
        for s3 in doors:
            assert s3.get_object(Bucket="both", Key=key)["Body"].read() == bodies[won.index(True)]


BODIES = [os.urandom(5 * MIB), b"end"]


def uploaded(doors: list[Any]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Begin an upload and send a part through each gateway; return its name and parts."""
    named = {"Bucket": "both", "Key": "whole"}
    named["UploadId"] = doors[0].create_multipart_upload(**named)["UploadId"]
    etags = [s3.upload_part(**named, PartNumber=n, Body=BODIES[n - 1])["ETag"] for n, s3 in enumerate(doors, 1)]
    return named, [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]


def those_who_complete_one_upload_both_did(doors: list[Any]) -> None:
    named, parts = uploaded(doors)
    done = at_once(doors, lambda s3, _: s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})["ETag"])
    assert done[0] == done[1] and done[0].endswith('-2"')
    for s3 in doors:
        assert s3.get_object(Bucket="both", Key="whole")["Body"].read() == b"".join(BODIES)


def of_those_who_complete_it_from_other_parts_one_does(doors: list[Any]) -> None:
    named, parts = uploaded(doors)
    done = at_once(
        doors, lambda s3, i: s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts[: 1 + i]})["ETag"]
    )
    assert sorted(answer == "NoSuchUpload" for answer in done) == [False, True], done
    whole = [BODIES[0], b"".join(BODIES)][0 if done[1] == "NoSuchUpload" else 1]
    for s3 in doors:
        assert s3.get_object(Bucket="both", Key="whole")["Body"].read() == whole


def who_overwrites_and_who_deletes_leave_the_one_or_nothing(doors: list[Any]) -> None:
    for number in range(4):
        body = os.urandom(20_000)
        at_once(
            doors,
            lambda s3, i, b=body: (
                s3.put_object(Bucket="both", Key="whole", Body=b) if i else s3.delete_object(Bucket="both", Key="whole")
            ),
        )
        found = {_read(s3, "whole") for s3 in doors}
        assert found in ({body}, {None}), number


def _read(s3: Any, key: str) -> bytes | None:
    try:
        return bytes(s3.get_object(Bucket="both", Key=key)["Body"].read())
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchKey"
        return None


def a_bucket_goes_only_when_nobody_writes_to_it(doors: list[Any]) -> None:
    for number in range(6):
        name = f"goes{number}"
        doors[0].create_bucket(Bucket=name)
        doors[1].head_bucket(Bucket=name)
        deleted, put = at_once(
            doors,
            lambda s3, i, b=name: (
                s3.put_object(Bucket=b, Key="k", Body=bytes(9_000)) if i else s3.delete_bucket(Bucket=b)
            ),
        )
        if isinstance(put, dict):
            assert deleted == "BucketNotEmpty"
            assert doors[0].get_object(Bucket=name, Key="k")["Body"].read() == bytes(9_000)
        else:
            assert put == "NoSuchBucket" and isinstance(deleted, dict)
            with Refused("NoSuchBucket"):
                doors[0].get_object(Bucket=name, Key="k")
