"""How the pool enters its database from an event loop: short transactions on a thread, answered when they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from fieldstone.state.engine import reading, writing

T = TypeVar("T")


class Database(Protocol):
    """Anything that runs a function in a transaction. The catalogue's store does it too and commits groups together."""

    engine: Engine

    async def write(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a transaction; return when it is committed. `call` may be run again. Raises Retryable."""
        ...

    async def read(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a consistent view. Raises Retryable."""
        ...


class ThreadDatabase:
    """One writer and two readers on threads of their own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pool-write")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="pool-read")

    async def write(self, call: Callable[[Connection], T]) -> T:
        """See Database. A caller that is cancelled does not undo a write that has begun."""

        def run() -> T:
            with writing(self.engine) as connection:
                return call(connection)

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, run))

    async def read(self, call: Callable[[Connection], T]) -> T:
        """See Database."""

        def run() -> T:
            with reading(self.engine) as connection:
                return call(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def close(self) -> None:
        """Finish what is queued and stop the threads."""
        self._writer.shutdown()
        self._readers.shutdown()
