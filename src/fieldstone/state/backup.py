"""Copy a state database while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from fieldstone.errors import CheckFailed, EnvironmentProblem, UsageError


def backup_state(engine: Engine, target: Path) -> None:
    """Write a consistent copy of a running SQLite state to the new file `target`, checked and synced to disk.

    Writers go on meanwhile; the copy holds what was committed when it began. Raises UsageError when `target` exists or
    the state is on PostgreSQL (use `pg_dump`), EnvironmentProblem when the disk refuses, CheckFailed on a damaged copy.
    """
    if engine.dialect.name != "sqlite":
        raise UsageError(f"the state is on {engine.dialect.name}; back it up with pg_dump")
    if target.exists():
        raise UsageError(f"{target} exists; choose another file")
    temporary = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        raw = engine.raw_connection()
        try:
            source = cast(sqlite3.Connection, raw.driver_connection)
            copy = sqlite3.connect(temporary)
            try:
                # All pages in one step: one read transaction, so a busy writer cannot make the copy start over for ever.
                source.backup(copy, pages=-1)
                damage = copy.execute("PRAGMA integrity_check").fetchone()[0]
            finally:
                copy.close()
        finally:
            raw.close()
        if damage != "ok":
            raise CheckFailed(f"the copy of the state is damaged ({damage}); check the disk of the running database")
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise EnvironmentProblem(f"state could not be copied to {target}: {error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
