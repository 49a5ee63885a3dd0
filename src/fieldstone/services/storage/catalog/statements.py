"""Statements that are run all the time.

SQLite runs their text as it is, on the driver's own connection inside SQLAlchemy's transaction: to look a statement up
and wrap its result takes SQLAlchemy five to ten times as long as SQLite takes to run it. Rows come by position, SQLite's
booleans as 0 and 1. PostgreSQL, which is asked over a socket, runs them through SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement


class Statement:
    """A select, insert, update or delete with bound parameters. `columns`: those that an insert gives values for."""

    def __init__(self, query: Executable, columns: Collection[str] | None = None) -> None:
        assert isinstance(query, ClauseElement)
        keys = list(columns) if columns is not None else None
        compiled = query.compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=keys)
        self.query = query
        self.sqlite_text = str(compiled)
        self.fixed = {name: value for name, value in (compiled.params or {}).items() if value is not None}

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any] | None:
        """Run it and return its first row, None where it gives none. Raises what SQLAlchemy raises."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self.query, values).first()
        rows: list[tuple[Any, ...]] = self._on_sqlite(connection, values).fetchall()
        return rows[0] if rows else None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run it. Raises what SQLAlchemy raises."""
        if connection.dialect.name != "sqlite":
            connection.execute(self.query, values)
        else:
            self._on_sqlite(connection, values)

    def _on_sqlite(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        driver: Any = connection.connection.driver_connection
        try:
            found: sqlite3.Cursor = driver.execute(self.sqlite_text, {**self.fixed, **values})
        except sqlite3.IntegrityError as error:
            raise IntegrityError(self.sqlite_text, None, error) from error
        except sqlite3.OperationalError as error:
            raise OperationalError(self.sqlite_text, None, error) from error
        return found
