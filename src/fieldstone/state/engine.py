"""Open the state database and enter it, by one writer at a time or as many readers as like.

SQLite starts a write with BEGIN IMMEDIATE: what a transaction has read cannot change before it writes, so a check and
the write that relies on it are one step. PostgreSQL needs row locks for that, hence `with_for_update()` and conditional
updates in the ledger and the market; SQLite ignores the former and is content with the latter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from fieldstone.errors import EnvironmentProblem, Retryable, UsageError

BUSY_TIMEOUT_S = 10.0
_READ_ONLY = "fieldstone_read_only"


def open_state(url_or_path: str | Path) -> Engine:
    """Open (and create) a state database and bring its tables up to date.

    Takes a file path, `sqlite:///path`, or `postgresql+psycopg://user@host/name`. Raises EnvironmentProblem when the
    tables are of a newer version than this program or the driver is missing, Retryable when the database is busy.
    """
    from fieldstone.state.migrate import upgrade

    engine = connect_state(url_or_path)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def connect_state(url_or_path: str | Path) -> Engine:
    """Connect without touching the tables. Raises UsageError for a URL that names no known database."""
    text = str(url_or_path)
    url = text if "://" in text else f"sqlite:///{Path(text).resolve()}"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise UsageError("the state database must be a file: a memory database is lost with its connection")
            _create_private(Path(parsed.database))
            engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        elif backend == "postgresql":
            engine = create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
            event.listen(engine, "connect", _prepare_postgres)
        else:
            raise UsageError(f"state database {backend!r} is not supported; use a file path or a postgresql URL")
    except (ArgumentError, NoSuchModuleError) as error:
        raise UsageError(f"state database {text!r} is neither a path nor a URL that can be used: {error}") from None
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"driver {error.name!r} is missing; install fieldstone[postgres]") from None
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Enter a transaction that may write; commit at the end, roll back on any exception. Raises Retryable."""
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise Retryable(f"the state database did not answer: {error.orig}; try again") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Enter a consistent view that never waits for a writer. Raises Retryable."""
    try:
        with engine.connect().execution_options(**{_READ_ONLY: True}) as connection:
            yield connection
    except OperationalError as error:
        raise Retryable(f"the state database did not answer: {error.orig}; try again") from error


def _create_private(path: Path) -> None:
    # Hashes of API keys and customers' names live here: no other user of the machine needs to read them.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise EnvironmentProblem(f"state database {path} cannot be opened: {error.strerror}") from error


def _prepare_sqlite(dbapi_connection: Any, _record: Any) -> None:
    # None: the driver opens no transactions behind our back; `_begin_sqlite` does.
    dbapi_connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        dbapi_connection.execute(f"PRAGMA {pragma}")


def _prepare_postgres(dbapi_connection: Any, _record: Any) -> None:
    # Answers go out when a commit returns; a server set to `off` for speed would return before it is on disk.
    before, dbapi_connection.autocommit = dbapi_connection.autocommit, True
    dbapi_connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    dbapi_connection.autocommit = before


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
