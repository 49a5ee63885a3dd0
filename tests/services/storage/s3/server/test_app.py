"""What a client is told of a failure inside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fieldstone.errors import Retryable
from fieldstone.services.storage.s3.server.app import S3App
from fieldstone.services.storage.s3.server.metrics import Metrics


@pytest.mark.parametrize(
    ("cause", "told"), [(None, b"too few storage nodes"), (OSError("host 10.0.0.5"), b"Please reduce")]
)
def test_what_a_database_says_of_itself_is_for_the_log(cause: Exception | None, told: bytes) -> None:
    gateway: Any = SimpleNamespace(metrics=Metrics())
    failure = Retryable("too few storage nodes: host 10.0.0.5; try again" if cause else "too few storage nodes")
    failure.__cause__ = cause
    answer = S3App(gateway)._failure(failure, {"method": "PUT", "raw_path": b"/b/k"}, "1", {})
    assert answer.status == 503 and told in answer.body
    assert b"10.0.0.5" not in answer.body
