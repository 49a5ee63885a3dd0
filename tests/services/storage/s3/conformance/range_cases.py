"""Parts of an object by Range: which bytes, which status, what cannot be had."""

from __future__ import annotations

from typing import Any

from tests.services.storage.s3.conformance.table import enter, refused
from tests.services.storage.s3.conftest import Door

SMALL, BIG = b"0123456789abc", bytes(range(256)) * 2**15


def _served(data: bytes, stated: str, start: int, end: int) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="k", Body=data)
        got = client.get_object(Bucket=bucket, Key="k", Range=f"bytes={stated}")
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes {start}-{end - 1}/{len(data)}"
        assert (got["ContentLength"], got["Body"].read()) == (end - start, data[start:end])

    return run


def _nothing(data: bytes, stated: str) -> Any:
    def run(door: Door, bucket: str) -> None:
        client = door.client()
        client.put_object(Bucket=bucket, Key="k", Body=data)
        refused("InvalidRange", client.get_object, Bucket=bucket, Key="k", Range=f"bytes={stated}", status=416)

    return run


for _name, _case in (
    ("response_code", _served(SMALL, "3-8", 3, 9)),
    ("skip_leading_bytes_response_code", _served(SMALL, "5-", 5, 13)),
    ("return_trailing_bytes_response_code", _served(SMALL, "-6", 7, 13)),
    ("invalid_range", _nothing(SMALL, "13-20")),
    ("empty_object", _nothing(b"", "0-4")),
):
    enter("ranges", f"test_ranged_request_{_name}", _case)
enter("ranges", "test_ranged_big_request_response_code", _served(BIG, "3000001-5000002", 3_000_001, 5_000_003))
