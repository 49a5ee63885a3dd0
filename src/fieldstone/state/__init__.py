"""The state database: what the market and the ledger remember besides the journal.

SQLite by default (WAL, `synchronous=FULL`, foreign keys), PostgreSQL by URL; the tables stand in `schema`, the steps
between their versions in `migrations`. SQLAlchemy and Alembic are imported when a state is opened, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fieldstone.state.backup import backup_state
    from fieldstone.state.engine import open_state, reading, writing
    from fieldstone.state.migrate import revision_of, upgrade

__all__ = ["backup_state", "open_state", "reading", "revision_of", "upgrade", "writing"]

_HOME = {
    "backup_state": "backup",
    "open_state": "engine",
    "reading": "engine",
    "revision_of": "migrate",
    "upgrade": "migrate",
    "writing": "engine",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
