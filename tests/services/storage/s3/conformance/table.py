"""The table of behaviours: every case is (group, name, function), so that groups can be counted and published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.services.storage.s3.conftest import Door

Case = Callable[[Door, str], None]
CASES: list[tuple[str, str, Case]] = []


def case(group: str) -> Callable[[Case], Case]:
    """Enter a function into the table under a group of behaviours; its name says what holds."""

    def enter(function: Case) -> Case:
        CASES.append((group, function.__name__, function))
        return function

    return enter


def refused(code: str, call: Callable[..., Any], *, status: int | None = None, **words: Any) -> dict[str, Any]:
    """Call and check the error code (HEAD has only the status as its code)."""
    with pytest.raises(ClientError) as caught:
        call(**words)
    response: dict[str, Any] = caught.value.response
    assert response["Error"]["Code"] == code, response["Error"]
    if status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    return response


def fill(client: Any, bucket: str, *keys: str) -> None:
    """Write objects whose bytes are their names."""
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
