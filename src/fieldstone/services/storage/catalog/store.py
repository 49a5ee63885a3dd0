"""Enter the catalogue's database from an event loop that must not block.

SQLite has one writer at a time and its cost is the sync at commit, so one thread takes what writers have queued and
commits it together: each piece of work in a savepoint of its own, nobody is answered before the commit is on disk.
PostgreSQL groups commits itself; there a few threads write, each its own transaction.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from fieldstone.errors import Retryable
from fieldstone.services.storage.catalog.statements import Statement
from fieldstone.state.engine import reading

T = TypeVar("T")


GROUP_LIMIT = 256
POSTGRES_WRITERS = 8
READERS = 4
_RETRIES = 6
_PASSING_PG = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available


@dataclass(slots=True)
class _Work:
    call: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Outcome = tuple[_Work, Any, Exception | None]


class Store:
    """Readers and writers of one database. `write` returns after the commit is durable."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="catalogue-read")
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._near: Any = None
        self._writing: Connection | None = None
        if self.is_sqlite:
            self._writers = None
            self._thread = threading.Thread(target=self._commit_groups, name="catalogue-write", daemon=True)
            self._thread.start()
        else:
            self._writers = ThreadPoolExecutor(POSTGRES_WRITERS, thread_name_prefix="catalogue-write")

    async def write(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a transaction and return its result when that is committed; its exception undoes its work only.

        `call` may be run again when the database asks for it, so it must have no other effects. Raises Retryable.
        """
        if self._closed:
            raise Retryable("the catalogue is closing; try again")
        loop = asyncio.get_running_loop()
        if self._writers is not None:
            # A client that hangs up must not leave us unsure whether the write happened: it runs to its end.
            return await asyncio.shield(loop.run_in_executor(self._writers, self._write_now, call))
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Work(call, loop, future))
        return await asyncio.shield(future)

    async def read(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a read transaction on a thread. Raises Retryable."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, call)

    async def first(self, query: Statement, **values: Any) -> Sequence[Any] | None:
        """Return the row that a query finds: from SQLite at once (some microseconds, readers never wait), from
        PostgreSQL on a thread. Raises Retryable."""
        if not self.is_sqlite:
            return await self.read(lambda connection: connection.execute(query.query, values).first())
        try:
            found: Sequence[Any] | None = (
                self._near_cursor().execute(query.sqlite_text, query.fixed | values).fetchone()
            )
        except sqlite3.OperationalError as error:
            raise Retryable(f"the catalogue did not answer: {error}; try again") from error
        return found

    def _near_cursor(self) -> sqlite3.Cursor:
        if self._near is None:
            # a connection of the loop's own, without transactions: each look-up sees what was committed last
            self._near = self.engine.raw_connection()
        return self._near.cursor()  # type: ignore[no-any-return]

    def read_now(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a read transaction on this thread. Raises Retryable."""
        with reading(self.engine) as connection:
            return call(connection)

    def write_now(self, call: Callable[[Connection], T]) -> T:
        """Run `call` in a transaction on this thread (start-up, command line). Raises Retryable."""
        return self._write_now(call)

    def close(self) -> None:
        """Finish what is queued and stop the threads."""
        self._closed = True
        if self._writers is not None:
            self._writers.shutdown()
        else:
            self._queue.put(None)
            self._thread.join()
        self._readers.shutdown()
        if self._near is not None:
            self._near.close()

    def _write_now(self, call: Callable[[Connection], T]) -> T:
        for attempt in range(_RETRIES):
            try:
                with self.engine.begin() as connection:
                    return call(connection)
            except DBAPIError as error:
                if not self._passing(error) or attempt == _RETRIES - 1:
                    raise Retryable(f"the catalogue did not answer: {error.orig}; try again") from error
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    def _passing(self, error: DBAPIError) -> bool:
        return not self.is_sqlite and getattr(error.orig, "sqlstate", None) in _PASSING_PG

    def _commit_groups(self) -> None:
        while True:
            first = self._queue.get()
            group, last = self._gather(first) if first is not None else ([], True)
            if group:
                self._commit(group)
            if last:
                self._let_go()
                return

    def _let_go(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            with suppress(Exception):  # a transaction that is still open is rolled back, or lost with its connection
                connection.close()

    def _gather(self, first: _Work) -> tuple[list[_Work], bool]:
        group = [first]
        while len(group) < GROUP_LIMIT:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return group, False
            if work is None:
                return group, True
            group.append(work)
        return group, False

    def _commit(self, group: list[_Work]) -> None:
        outcomes: list[_Outcome] = []
        try:
            # one for all groups: to borrow one costs as much as a small write
            connection = self._writing = self._writing or self.engine.connect()
            with connection.begin():
                driver: Any = connection.connection.driver_connection
                if len(group) == 1:
                    outcomes.append(_tried(group[0], connection))
                    problem = outcomes[0][2]
                    if problem is not None:
                        raise problem
                else:
                    for work in group:
                        driver.execute("SAVEPOINT work")
                        outcomes.append(_tried(work, connection))
                        if outcomes[-1][2] is not None:
                            driver.execute("ROLLBACK TO work")
                        driver.execute("RELEASE work")
        except Exception as error:
            if not (len(outcomes) == len(group) == 1 and outcomes[0][2] is error):
                self._let_go()
                failure = Retryable(f"the catalogue could not write: {error}; try again")
                failure.__cause__ = error
                outcomes = [(work, None, failure) for work in group]
        for work, result, problem in outcomes:
            if isinstance(problem, OperationalError):
                cause, problem = problem, Retryable(f"the catalogue could not write: {problem.orig}; try again")
                problem.__cause__ = cause
            try:
                work.loop.call_soon_threadsafe(_resolve, work.future, result, problem)
            except RuntimeError:  # the loop is gone: nobody waits any more
                continue


def _tried(work: _Work, connection: Connection) -> _Outcome:
    try:
        return work, work.call(connection), None
    except Exception as error:
        return work, None, error


def _resolve(future: asyncio.Future[Any], result: Any, problem: BaseException | None) -> None:
    if future.done():
        return
    if problem is not None:
        future.set_exception(problem)
    else:
        future.set_result(result)


def lock_key(connection: Connection, bucket_id: int, key: bytes, *, shared: bool = False) -> None:
    """Let one transaction at a time decide about a key. SQLite has one writer anyway.

    `shared`: as many as only want it to stay as it is. Who locks two takes them in `lock_keys`' order.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_SHARED if shared else _LOCK, {"key": key, "bucket": bucket_id})


def lock_keys(connection: Connection, kept: tuple[int, bytes], changed: tuple[int, bytes]) -> None:
    """Lock a key that is to stay as it is and one that is to change, each a bucket and a key: in one order for all, so
    that copies to and fro do not wait for each other."""
    for one in sorted({kept, changed}):
        lock_key(connection, *one, shared=one != changed)


_LOCK, _LOCK_SHARED = (
    text(f"SELECT {name}(hashtextextended(encode(:key, 'hex'), :bucket))")
    for name in ("pg_advisory_xact_lock", "pg_advisory_xact_lock_shared")
)
