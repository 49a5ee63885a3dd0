"""Answers that take long: quick ones are as they are, slow ones begin and keep the connection alive, faults included."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.s3 import xml
from fieldstone.services.storage.s3.errors import S3Error
from fieldstone.services.storage.s3.server.exchange import Answer
from fieldstone.services.storage.s3.server.metrics import Metrics
from fieldstone.services.storage.s3.server.patience import patiently

CALL: Any = SimpleNamespace(
    request_id="R", target=SimpleNamespace(operation="CopyObject", resource="/b/k"), gateway=SimpleNamespace()
)


async def later(turns: int, error: Exception | None = None) -> Answer:
    for _ in range(turns):
        await asyncio.sleep(0.001)
    if error is not None:
        raise error
    return Answer.document("CopyObjectResult", [("ETag", "e")])


async def whole(answer: Answer) -> bytes:
    assert answer.stream is not None
    return b"".join([bytes(piece) async for piece in answer.stream])


async def test_what_is_quick_is_answered_as_it_is() -> None:
    answer = await patiently(CALL, later(1))
    assert (answer.stream, answer.body) == (None, (await later(0)).body)
    with pytest.raises(S3Error, match="NoSuchKey"):
        await patiently(CALL, later(1, S3Error("NoSuchKey")))


async def test_what_is_slow_begins_and_goes_on_with_blanks() -> None:
    answer = await patiently(CALL, later(20), patience_s=0.0001)
    assert (answer.status, answer.length) == (200, None)
    said = await whole(answer)
    assert said.startswith(b"<?xml version") and said.count(b"<?xml") == 1
    assert b"?>\n  " in said
    assert xml.parse(said, "CopyObjectResult").value("ETag") == "e"


async def test_what_goes_wrong_late_is_an_error_document() -> None:
    CALL.gateway.metrics = Metrics()
    answer = await patiently(CALL, later(3, CatalogFault("NoSuchKey")), patience_s=0.0001)
    said = await whole(answer)
    assert xml.parse(said, "Error").value("Code") == "NoSuchKey"
    assert CALL.gateway.metrics.errors == {"NoSuchKey": 1}


async def test_who_does_not_wait_for_the_end_ends_the_work() -> None:
    ended = asyncio.Event()

    async def never() -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    answer = await patiently(CALL, never(), patience_s=0.0001)
    assert answer.stream is not None
    await anext(answer.stream)
    await answer.stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(ended.wait(), 1)
