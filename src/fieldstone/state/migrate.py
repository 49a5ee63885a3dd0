"""Bring a state database to the version of this program, all steps in one transaction or none."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from fieldstone.errors import EnvironmentProblem, Terminal
from fieldstone.state.engine import reading, writing
from fieldstone.state.schema import HEAD, REVISIONS

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_ID = 0x4653_7374_6174_6531  # any constant: two nodes that start together must not upgrade at once


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the tables, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if revision is None else str(revision)


def upgrade(engine: Engine, target: str = HEAD) -> str:
    """Upgrade to `target` and return the revision. Raises EnvironmentProblem for tables newer than this program.

    Does nothing, and does not even import Alembic, when the tables are up to date.
    """
    with reading(engine) as connection:
        current = _checked(engine, revision_of(connection))
    if current == target:
        return target
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        # Look again inside the lock: another process may have been faster.
        if _checked(engine, revision_of(connection)) != target:
            _run_alembic(connection, target)
    return target


def _checked(engine: Engine, revision: str | None) -> str | None:
    if revision is not None and revision not in REVISIONS:
        raise EnvironmentProblem(
            f"state database {engine.url.render_as_string(hide_password=True)} has schema {revision}, newer than this "
            f"program's {HEAD}; install the version of fieldstone that wrote it, or restore an older backup"
        )
    return revision


def _run_alembic(connection: Connection, target: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, target)
    except CommandError as error:
        raise Terminal(f"state database: upgrade to {target} failed: {error}") from error
