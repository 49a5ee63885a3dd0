"""The table of behaviours: every case is (group, name, function), so that groups can be counted and published.

A case that stands for a test of the public ceph s3-tests suite bears that test's name, so that `names_*.txt`, which say
what became of every public test, can be held against the table. The cases themselves are our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

# (door) or (door, bucket): a case that names no bucket gets none, which saves five requests
Case = Callable[..., None]
CASES: list[tuple[str, str, Case]] = []
_F = TypeVar("_F", bound=Case)
_LINE = re.compile(r"(test_\w+) (passes|differs: .+|not applicable: .+)")


def case(group: str, name: str | None = None) -> Callable[[_F], _F]:
    """Enter a function into the table under a group of behaviours, by its own name or a public test's."""

    def put(function: _F) -> _F:
        enter(group, name or function.__name__, function)
        return function

    return put


def enter(group: str, name: str, function: Case) -> None:
    """Enter one case; for rows of data that share a function."""
    CASES.append((group, name, function))


def public_names() -> dict[str, str]:
    """Return public test → `passes`, `differs: why` or `not applicable: why`."""
    found: dict[str, str] = {}
    for file in sorted(Path(__file__).parent.glob("names_*.txt")):
        for line in file.read_text().splitlines():
            if line and not line.startswith("#"):
                match = _LINE.fullmatch(line)
                assert match is not None, f"{file.name}: {line!r} is not `name status`"
                assert match[1] not in found, f"{match[1]} is listed twice"
                found[match[1]] = match[2]
    return found


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
