"""A gateway's upkeep in a network."""

from __future__ import annotations

import asyncio

import pytest

from fieldstone.errors import Retryable
from fieldstone.services.storage.membership import _again


@pytest.mark.parametrize("fault", [Retryable("the network is away"), KeyError("a bug of ours")])
async def test_upkeep_outlives_a_failure(fault: Exception) -> None:
    done = asyncio.Event()
    calls = 0

    async def once() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise fault
        done.set()

    task = asyncio.create_task(_again("test", once, 0.0))
    try:
        await asyncio.wait_for(done.wait(), 10)
        assert not task.done()
    finally:
        task.cancel()
